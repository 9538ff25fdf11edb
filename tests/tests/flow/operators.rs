//! What operators do to a fleet that runs: pause, resume, send through again, recall.

use std::process::Output;

use reqwest::StatusCode;
use serde_json::json;
use testkit::{binary, eventually};
use tokio::process::Command;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};

/// Runs a command of the CLI beside the fleet; returns its exit code and what it said.
pub(crate) async fn tidemill(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String) {
    let (redis, database) = (fleet.servers.redis_url(), fleet.servers.database_url().to_owned());
    let run = Command::new(binary("tidemill"))
        .current_dir(fleet.servers.folder())
        .args(arguments)
        .args(["--database-url", &database, "--redis-url", &redis])
        .output();
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

#[tokio::test]
async fn a_paused_stage_reads_nothing_and_goes_on_where_it_was() {
    let mut fleet = Fleet::with(&["etl", "embedding", "publisher"]).await;
    let (code, said) = tidemill(&fleet, &["pause", "stage", "judge", "--reason", "new policy"]).await;
    assert_eq!(code, Some(0), "{said}");
    fleet.start("judge").await;
    fleet.add(events(10)).await;
    eventually("all wait for the judge", async || {
        fleet.streams.backlog("judge").await.is_ok_and(|backlog| backlog.stream == 10)
    })
    .await;
    let (_, listed) = tidemill(&fleet, &["pause"]).await;
    assert!(listed.contains("stage judge") && listed.contains("new policy"), "{listed}");
    assert!(fleet.runs().await.iter().all(|run| run.step == "judge" && run.state == "running"));
    assert_eq!(tidemill(&fleet, &["resume", "stage", "judge"]).await.0, Some(0));
    let runs = fleet.settled(10).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    for wrong in [&["pause", "stage", "moon"][..], &["resume", "stage", "judge"], &["pause", "stage"]] {
        assert_eq!(tidemill(&fleet, wrong).await.0, Some(64), "{wrong:?}");
    }
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn nothing_is_sent_to_a_paused_outlet_and_no_attempt_is_counted() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    assert_eq!(tidemill(&fleet, &["pause", "outlet", "files"]).await.0, Some(0));
    fleet.start("publisher").await;
    fleet.add(events(5)).await;
    eventually("all wait for the outlet", async || {
        let runs = fleet.runs().await;
        runs.len() == 5 && runs.iter().all(|run| run.reason.contains("files is paused"))
    })
    .await;
    assert_eq!(fleet.posts(), 0);
    assert_eq!(fleet.record.publications(None, 10).await.unwrap(), [], "nothing was claimed");
    assert!(fleet.runs().await.iter().all(|run| run.attempt == 0));
    assert_eq!(tidemill(&fleet, &["resume", "outlet", "files"]).await.0, Some(0));
    let runs = fleet.settled(5).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn the_events_of_a_paused_source_are_asked_for_again_later() {
    let mut fleet = Fleet::with(&[]).await;
    assert_eq!(tidemill(&fleet, &["pause", "source", "noisy"]).await.0, Some(0));
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, payload) = event(1);
    let of = |source: &str| json!({ "source": source, "payload": payload });
    let (status, problem) = desk.post("/v1/events", of("noisy")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("tidemill resume source noisy"), "{problem}");
    assert_eq!(desk.post("/v1/events", of("calm")).await.0, StatusCode::ACCEPTED);
    assert_eq!(tidemill(&fleet, &["resume", "source", "noisy"]).await.0, Some(0));
    eventually("its events are taken", async || {
        desk.post("/v1/events", of("noisy")).await.0 == StatusCode::ACCEPTED
    })
    .await;
}

#[tokio::test]
async fn an_ended_run_goes_through_again_from_a_step_and_posts_nothing_twice() {
    let fleet = Fleet::with(&["gateway", "etl", "embedding", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add(events(1)).await;
    let before = fleet.settled(1).await.remove(0);
    let retry = format!("/v1/runs/{}/retry", before.run_id);
    assert_eq!(desk.post(&retry, json!({ "from": "moon" })).await.0, StatusCode::CONFLICT);
    for step in ["etl", "judge", "publish"] {
        let seq = fleet.runs().await[0].seq;
        let (status, answer) = desk.post(&retry, json!({ "from": step })).await;
        assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("running")), "{answer}");
        eventually("it ended once more", async || {
            let run = fleet.runs().await.remove(0);
            run.seq > seq + 1 && run.state == "published"
        })
        .await;
    }
    let rows = fleet.record.publications_of(before.run_id).await.unwrap();
    assert_eq!(rows.len(), 1, "one claim for all four times: {rows:?}");
    let reader = Desk::of(&fleet, "default", &["read"]).await;
    assert_eq!(reader.post(&retry, json!({ "from": "etl" })).await.0, StatusCode::FORBIDDEN);
    let other = Desk::of(&fleet, "other", &ALL).await;
    assert_eq!(other.post(&retry, json!({ "from": "etl" })).await.0, StatusCode::NOT_FOUND);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn recall_finds_what_was_embedded_for_its_tenant_alone() {
    let fleet = Fleet::with(&["gateway", "etl", "embedding", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add(events(30)).await;
    let runs = fleet.settled(30).await;
    let wanted = runs.iter().find(|run| run.request_id == "event-17").unwrap();
    let text = event(17).1["body"].as_str().unwrap().replace([' ', ','], "%20");
    let (status, found) = desk.get(&format!("/v1/recall?k=3&q={text}")).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 3, "{found}");
    assert_eq!(results[0]["run_id"], wanted.run_id.to_string(), "{found}");
    assert!(results[0]["title"].as_str().unwrap().contains("number 17"), "{found}");
    let scores: Vec<f64> = results.iter().map(|one| one["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 1.0 + 1e-6, "{scores:?}");
    let other = Desk::of(&fleet, "other", &ALL).await;
    assert_eq!(other.get(&format!("/v1/recall?q={text}")).await.1["results"], json!([]));
    for wrong in ["/v1/recall", "/v1/recall?q=", "/v1/recall?q=x&k=0", "/v1/recall?q=x&k=101"] {
        assert_eq!(desk.get(wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
    let feeder = Desk::of(&fleet, "default", &["ingest"]).await;
    assert_eq!(feeder.get("/v1/recall?q=x").await.0, StatusCode::FORBIDDEN);
}

/// Runs a command of the CLI against the fleet's gateway.
pub(crate) async fn at_the_desk(desk: &Desk, arguments: &[&str]) -> (Option<i32>, String) {
    let run = Command::new(binary("tidemill")).args(arguments).args(desk.flags()).output();
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

#[tokio::test]
async fn the_doctor_names_what_is_wrong_or_stuck_and_the_remedy() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    fleet.add(events(2)).await;
    eventually("both wait for a publisher", async || {
        fleet.streams.backlog("publisher").await.is_ok_and(|backlog| backlog.stream == 2)
    })
    .await;
    let (code, said) = tidemill(&fleet, &["doctor"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("nobody works on it") && said.contains("start tidemill-publisher"), "{said}");
    fleet.start("publisher").await;
    fleet.settled(2).await;
    tidemill(&fleet, &["pause", "outlet", "blog", "--reason", "it moves"]).await;
    let (code, said) = tidemill(&fleet, &["doctor", "--json"]).await;
    let findings: Vec<serde_json::Value> =
        serde_json::from_str(said.split("tidemill:").next().unwrap()).unwrap();
    let failed: Vec<_> = findings.iter().filter(|one| one["verdict"] == "failure").collect();
    // The tests' PostgreSQL does not wait for the disk, which no fleet may do.
    assert_eq!((code, failed.len()), (Some(69), 1), "{said}");
    assert_eq!(failed[0]["check"], "PostgreSQL fsync", "{said}");
    let of = |check: &str| findings.iter().find(|one| one["check"] == check).unwrap();
    for check in ["PostgreSQL", "Redis", "schema", "intents", "clock of Redis", "publisher", "dead letters"] {
        assert_eq!(of(check)["verdict"], "ok", "{said}");
    }
    assert_eq!(of("pause")["remedy"], "`tidemill resume outlet blog`", "{said}");
}

#[tokio::test]
async fn why_names_what_is_paused_and_unknown_names_are_refused_with_the_known_ones() {
    let fleet = Fleet::with(&["gateway", "etl", "embedding"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    assert_eq!(tidemill(&fleet, &["pause", "stage", "judge", "--reason", "new policy"]).await.0, Some(0));
    fleet.add(events(1)).await;
    eventually("it waits for the judge", async || {
        fleet.streams.backlog("judge").await.is_ok_and(|backlog| backlog.stream == 1)
    })
    .await;
    let run = fleet.runs().await.remove(0).run_id.to_string();
    let (code, said) = at_the_desk(&desk, &["why", &run]).await;
    assert!(code == Some(0) && said.contains("resume stage judge") && said.contains("new policy"), "{said}");
    for (wrong, known) in [
        (&["tap", "nostage"][..], "publisher (publish)"),
        (&["tap", "--type", "nosuch"], "io.tidemill.run."),
        (&["tap", "--run", "nope"], "no run id"),
        (&["triggers", "firings", "--trigger", "nope"], "none is configured"),
        (&["triggers", "firings", "--outcome", "nope"], "suppressed"),
        (&["runs", "list", "--limit", "0"], "1..=500"),
    ] {
        let (code, said) = at_the_desk(&desk, wrong).await;
        assert!(code == Some(64) && said.contains(known), "{wrong:?}: {said}");
    }
    let (code, said) = tidemill(&fleet, &["dlq", "list", "--stage", "nostage"]).await;
    assert!(code == Some(64) && said.contains("publisher (publish)"), "{said}");
    for stage in ["publisher", "publish", "planner:triggers"] {
        assert_eq!(tidemill(&fleet, &["dlq", "list", "--stage", stage]).await.0, Some(0), "{stage}");
    }
    for (kind, name, warned) in
        [("outlet", "nosuch", true), ("source", "nosuch", true), ("outlet", "files", false)]
    {
        let (code, said) = tidemill(&fleet, &["pause", kind, name]).await;
        assert!(code == Some(0) && said.contains("Warning") == warned, "{kind} {name}: {said}");
    }
    let (code, said) = tidemill(&fleet, &["audit", "verify", "--all"]).await;
    assert!(code == Some(0) && said.contains("They hold."), "{said}");
}

#[tokio::test]
async fn pruning_takes_ended_runs_and_leaves_what_must_be_accounted_for() {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, payload) = event(1);
    let sent = json!({ "source": "s", "request_id": "one", "payload": payload });
    let (_, first) = desk.post("/v1/events", sent.clone()).await;
    fleet.settled(1).await;
    fleet.signal("judge", local::Signal::SIGSTOP);
    fleet.add(events(5).split_off(2)).await;
    eventually("three are on their way", async || fleet.runs().await.len() == 4).await;
    let (_, none) = tidemill(&fleet, &["prune", "--older-than", "1h"]).await;
    assert!(none.contains("Gone: 0 runs"), "{none}");
    let (_, planned) = tidemill(&fleet, &["prune", "--older-than", "0s", "--dry-run"]).await;
    assert!(planned.contains("Would go: 1 runs with 1 events"), "{planned}");
    assert_eq!(fleet.runs().await.len(), 4, "a dry run removes nothing");
    let (code, gone) = tidemill(&fleet, &["prune", "--older-than", "0s"]).await;
    assert_eq!(code, Some(0), "{gone}");
    assert!(gone.contains("Gone: 1 runs with 1 events"), "{gone}");
    assert_eq!(fleet.runs().await.len(), 3, "what is open stays");
    fleet.signal("judge", local::Signal::SIGCONT);
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    let rows = fleet.record.publications(None, 10).await.unwrap();
    assert_eq!(rows.len(), 4, "the ledger keeps all");
    let (status, again) = desk.post("/v1/events", sent).await;
    assert_eq!((status, &again["created"]), (StatusCode::ACCEPTED, &json!(false)), "{again}");
    assert_eq!(again["run_id"], first["run_id"], "an old event sent again is known");
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
    assert_eq!(tidemill(&fleet, &["prune", "--older-than", "soon"]).await.0, Some(64));
}

#[tokio::test]
async fn what_passes_can_be_tapped_and_seen_at_a_glance() {
    let fleet = Fleet::with(&["gateway", "etl", "embedding", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let tapped = async {
        let kind = ["--type", "io.tidemill.run.done"];
        at_the_desk(&desk, &["tap", "judge", kind[0], kind[1], "--count", "3"]).await
    };
    // The tap shows what happens from now on, so events are added until it has seen enough.
    let fed = async {
        for number in 0.. {
            fleet.add([event(number)]).await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let (code, said) = tokio::select! {
        tapped = tapped => tapped,
        () = fed => unreachable!("it never ends"),
    };
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said.lines().filter(|line| line.contains("judge") && line.contains("done")).count(),
        3,
        "{said}"
    );
    let (code, said) = at_the_desk(&desk, &["top", "--once"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        ["etl", "embedding", "judge", "publisher", "published"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    // A worker that has nothing to do is seen, too.
    let quiet = Fleet::with(&["gateway", "judge"]).await;
    let reader = Desk::of(&quiet, "default", &["read"]).await;
    eventually("the idle judge is seen", async || {
        let (_, shown) = reader.get("/v1/fleet").await;
        let judge =
            shown["streams"].as_array().and_then(|all| all.iter().find(|one| one["worker"] == "judge"));
        judge.is_some_and(|judge| judge["consumers"].as_array().is_some_and(|seen| seen.len() == 1))
    })
    .await;
    let completions = Command::new(binary("tidemill")).args(["completions", "bash"]).output().await.unwrap();
    assert!(String::from_utf8(completions.stdout).unwrap().contains("_tidemill"));
}
