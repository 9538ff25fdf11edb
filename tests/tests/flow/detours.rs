//! Runs that pass a step, go on without one, or undo what they did.

use serde_json::{Value, json};

use crate::door::Desk;
use crate::fleet::Fleet;
use crate::goals::thinking;

/// The car cannot be had, and the flight cannot be given back.
const TRIP: &str = "
name: trip
version: 1
inputs: { type: object }
steps:
  - { id: flight, worker: agent, compensate_with: no_flight, on_success: hotel }
  - { id: hotel, worker: agent, compensate_with: no_hotel, on_success: car }
  - { id: car, worker: agent, on_success: { end: done } }
  - { id: no_flight, worker: agent, on_success: { end: cancelled } }
  - { id: no_hotel, worker: agent, on_success: { end: cancelled } }
";

/// What is there already is not drafted again; where nobody can illustrate it, it goes without.
const ARTICLE: &str = "
name: article
version: 1
inputs: { type: object, properties: { draft: { type: string } } }
blackboard:
  type: object
  properties: { inputs: { type: object }, text: { type: string }, picture: { type: string } }
clusters:
  desk: { allowed_reads: [/inputs/**, /text], allowed_writes: [/text, /picture] }
steps:
  - id: draft
    worker: agent
    cluster: desk
    skip_if_exists: /inputs/draft
    patch: [{ op: add, path: /text, value: /text }]
    on_success: illustrate
  - id: illustrate
    worker: agent
    cluster: desk
    on_failure: continue
    fallback: { picture: none }
    patch: [{ op: add, path: /picture, value: /picture }]
    on_success: last
  - { id: last, worker: agent, skip_if_exists: illustrate, on_success: polish }
  - { id: polish, worker: agent, on_success: { end: done } }
";

/// The run that comes of this, once it has ended: as it is shown, and the steps that were done.
async fn ended(fleet: &Fleet, desk: &Desk, workflow: &str, inputs: Value) -> (Value, Vec<String>) {
    let (status, begun) = desk.post("/v1/runs", json!({ "workflow": workflow, "inputs": inputs })).await;
    assert!(status.is_success(), "{begun}");
    let run = begun["run_id"].as_str().unwrap();
    let (_, shown) = desk.get(&format!("/v1/runs/{run}?wait=60s")).await;
    let links = shown["provenance"].as_array().unwrap().iter().map(|link| &link["entry"]);
    let done =
        links.filter(|link| link["what"] == "done").map(|link| link["step"].as_str().unwrap().to_owned());
    let done = done.collect();
    fleet.assert_consistent().await;
    (shown, done)
}

fn links<'a>(shown: &'a Value, step: &'a str) -> impl Iterator<Item = &'a Value> {
    let links = shown["provenance"].as_array().unwrap().iter().map(|link| &link["entry"]);
    links.filter(move |link| link["step"] == step)
}

#[tokio::test]
async fn what_is_there_is_passed_what_fails_is_gone_on_without_and_what_was_done_is_undone() {
    let answers = json!({
        "flight": [{ "seat": 1 }], "hotel": [{ "room": 2 }], "no_hotel": [{ "room": 0 }],
        "draft": [{ "text": "A draft." }], "polish": [{ "text": "Polished." }],
    });
    let (fleet, desk) = thinking(&[("trip", TRIP), ("article", ARTICLE)], answers, &[]).await;

    let (shown, done) = ended(&fleet, &desk, "article", json!({})).await;
    assert_eq!(shown["state"], "done", "{shown}");
    assert_eq!(done, ["draft", "polish"]);
    assert_eq!(shown["manifest"]["degraded"], json!(["illustrate"]), "{shown}");
    let without = links(&shown, "illustrate").last().unwrap();
    let reason = without["reason"].as_str().unwrap();
    assert!(reason.starts_with("illustrate degraded: ") && reason.contains("no answer"), "{without}");
    let (_, board) = desk.get(&format!("/v1/runs/{}/board", shown["run_id"].as_str().unwrap())).await;
    assert_eq!(board["board"]["picture"], "none", "{board}");
    let fallback =
        shown["artifacts"].as_array().unwrap().iter().find(|one| one["name"] == "illustrate").unwrap();
    assert_eq!(fallback["body"], json!({ "picture": "none" }), "what follows reads the fallback");
    assert_eq!(
        without["gates"][0]["rule"], "skip_if_exists of last",
        "which is an artifact that is there: {without}"
    );

    let (shown, done) = ended(&fleet, &desk, "article", json!({ "draft": "mine" })).await;
    assert_eq!(shown["state"], "done", "{shown}");
    assert_eq!(done, ["polish"], "what is there is not drafted again");

    let (shown, done) = ended(&fleet, &desk, "trip", json!({})).await;
    let failed = "the script has no answer for the step `car`";
    assert!(shown["state"] == "dead" && shown["reason"].as_str().unwrap().contains(failed), "{shown}");
    assert_eq!(done, ["flight", "hotel", "no_hotel"], "the last is undone first");
    let letters = fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap();
    let told = |words: &str| letters.iter().filter(|letter| letter.reason.contains(words)).count();
    assert_eq!((told(failed), told("the compensation `no_flight` failed: ")), (1, 1), "{letters:?}");
}
