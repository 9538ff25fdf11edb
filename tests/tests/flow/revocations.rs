//! A post that a person takes back leaves its outlet, once, and never comes again by itself.

use local::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{binary, eventually};

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event};

async fn send(desk: &Desk, number: usize) {
    let (request_id, payload) = event(number);
    let body = json!({ "source": "s", "request_id": request_id, "payload": payload });
    assert_eq!(desk.post("/v1/events", body).await.0, StatusCode::ACCEPTED);
}

/// A fleet that published so many posts, its publisher started like this.
async fn published(count: usize, set: &[&str], environment: &[(&str, &str)]) -> (Fleet, Desk) {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    fleet.start_with("publisher", set, environment).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    for number in 1..=count {
        send(&desk, number).await;
    }
    let runs = fleet.settled(count).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    (fleet, desk)
}

async fn ledger(desk: &Desk) -> Value {
    desk.get("/v1/publications").await.1["publications"].clone()
}

fn revoke(row: &Value) -> String {
    format!("/v1/publications/{}/revoke", row["publication_id"].as_str().unwrap())
}

/// Waits until the newest row's revocation stands like this; returns the row.
async fn revocation(desk: &Desk, state: &str) -> Value {
    eventually(&format!("the revocation is {state}"), async || {
        ledger(desk).await[0]["revocation"]["state"] == state
    })
    .await;
    ledger(desk).await[0].clone()
}

fn feed(fleet: &Fleet) -> String {
    std::fs::read_to_string(fleet.servers.folder().join("published/feed.atom")).unwrap()
}

async fn told(desk: &Desk, fleet: &Fleet, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(binary("tidemill"));
    let output = command.args(arguments).args(desk.flags()).current_dir(fleet.servers.folder()).output();
    let output = output.await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn a_revoked_post_leaves_folder_and_feed_and_is_never_posted_again() {
    let (fleet, desk) = published(2, &[], &[]).await;
    let row = ledger(&desk).await[0].clone();
    let (id, run) = (row["publication_id"].as_str().unwrap(), row["run_id"].as_str().unwrap());
    assert_eq!(feed(&fleet).matches("<entry>").count(), 2);
    told(&desk, &fleet, &["publications", "revoke", id, "--note", "the bridge is closed"]).await;
    let row = revocation(&desk, "revoked").await;
    assert_eq!(row["state"], "confirmed", "the ledger tells what went out: {row}");
    assert_eq!(row["revocation"]["requested_by"], "default desk");
    assert_eq!((fleet.posts(), feed(&fleet).matches("<entry>").count()), (1, 1));
    let why = told(&desk, &fleet, &["why", run]).await;
    assert!(why.contains("revoked, asked for by default desk (the bridge is closed)"), "{why}");
    assert!(told(&desk, &fleet, &["publications", "list"]).await.contains("revoked, asked for"));
    let links = desk.get(&format!("/v1/runs/{run}")).await.1["provenance"].clone();
    let kinds: Vec<&str> =
        links.as_array().unwrap().iter().filter_map(|link| link["entry"]["what"].as_str()).collect();
    assert_eq!(kinds[kinds.len() - 2..], ["revocation_asked", "revoked"], "{links}");
    assert_eq!(desk.post(&revoke(&row), json!({})).await.0, StatusCode::OK, "it is revoked already");
    // The run goes through again: its key is kept.
    let again = desk.post(&format!("/v1/runs/{run}/retry"), json!({ "from": "publish" })).await;
    assert_eq!(again.0, StatusCode::OK, "{}", again.1);
    eventually("the run ended again", async || {
        desk.get(&format!("/v1/runs/{run}")).await.1["state"] == "dead"
    })
    .await;
    let reason = desk.get(&format!("/v1/runs/{run}")).await.1["reason"].clone();
    assert!(reason.as_str().unwrap().contains("a person revoked it"), "{reason}");
    assert_eq!(fleet.posts(), 1);
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}

#[tokio::test]
async fn a_publisher_that_is_killed_in_mid_revoke_does_no_harm() {
    for point in ["revoking", "withdrawn"] {
        let once = tempfile::tempdir().unwrap();
        let marker = once.path().join("died");
        let environment =
            [("TIDEMILL_FAILPOINT", point), ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().unwrap())];
        let quick = ["publisher.timeout=1s"];
        let (mut fleet, desk) = published(2, &quick, &environment).await;
        let row = ledger(&desk).await[0].clone();
        assert_eq!(desk.post(&revoke(&row), json!({})).await.0, StatusCode::ACCEPTED);
        let (_, publisher) = fleet.workers.iter_mut().find(|(name, _)| *name == "publisher").unwrap();
        assert!(publisher.wait(END).await.is_some(), "the publisher dies at {point}");
        fleet.start_with("publisher", &quick, &environment).await;
        let row = revocation(&desk, "revoked").await;
        assert_eq!(row["revocation"]["attempts"], 2, "{row}");
        assert_eq!((fleet.posts(), feed(&fleet).matches("<entry>").count()), (1, 1));
        assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
    }
}

#[tokio::test]
async fn while_an_outlet_is_away_its_revocations_wait_and_are_tried_again() {
    let (mut fleet, desk) = published(1, &[], &[]).await;
    let row = ledger(&desk).await[0].clone();
    let folder = fleet.servers.folder().join("published");
    let aside = fleet.servers.folder().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    assert_eq!(desk.post(&revoke(&row), json!({ "note": "a hoax" })).await.0, StatusCode::ACCEPTED);
    eventually("it was tried in vain", async || {
        ledger(&desk).await[0]["revocation"]["detail"].as_str().is_some_and(|said| said.contains("cannot be"))
    })
    .await;
    assert_eq!(desk.post(&revoke(&row), json!({})).await.1["revocation"], "requested", "asked once");
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    let row = revocation(&desk, "revoked").await;
    assert!(row["revocation"]["attempts"].as_i64().unwrap() >= 2, "{row}");
    assert_eq!(fleet.posts(), 0);
    fleet.signal("publisher", Signal::SIGTERM);
}

#[tokio::test]
async fn only_what_is_out_can_be_revoked_and_only_by_those_who_may() {
    let (fleet, desk) = published(1, &[], &[]).await;
    let row = ledger(&desk).await[0].clone();
    let reader = Desk::of(&fleet, "default", &["read", "moderate"]).await;
    assert_eq!(reader.post(&revoke(&row), json!({})).await.0, StatusCode::FORBIDDEN);
    let stranger = Desk::of(&fleet, "other", &ALL).await;
    assert_eq!(stranger.post(&revoke(&row), json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(desk.post("/v1/publications/1/revoke", json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(desk.post(&revoke(&row), json!({ "not": "x" })).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(ledger(&desk).await[0]["revocation"], Value::Null);
}

#[tokio::test]
async fn an_outlet_that_cannot_call_back_what_it_sent_says_so() {
    let receiver = wiremock::MockServer::start().await;
    wiremock::Mock::given(wiremock::matchers::any())
        .respond_with(wiremock::ResponseTemplate::new(200))
        .mount(&receiver)
        .await;
    let outlets =
        format!("publisher.outlets={}", json!({ "hook": { "webhook": { "url": receiver.uri() } } }));
    let (fleet, desk) = published(1, &[&outlets, "publisher.outlet=hook"], &[]).await;
    let row = ledger(&desk).await[0].clone();
    assert_eq!(desk.post(&revoke(&row), json!({})).await.0, StatusCode::ACCEPTED);
    let row = revocation(&desk, "refused").await;
    let said = row["revocation"]["detail"].as_str().unwrap();
    assert!(said.contains("cannot be called back"), "{said}");
    assert_eq!(
        desk.post(&revoke(&row), json!({})).await.0,
        StatusCode::ACCEPTED,
        "it may be asked for again"
    );
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}
