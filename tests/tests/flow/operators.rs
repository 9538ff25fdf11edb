//! What operators do to a fleet that runs: pause, resume, send through again, recall.

use std::process::Output;

use reqwest::StatusCode;
use serde_json::json;
use testkit::{binary, eventually};
use tokio::process::Command;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};

/// Runs a command of the CLI beside the fleet; returns its exit code and what it said.
async fn tidemill(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String) {
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
