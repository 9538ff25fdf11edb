//! A whole fleet whose vectors are in Weaviate.

use record::LetterFilter;
use serde_json::json;
use testkit::{PrivateWeaviate, eventually};
use tokio::process::Command;
use vectors::VectorStore;

use super::store::{by_hand, client};
use crate::fleet::{Fleet, event, events};

/// The class of the fleets here.
pub(super) const CLASS: &str = "FleetTrend";

/// Settings that put a fleet's vectors into a server.
pub(super) fn settings(weaviate: &PrivateWeaviate) -> [String; 4] {
    [
        "embedding.store=weaviate".to_owned(),
        format!("embedding.weaviate.url={}", weaviate.url()),
        format!("embedding.weaviate.class={CLASS}"),
        "embedding.weaviate.timeout=5s".to_owned(),
    ]
}

/// Every process of a fleet on this server.
pub(super) async fn fleet(weaviate: &PrivateWeaviate) -> Fleet {
    let mut fleet = Fleet::quiet().await;
    let set = settings(weaviate);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    for name in ["planner", "etl", "embedding", "judge", "publisher", "gateway"] {
        fleet.start_with(name, &set, &[]).await;
    }
    eventually("the embedding worker has made the class", async || {
        fleet.log("embedding").contains("are kept in")
    })
    .await;
    fleet
}

pub(super) async fn held(weaviate: &PrivateWeaviate) -> usize {
    client(&weaviate.url(), CLASS, None).len().await.unwrap()
}

#[tokio::test]
async fn a_fleet_keeps_its_vectors_there_and_finds_what_repeats() {
    let weaviate = PrivateWeaviate::start().await;
    let mut fleet = Fleet::quiet().await;
    let set = settings(&weaviate);
    let set: Vec<&str> =
        set.iter().map(String::as_str).chain(["planner.values.trend.duplicate_similarity=0.99"]).collect();
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start_with(name, &set, &[]).await;
    }
    let (_, payload) = event(7);
    fleet.add([("first".to_owned(), payload.clone())]).await;
    fleet.settled(1).await;
    // Another text by its letters, and the same by its words.
    let body = format!("{} !!", payload["body"].as_str().unwrap());
    fleet.add([("again".to_owned(), json!({ "title": payload["title"], "body": body }))]).await;
    fleet.add([event(123)]).await;
    let runs = fleet.settled(3).await;
    let state = |id: &str| runs.iter().find(|run| run.request_id == id).unwrap().state.clone();
    assert_eq!(
        (state("first").as_str(), state("event-123").as_str()),
        ("published", "published"),
        "{runs:?}"
    );
    assert_eq!(state("again"), "duplicate", "{runs:?}");
    assert_eq!(held(&weaviate).await, 3);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn while_it_is_away_reading_pauses_and_then_the_flow_resumes() {
    let mut weaviate = PrivateWeaviate::start().await;
    let fleet = fleet(&weaviate).await;
    fleet.add(events(40)).await;
    eventually("some are embedded", async || held(&weaviate).await > 0).await;
    weaviate.kill().await;
    fleet.add((40..80).map(event)).await;
    eventually("reading pauses", async || fleet.log("embedding").contains("what every job needs is away"))
        .await;
    eventually("every other job waits for the embedding worker", async || {
        let runs = fleet.runs().await;
        runs.len() == 80 && runs.iter().all(|run| run.step == "embedding" || run.state == "published")
    })
    .await;
    // What was due to be tried again is back in the stream, where it waits: nothing is read.
    eventually("nothing is being tried again", async || {
        let backlog = fleet.streams.backlog("embedding").await.unwrap();
        let waiting = fleet.runs().await.iter().filter(|run| run.state == "running").count() as u64;
        backlog.retry == 0 && backlog.stream == waiting
    })
    .await;
    let before: Vec<i32> = fleet.runs().await.iter().map(|run| run.seq).collect();
    // Several times the pause between two probes.
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    let after = fleet.runs().await;
    assert_eq!(after.iter().map(|run| run.seq).collect::<Vec<_>>(), before, "no run moved meanwhile");
    assert!(after.iter().all(|run| run.attempt == 0 && run.state != "dead"), "{after:?}");
    weaviate.restart().await;
    let runs = fleet.settled(80).await;
    assert!(runs.iter().all(|run| run.state == "published" && run.attempt == 0), "{runs:?}");
    assert_eq!(fleet.record.dead_letters(&LetterFilter::default(), 10).await.unwrap(), []);
    assert_eq!(held(&weaviate).await, 80);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn an_object_that_is_refused_becomes_a_letter_and_lives_again() {
    let weaviate = PrivateWeaviate::start().await;
    let fleet = fleet(&weaviate).await;
    // Somebody else's vector is the first, and decides the length.
    let stranger = json!({ "class": CLASS, "vector": [1.0, 0.0], "properties": { "tenant": "stranger" } });
    by_hand("POST", &format!("{}/v1/objects", weaviate.url()), stranger).await;
    fleet.add(events(3)).await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "dead" && run.step == "embedding"), "{runs:?}");
    let letters = fleet.record.dead_letters(&LetterFilter::default(), 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    for letter in &letters {
        assert!(letter.reason.starts_with("failed 5 times, last: Weaviate refuses the object"), "{letter:?}");
        assert!(letter.reason.contains("dimensions"), "{letter:?}");
    }
    eventually("they are on the dead-letter stream", async || {
        output(redis(&fleet, &["XLEN", "trend:embedding:dlq"])).await == "3"
    })
    .await;
    let status = "SELECT DISTINCT embedding_status FROM enriched_trends";
    assert_eq!(output(psql(&fleet, status)).await, "failed");
    // The class is emptied: the worker makes it anew.
    by_hand("DELETE", &format!("{}/v1/schema/{CLASS}", weaviate.url()), json!({})).await;
    let replay = ["dlq", "replay", "--all", "--canary", "1", "--yes"];
    let (code, said) = super::operators::tidemill(&fleet, &weaviate, &replay).await;
    assert_eq!(code, Some(0), "{said}");
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(held(&weaviate).await, 3);
    assert_eq!(output(psql(&fleet, status)).await, "succeeded");
    fleet.assert_consistent().await;
}

fn redis(fleet: &Fleet, words: &[&str]) -> Command {
    let mut command = Command::new("redis-cli");
    command.arg("-s").arg(fleet.servers.redis_url().trim_start_matches("redis+unix://")).args(words);
    command
}

fn psql(fleet: &Fleet, statement: &str) -> Command {
    let mut command = Command::new("psql");
    command.args([fleet.servers.database_url(), "-Atc", statement]);
    command
}

async fn output(mut command: Command) -> String {
    let done = command.output().await.unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}
