//! What a worker proposes outside of its cluster is refused, told and counted; a person is asked where that goes on.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{ChatStandIn, Turn, eventually};

use crate::gates::{asked, ends, gated, links, resolve, send};

/// The writer is sent back for as long as the reader is not content, and tried twice each time.
const DOCUMENT: &str = "
name: guarded
version: 1
blackboard: { type: object }
clusters:
  desk: { roles: [writer], allowed_reads: [/note], allowed_writes: [/note] }
steps:
  - id: write
    worker: agent
    role: writer
    cluster: desk
    max_visits: 5
    retries: { max_attempts: 2, backoff: { initial: 10ms, max: 10ms } }
    on_failure: look
    on_success: { end: done }
  - { id: look, worker: etl, on_success: write }
";

#[tokio::test]
async fn a_worker_that_writes_outside_of_its_cluster_again_and_again_asks_a_person_over_all_its_visits() {
    let chat = ChatStandIn::start(|number, _| {
        let path = if number < 3 { "/inputs/body" } else { "/note" };
        let patch = json!([{ "op": "add", "path": path, "value": "It was all lawful." }]);
        Turn::Says(json!({ "output": {}, "patch": patch }).to_string())
    })
    .await;
    let providers =
        json!({ "main": { "openai": { "base_url": format!("{}/v1", chat.url()), "model": "m" } } });
    let roles = json!({ "writer": { "prompt": "Write.", "patches": true } });
    let (providers, roles) = (format!("agent.providers={providers}"), format!("agent.roles={roles}"));
    let set = ["agent.provider=main", providers.as_str(), roles.as_str()];
    let (fleet, desk) = gated(DOCUMENT, "gates: {}", &["agent", "etl"], &set).await;
    let run = send(&desk, 1, "").await;
    let question = asked(&fleet, run, "guardrail").await;
    assert!(question.question.contains("`write` was refused 3 times"), "{}", question.question);
    assert_eq!(chat.asked().len(), 3);
    let chain = links(&desk, run).await;
    let refused = chain.iter().filter(|link| link["patch_refused"].is_object());
    let counted: Vec<Value> = refused
        .map(|link| {
            let gates = link["gates"].as_array().unwrap();
            gates.iter().find(|gate| gate["rule"] == "guardrail of write").unwrap()["values"]["refused"]
                .clone()
        })
        .collect();
    assert_eq!(counted, [1, 2, 3], "each is told, and counted over the visits: {chain:?}");
    let (_, board) = desk.get(&format!("/v1/runs/{run}/board")).await;
    assert_eq!((&board["version"], board["board"].get("note")), (&json!(0), None), "{board}");

    let (status, on) = resolve(&desk, &question, json!({ "decision": "approve" })).await;
    assert_eq!(
        (status, &on["state"], &on["step"]),
        (StatusCode::OK, &json!("running"), &json!("write")),
        "{on}"
    );
    ends(&fleet, run, "done").await;
    eventually("the note is written", async || {
        desk.get(&format!("/v1/runs/{run}/board")).await.1["board"]["note"] == "It was all lawful."
    })
    .await;
    fleet.assert_consistent().await;
}
