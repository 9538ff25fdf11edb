//! A post goes out once or not at all, and what nobody can know a person settles.

use local::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};
use crate::registry::{activate, digest, registered};

/// A publisher that falls asleep between its ledger row and the first byte, and one that cannot ask the outlet.
async fn asleep_between_claim_and_send() -> (Fleet, Desk, Value) {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    fleet.start_with("publisher", &["publisher.timeout=1s"], &[("TIDEMILL_FAILPOINT", "sent:1:stop")]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    eventually("the claim is in the ledger", async || {
        fleet.record.publications(None, 1).await.is_ok_and(|rows| rows.len() == 1)
    })
    .await;
    let run = fleet.runs().await[0].run_id;
    let cancel = desk.post(&format!("/v1/runs/{run}/cancel"), json!({})).await;
    assert_eq!(cancel.0, StatusCode::CONFLICT, "while a row is `sent`, nobody cancels: {}", cancel.1);
    fleet.start_with("publisher", &["publisher.timeout=1s"], &[("TIDEMILL_MUTE_OUTLET", "1")]).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "waiting", "{runs:?}");
    assert_eq!(fleet.posts(), 0);
    // The sleeper wakes long after its deadline, and sends nothing.
    fleet.signal("publisher", Signal::SIGCONT);
    eventually("the sleeper notices", async || {
        fleet.workers.iter().any(|(_, worker)| worker.log().contains("too late to send"))
    })
    .await;
    assert_eq!(fleet.posts(), 0);
    let (_, ledger) = desk.get("/v1/publications").await;
    assert_eq!(ledger["publications"][0]["state"], "unknown", "{ledger}");
    let row = ledger["publications"][0].clone();
    (fleet, desk, row)
}

fn settle(row: &Value) -> String {
    format!("/v1/publications/{}/settle", row["publication_id"].as_str().unwrap())
}

#[tokio::test]
async fn a_resend_ordered_by_a_person_posts_once() {
    let (fleet, desk, row) = asleep_between_claim_and_send().await;
    let (status, answer) = desk.post(&settle(&row), json!({ "answer": "resend" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    assert_eq!(desk.post(&settle(&row), json!({ "answer": "abandon" })).await.0, StatusCode::CONFLICT);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_post_that_a_person_saw_delivered_is_published_without_another() {
    let (fleet, desk, row) = asleep_between_claim_and_send().await;
    assert_eq!(desk.post(&settle(&row), json!({ "answer": "perhaps" })).await.0, StatusCode::BAD_REQUEST);
    let (status, answer) = desk.post(&settle(&row), json!({ "answer": "delivered" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    assert_eq!(fleet.posts(), 0, "the person saw it elsewhere");
    assert_eq!(desk.get("/v1/publications").await.1["publications"][0]["state"], "confirmed");
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}

#[tokio::test]
async fn of_a_cancellation_and_a_publication_at_once_one_wins_and_the_ledger_tells() {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add(events(60)).await;
    eventually("all wait for the publisher", async || {
        fleet.streams.backlog("publisher").await.is_ok_and(|backlog| backlog.stream >= 50)
            && fleet.runs().await.iter().all(|run| run.step == "publish" || run.state != "running")
    })
    .await;
    fleet.start_with("publisher", &["worker.concurrency=1"], &[]).await;
    eventually("the publisher is at it", async || fleet.posts() > 0).await;
    let mut cancelled = Vec::new();
    for run in fleet.runs().await.iter().rev().filter(|run| run.step == "publish") {
        let (status, answer) = desk.post(&format!("/v1/runs/{}/cancel", run.run_id), json!({})).await;
        assert!(matches!(status, StatusCode::OK | StatusCode::CONFLICT), "{answer}");
        if status == StatusCode::OK {
            cancelled.push(run.run_id);
        }
    }
    assert!(!cancelled.is_empty(), "some were cancelled in time");
    let runs = fleet.settled(60).await;
    for run in &runs {
        let rows = fleet.record.publications_of(run.run_id).await.unwrap();
        let confirmed = rows.iter().filter(|row| row.state == record::PublicationState::Confirmed).count();
        let won = cancelled.contains(&run.run_id);
        let expected = usize::from(run.state == "published");
        assert_eq!((confirmed, run.state == "cancelled"), (expected, won), "{run:?} {rows:?}");
    }
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_dry_run_tells_what_it_would_send_and_sends_nothing() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    fleet.start_with("publisher", &["publisher.dry_run=true"], &[]).await;
    fleet.add(events(3)).await;
    let runs = fleet.settled(3).await;
    assert_eq!(fleet.posts(), 0);
    for run in &runs {
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        let told = detail.artifacts.iter().find(|artifact| artifact.name == "publish").unwrap();
        assert!(
            told.body.get().contains("would_send") && told.body.get().contains("council"),
            "{}",
            told.body
        );
    }
    assert_eq!(fleet.record.publications(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_dry_run_shows_each_of_its_posts() {
    let fleet = Fleet::with(&["gateway", "etl", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let document = digest(1).replace(
        "on_success: { end: published }",
        "on_success: again }\n  - { id: again, worker: publisher, side_effect: true, on_success: { end: published }",
    );
    activate(&desk, &registered(&desk, &document).await, "finish").await;
    let body = json!({ "workflow": "digest", "inputs": event(1).1, "dry_run": true });
    assert_eq!(desk.post("/v1/runs", body).await.0, StatusCode::CREATED);
    let run = fleet.settled(1).await.remove(0);
    assert_eq!((run.state.as_str(), run.step.as_str()), ("done", "again"), "{run:?}");
    let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
    for step in ["publish", "again"] {
        let told = detail.artifacts.iter().find(|artifact| artifact.name == step).unwrap();
        assert!(told.body.get().contains("would_send"), "{}", told.body);
    }
    assert_eq!((fleet.posts(), fleet.record.publications(None, 10).await.unwrap().len()), (0, 0));
    fleet.assert_consistent().await;
}
