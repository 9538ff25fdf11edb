//! What happens is told to outsiders: every link of every chain, as a CloudEvent that fits its documentation.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};
use crate::told::assert_documented;

/// Reads events until `enough` says so.
async fn read(
    mut response: reqwest::Response,
    enough: impl Fn(&[(String, Value)]) -> bool,
) -> Vec<(String, Value)> {
    let (mut text, mut seen) = (String::new(), Vec::new());
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while !enough(&seen) {
        let chunk = tokio::time::timeout_at(until, response.chunk()).await.expect("more events in time");
        text.push_str(std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field =
                |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                seen.push((id, serde_json::from_str(&data).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    seen
}

#[tokio::test]
async fn every_link_of_every_chain_is_told_and_fits_the_documentation() {
    let mut fleet = Fleet::with(&["planner", "gateway", "etl", "embedding", "judge", "publisher"]).await;
    fleet.start("etl").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let stranger = Desk::of(&fleet, "other", &ALL).await;
    let following = desk.open("/v1/events", None).await;
    for number in 0..3 {
        let (request_id, payload) = event(number);
        desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    }
    let (request_id, payload) = event(7);
    stranger.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    let seen = read(following, |seen| {
        seen.iter().filter(|(_, event)| event["type"] == "io.tidemill.run.published").count() == 3
    })
    .await;

    let mut told = BTreeSet::new();
    for (_, event) in &seen {
        assert_documented(event);
        assert_eq!(event["source"], "/tidemill/default", "nothing of another tenant");
        assert_eq!(event["data"]["manifest_id"], event["data"]["run"]);
        assert!(event["data"]["request_id"].as_str().unwrap().starts_with("event-"), "{event}");
        told.insert(event["id"].as_str().unwrap().to_owned());
    }
    let runs = fleet.settled(4).await;
    for run in runs.iter().filter(|run| run.tenant == "default") {
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        for link in detail.provenance {
            assert!(told.contains(&format!("{}/0/{}", run.run_id, link.pos)), "link {} of {run:?}", link.pos);
        }
    }
    // Who comes back with the id of the first event is told all that followed, and may choose.
    let again = desk.open("/v1/events?type=io.tidemill.run.done", Some(&seen[0].0)).await;
    let again = read(again, |seen| seen.len() >= 9).await;
    assert!(again.iter().all(|(_, event)| event["type"] == "io.tidemill.run.done"));
}

#[tokio::test]
async fn a_killed_planner_may_repeat_events_and_loses_none() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add((0..20).map(event)).await;
    eventually("the relay is at it", async || !told(&fleet).await.is_empty()).await;
    fleet.signal("planner", local::Signal::SIGKILL);
    fleet.start("planner").await;
    let runs = fleet.settled(20).await;
    let mut links = BTreeSet::new();
    for run in &runs {
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        links.extend(detail.provenance.iter().map(|link| format!("{}/0/{}", run.run_id, link.pos)));
    }
    eventually("every link is told", async || told(&fleet).await.is_superset(&links)).await;
}

/// Ids of the events on the stream.
pub(crate) async fn told(fleet: &Fleet) -> BTreeSet<String> {
    let mut tail = fleet.streams.tail("dataset:events", "0-0").await.unwrap();
    let page = tail.next(10_000).await.unwrap();
    page.iter()
        .map(|tailed| {
            let event: Value = serde_json::from_str(&tailed.event).unwrap();
            event["id"].as_str().unwrap().to_owned()
        })
        .collect()
}
