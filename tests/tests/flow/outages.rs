//! Servers go away, forget, and come back.

use testkit::{Servers, eventually};

use crate::fleet::{Fleet, event, events, metrics};
use crate::letters::dlq;

#[tokio::test]
async fn a_flushed_redis_loses_no_accepted_event() {
    let fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    fleet.add(events(40)).await;
    eventually("every event is accepted", async || fleet.runs().await.len() == 40).await;
    flush(&fleet).await;
    let mut fleet = fleet;
    fleet.start("publisher").await;
    let runs = fleet.settled(40).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

pub(crate) async fn flush(fleet: &Fleet) {
    redis(fleet, &["FLUSHALL"]).await;
    redis(fleet, &["SCRIPT", "FLUSH"]).await;
}

async fn redis(fleet: &Fleet, words: &[&str]) {
    let socket = fleet.servers.redis_url().trim_start_matches("redis+unix://").to_owned();
    let done =
        tokio::process::Command::new("redis-cli").arg("-s").arg(socket).args(words).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && !said.contains("ERR"), "{words:?}: {said}");
}

#[tokio::test]
async fn an_upstream_entry_that_was_delivered_and_lost_becomes_a_letter_and_lives_again() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    fleet.add([event(1)]).await;
    // Somebody reads it in the group's name and deletes the consumer, with what it holds.
    let stream = "trend:ingest:stream";
    for command in [
        &["XGROUP", "CREATE", stream, "ingest:stream", "0", "MKSTREAM"][..],
        &["XREADGROUP", "GROUP", "ingest:stream", "ghost", "STREAMS", stream, ">"],
        &["XGROUP", "DELCONSUMER", stream, "ingest:stream", "ghost"],
    ] {
        redis(&fleet, command).await;
    }
    let letters = || async { fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap() };
    eventually("it is found", async || letters().await.len() == 1).await;
    let letter = letters().await.remove(0);
    assert!(letter.reason.contains("nobody holds it"), "{letter:?}");
    eventually("it is gone", async || {
        fleet.streams.backlog("etl").await.is_ok_and(|backlog| backlog.stream == 0)
    })
    .await;
    let (code, said) = dlq(&fleet, &["replay", &letter.dead_letter_id.to_string(), "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    fleet.start("etl").await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_started_again_loses_no_accepted_event() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add(events(40)).await;
    eventually("some are accepted", async || !fleet.runs().await.is_empty()).await;
    fleet.servers.redis.kill().await;
    fleet.servers.redis.restart().await.unwrap();
    let accepted = fleet.runs().await.len();
    assert!(accepted > 0);
    fleet.add((100..110).map(event)).await;
    eventually("all that was accepted ends", async || {
        let runs = fleet.runs().await;
        runs.len() >= accepted + 10 && runs.iter().all(|run| run.state != "running")
    })
    .await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn while_postgres_is_stopped_workers_pause_and_nothing_becomes_a_letter() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add(events(20)).await;
    eventually("some are accepted", async || !fleet.runs().await.is_empty()).await;
    let postgres = fleet.servers.postgres.as_mut().unwrap();
    postgres.stop().await;
    fleet.add((20..40).map(event)).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    fleet.servers.postgres.as_mut().unwrap().restart().await.unwrap();
    let runs = fleet.settled(40).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap(), []);
    fleet.assert_consistent().await;
}

/// Sends a signal to a process and its children.
fn signal_all(parent: u32, signal: nix::sys::signal::Signal) {
    let own = |stat: &str| {
        // After the name, which may hold anything: the state, then the parent.
        let mut fields = stat.rsplit_once(") ")?.1.split_whitespace();
        fields.nth(1)?.parse::<u32>().ok().filter(|of| *of == parent)
    };
    let children = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        own(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?).map(|_| pid)
    });
    for pid in children.chain([parent]).collect::<Vec<_>>() {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), signal).ok();
    }
}

#[tokio::test]
async fn while_postgres_is_frozen_reading_pauses_in_sight_and_then_the_flow_resumes() {
    use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add(events(5)).await;
    fleet.settled(5).await;
    let postgres = fleet.servers.postgres.as_ref().unwrap().id();
    signal_all(postgres, SIGSTOP);
    fleet.add((5..10).map(event)).await;
    let paused = async |fleet: &Fleet, expected: &str| {
        let judge = fleet.workers.iter().find(|(name, _)| *name == "judge").unwrap();
        metrics(&judge.1).await.contains(&format!("tidemill_reading_paused{{worker=\"judge\"}} {expected}"))
    };
    eventually("reading pauses", async || paused(&fleet, "1").await).await;
    signal_all(postgres, SIGCONT);
    eventually("reading goes on", async || paused(&fleet, "0").await).await;
    let runs = fleet.settled(10).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn while_the_embedding_endpoint_refuses_the_key_reading_pauses_and_then_the_flow_resumes() {
    use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};
    let endpoint = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(401)).mount(&endpoint).await;
    let mut fleet = Fleet::with(&["etl", "judge", "publisher"]).await;
    let url = format!("embedding.openai.base_url={}", endpoint.uri());
    let set =
        ["embedding.embedder=openai", &url, "embedding.openai.dimensions=2", "embedding.openai.api_key=k"];
    fleet.start_with("embedding", &set, &[]).await;
    fleet.add(events(5)).await;
    eventually("reading pauses", async || fleet.log("embedding").contains("what every job needs is away"))
        .await;
    fleet.add((5..20).map(event)).await;
    eventually("all wait in the stream, and none is being tried again", async || {
        let backlog = fleet.streams.backlog("embedding").await.unwrap();
        (backlog.stream, backlog.retry) == (20, 0)
    })
    .await;
    assert!(fleet.runs().await.iter().all(|run| run.attempt == 0 && run.state == "running"));
    endpoint.reset().await;
    Mock::given(any()).respond_with(embeddings).mount(&endpoint).await;
    let runs = fleet.settled(20).await;
    assert!(runs.iter().all(|run| run.state == "published" && run.attempt == 0), "{runs:?}");
    assert_eq!(fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap(), []);
    fleet.assert_consistent().await;
}

/// A vector for each text.
fn embeddings(request: &wiremock::Request) -> wiremock::ResponseTemplate {
    let asked: serde_json::Value = request.body_json().unwrap();
    let count = asked["input"].as_array().unwrap().len();
    let vectors: Vec<serde_json::Value> =
        (0..count).map(|index| serde_json::json!({ "index": index, "embedding": [1.0, 2.0] })).collect();
    wiremock::ResponseTemplate::new(200).set_body_json(serde_json::json!({ "data": vectors }))
}

/// Settings under which the reconciler's rounds can be counted in its log.
const TOLD: [&str; 2] = ["log.filter=info,tidemill_planner=debug", "planner.reconcile_after=1s"];

/// Waits for this many more rounds of the planner's reconciler.
async fn rounds(fleet: &Fleet, count: usize) {
    let seen = || fleet.workers[0].1.log().matches("a round of reconciling").count();
    let before = seen();
    eventually(&format!("{count} more rounds of reconciling"), async || seen() >= before + count).await;
}

#[tokio::test]
async fn ten_thousand_jobs_that_wait_longer_than_the_reconciler_does_are_not_added_again() {
    let mut fleet = Fleet::quiet().await;
    fleet.start_with("planner", &TOLD, &[]).await;
    fleet.start("gateway").await;
    let desk = crate::door::Desk::of(&fleet, "default", &crate::door::ALL).await;
    let lines: String = (0..10_000)
        .map(|number| {
            let (request_id, payload) = event(number);
            format!(
                "{}\n",
                serde_json::json!({ "source": "s", "request_id": request_id, "payload": payload })
            )
        })
        .collect();
    let (_, answer) = desk.send("POST", "/v1/events", "application/x-ndjson", lines).await;
    assert_eq!(answer["accepted"], 10_000);
    // Five rounds may be postponed; the sixth reads every entry. Four rounds make one `reconcile_after`.
    rounds(&fleet, 16).await;
    assert_eq!(fleet.streams.entries_added("etl").await.unwrap(), 10_000, "nothing was added to what waits");
    flush(&fleet).await;
    eventually("each has a job again", async || {
        fleet.streams.backlog("etl").await.is_ok_and(|backlog| backlog.stream == 10_000)
    })
    .await;
    rounds(&fleet, 16).await;
    assert_eq!(fleet.streams.entries_added("etl").await.unwrap(), 10_000, "each got one job and no second");
}
