//! The record is put back from a dump that was made in mid-flow, with Redis as it was: nothing is posted twice.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use testkit::{Servers, binary, eventually};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event};

type Kept = Arc<Mutex<Vec<Value>>>;

/// What was posted to a receiver that can be asked nothing: the ids, in order.
async fn hook() -> (MockServer, Kept) {
    let kept = Kept::default();
    let seen = Arc::clone(&kept);
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        seen.lock().unwrap().push(json!(request.headers["webhook-id"].to_str().unwrap()));
        ResponseTemplate::new(200)
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    (server, kept)
}

/// A stand-in of WordPress: it can be asked by slug, and makes a second post of what comes twice.
async fn site() -> (MockServer, Kept) {
    let kept = Kept::default();
    let posts = Arc::clone(&kept);
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        let query: std::collections::HashMap<_, _> = request.url.query_pairs().into_owned().collect();
        let mut posts = posts.lock().unwrap();
        match (request.method.as_str(), query["rest_route"].as_str()) {
            ("GET", "/wp/v2/posts") => {
                let wanted = query.get("slug").cloned().unwrap_or_default();
                let found = posts.iter().filter(|slug| **slug == wanted);
                let found: Vec<Value> = found.map(|slug| json!({ "id": 1, "slug": slug })).collect();
                ResponseTemplate::new(200).set_body_json(found)
            }
            ("POST", "/wp/v2/posts") => {
                let post: Value = serde_json::from_slice(&request.body).unwrap();
                posts.push(post["slug"].clone());
                ResponseTemplate::new(201).set_body_json(json!({ "id": 1, "slug": post["slug"] }))
            }
            _ => ResponseTemplate::new(404),
        }
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    (server, kept)
}

fn count(kept: &Kept) -> usize {
    kept.lock().unwrap().len()
}

fn assert_none_twice(kept: &Kept) {
    let kept = kept.lock().unwrap();
    let keys: BTreeSet<&str> = kept.iter().filter_map(Value::as_str).collect();
    assert_eq!(keys.len(), kept.len(), "nothing was posted twice: {kept:?}");
}

/// The whole fleet: a source is posted to the outlet of its name, and slowly where that is a network away.
async fn start(fleet: &mut Fleet, hook: &MockServer, site: &MockServer) -> Desk {
    let mut documents = Vec::new();
    for name in ["hook", "site"] {
        let outlet = format!("side_effect: true\n    with: {{ outlet: {name} }}");
        let document = include_str!("../../../crates/rails/workflows/trend.yaml")
            .replace("name: trend", &format!("name: {name}"))
            .replace("side_effect: true", &outlet);
        let file = fleet.servers.folder().join(format!("{name}.yaml"));
        std::fs::write(&file, document).unwrap();
        documents.push(file.display().to_string());
    }
    let workflows = format!("planner.workflows={}", json!(documents));
    let intents: Vec<Value> = [("hook", "hook"), ("site", "site"), ("*", "trend")]
        .map(|(source, workflow)| json!({ "source": source, "purpose": "p", "workflow": workflow }))
        .into();
    let intents = format!("planner.intents={}", json!(intents));
    let set = [
        workflows.as_str(),
        &intents,
        "planner.values.hook.duplicate_similarity=2",
        "planner.values.site.duplicate_similarity=2",
    ];
    fleet.start_with("planner", &set, &[]).await;
    for name in ["gateway", "etl", "embedding", "judge"] {
        fleet.start(name).await;
    }
    let wordpress =
        json!({ "url": format!("{}/", site.uri()), "username": "u", "password": "p", "tags": false });
    let outlets = json!({
        "hook": { "timeout": "1s", "per_minute": 40, "webhook": { "url": hook.uri() } },
        "site": { "timeout": "1s", "per_minute": 120, "wordpress": wordpress },
    });
    fleet.start_with("publisher", &[&format!("publisher.outlets={outlets}")], &[]).await;
    Desk::of(fleet, "default", &ALL).await
}

async fn send(desk: &Desk, source: &str, number: usize) {
    let (request_id, payload) = event(number);
    let body = json!({ "source": source, "request_id": request_id, "payload": payload });
    assert_eq!(desk.post("/v1/events", body).await.0, reqwest::StatusCode::ACCEPTED);
}

/// Runs `tidemill restored`.
async fn restored(fleet: &Fleet) {
    let output = tokio::process::Command::new(binary("tidemill"))
        .current_dir(fleet.servers.folder())
        .args(["restored", "--database-url", fleet.servers.database_url()])
        .args(["--redis-url", &fleet.servers.redis_url()])
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asserts that no process starts before somebody says that the record was put back.
async fn assert_refused_unsaid(fleet: &mut Fleet) {
    for name in ["etl", "publisher"] {
        fleet.start(name).await;
        let (_, mut worker) = fleet.workers.pop().unwrap();
        let status = worker.wait(END).await.expect("it ends");
        assert_eq!(status.code(), Some(69), "{}", worker.log());
        assert!(worker.log().contains("run `tidemill restored`"), "{}", worker.log());
    }
}

async fn assert_starts(fleet: &mut Fleet) {
    fleet.start("etl").await;
    let (_, worker) = &fleet.workers[0];
    eventually("it starts", async || worker.log().contains("\"started\"")).await;
    fleet.stop().await;
}

#[tokio::test]
async fn a_record_put_back_in_mid_flow_ends_every_run_and_posts_nothing_twice() {
    const EACH: usize = 12;
    let (hook, hooked) = hook().await;
    let (site, sited) = site().await;
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    let desk = start(&mut fleet, &hook, &site).await;
    for number in 0..EACH * 3 {
        send(&desk, ["hook", "site", "here"][number % 3], number).await;
    }
    eventually("some are out", async || count(&hooked) >= 2 && count(&sited) >= 2 && fleet.posts() >= 2)
        .await;
    let (hooked_then, sited_then) = (count(&hooked), count(&sited));
    let dump = fleet.servers.folder().join("record.sql");
    fleet.servers.postgres.as_ref().unwrap().dump("tidemill", &dump).unwrap();
    assert!(hooked_then < EACH && sited_then < EACH, "the dump is of a moment in mid-flow");
    // The flow goes on: these the dump knows nothing of.
    let late = [("site", 100), ("here", 101)];
    for (source, number) in late {
        send(&desk, source, number).await;
    }
    eventually("more are out", async || {
        count(&sited) == EACH + 1 && fleet.posts() == EACH + 1 && count(&hooked) >= hooked_then + 2
    })
    .await;
    fleet.stop().await;
    assert!(count(&hooked) < EACH, "some had still to go out");

    fleet.servers.put_back(&dump, true).await;
    fleet.record = fleet.servers.record().await;
    assert_refused_unsaid(&mut fleet).await;
    restored(&fleet).await;
    let desk = start(&mut fleet, &hook, &site).await;
    for (source, number) in late {
        send(&desk, source, number).await;
    }
    let runs = fleet.settled(EACH * 3 + late.len()).await;
    assert!(runs.iter().all(|run| run.state == "published" || run.state == "waiting"), "{runs:?}");
    assert_none_twice(&hooked);
    assert_eq!((count(&sited), fleet.posts()), (EACH + 1, EACH + 1), "both can be asked");
    assert_none_twice(&sited);
    assert!(runs.iter().all(|run| run.source == "hook" || run.state == "published"), "{runs:?}");

    // A person looks where nobody else can.
    let (mut delivered, mut resent) = (0, 0);
    for row in fleet.record.publications(None, 1000).await.unwrap() {
        if row.state != record::PublicationState::Unknown {
            continue;
        }
        let reason = row.reason.clone().unwrap_or_default();
        assert!(reason.contains("put back") || reason.contains("nobody saw"), "{row:?}");
        let has_it = hooked.lock().unwrap().contains(&json!(row.publication_key));
        *(if has_it { &mut delivered } else { &mut resent }) += 1;
        let answer = json!({ "answer": if has_it { "delivered" } else { "resend" } });
        let settle = format!("/v1/publications/{}/settle", row.publication_id);
        assert_eq!(desk.post(&settle, answer).await.0, reqwest::StatusCode::OK);
    }
    assert!(delivered >= 2 && resent >= 1, "{delivered} had gone out, {resent} had not");
    let runs = fleet.settled(EACH * 3 + late.len()).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(count(&hooked), EACH);
    assert_none_twice(&hooked);
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
    assert_every_link_is_told(&fleet).await;
}

/// Another server counts other transactions: followers of the log go on all the same.
async fn assert_every_link_is_told(fleet: &Fleet) {
    let mut links = BTreeSet::new();
    for run in fleet.runs().await {
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        links.extend(detail.provenance.iter().map(|link| format!("{}/0/{}", run.run_id, link.pos)));
    }
    eventually("every link is told", async || crate::relay::told(fleet).await.is_superset(&links)).await;
}

#[tokio::test]
async fn a_record_that_lacks_what_went_out_is_refused_until_somebody_says_so() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    let dump = fleet.servers.folder().join("record.sql");
    fleet.servers.postgres.as_ref().unwrap().dump("tidemill", &dump).unwrap();
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add([event(1)]).await;
    assert_eq!(fleet.settled(1).await[0].state, "published");
    fleet.stop().await;
    assert_starts(&mut fleet).await;
    // The same server: nothing but what went out tells.
    fleet.servers.put_back(&dump, false).await;
    fleet.record = fleet.servers.record().await;
    assert_refused_unsaid(&mut fleet).await;
    restored(&fleet).await;
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add([event(1), event(2)]).await;
    let runs = fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(fleet.posts(), 2, "the first was there");
    fleet.stop().await;
    assert_starts(&mut fleet).await;
}

/// What the outlet `files` has: the texts of its posts.
fn texts(fleet: &Fleet) -> Vec<String> {
    let files = std::fs::read_dir(fleet.servers.folder().join("published")).unwrap();
    let posts =
        files.map(|file| file.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md"));
    posts.map(|path| std::fs::read_to_string(path).unwrap()).collect()
}

#[tokio::test]
async fn triggers_that_fire_again_after_a_restore_post_nothing_twice() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    let triggers = json!([
        { "name": "hand", "source": "hand" },
        { "name": "after", "source": "after",
          "project": { "body": "'A post went out from ' + input.cause.data.reason + ' this very morning.'" },
          "on": { "from": "runs", "type": "io.tidemill.run.published", "when": "event.data.step == 'publish'" } },
        { "name": "clock", "source": "clock", "schedule": { "cron": "*/3 * * * * *" },
          "project": { "body": "'Printed for ' + input.scheduled_for + ' and for nobody else.'" } },
    ]);
    let setting = format!("planner.triggers={triggers}");
    let start = async |fleet: &mut Fleet| {
        fleet.start_with("planner", &[&setting], &[]).await;
        for name in ["gateway", "etl", "embedding", "judge", "publisher"] {
            fleet.start(name).await;
        }
        let desk = Desk::of(fleet, "default", &ALL).await;
        send(&desk, "test", 1).await;
        let body = json!({ "request_id": "one", "input": { "body": "Somebody fired this by hand, once." } });
        assert!(desk.post("/v1/triggers/hand/fire", body).await.0.is_success());
        let has = |text: &str| texts(fleet).iter().filter(|post| post.contains(text)).count();
        eventually("all of it is out", async || {
            has("fired this by hand") == 1 && has("A post went out") >= 2 && has("Printed for") >= 2
        })
        .await;
    };
    let dump = fleet.servers.folder().join("record.sql");
    fleet.servers.postgres.as_ref().unwrap().dump("tidemill", &dump).unwrap();
    start(&mut fleet).await;
    fleet.stop().await;
    let before = texts(&fleet);
    fleet.servers.put_back(&dump, false).await;
    fleet.record = fleet.servers.record().await;
    restored(&fleet).await;
    start(&mut fleet).await;
    fleet.stop().await;
    let after = texts(&fleet);
    assert!(before.iter().all(|post| after.contains(post)));
    let told = |posts: &[String], text: &str| posts.iter().filter(|post| post.contains(text)).count();
    assert_eq!(told(&after, "fired this by hand"), 1);
    let times: Vec<&str> = after
        .iter()
        .filter_map(|post| post.split_once("Printed for ")?.1.split_whitespace().next())
        .collect();
    let different: BTreeSet<&str> = times.iter().copied().collect();
    assert_eq!(different.len(), times.len(), "no time is printed twice: {times:?}");
}
