//! Three judges, each an agent of its own, and what their verdicts make of a run.

use serde_json::{Value, json};

use crate::gates::{asked, decided, ends, gated, resolve, send};

const GATES: &str = "
gates:
  wise: { three_wise: { judges: [truth, style, law], quorum: 2, split: person } }
";

const DOCUMENT: &str = "
name: judged
version: 1
steps:
  - { id: etl, worker: etl, on_success: judges }
  - id: judges
    parallel: { branches: [truth, style, law] }
    on_success: publish
  - { id: truth, worker: agent, role: juror, retries: { max_attempts: 1 }, on_failure: join, on_success: join }
  - { id: style, worker: agent, role: juror, retries: { max_attempts: 1 }, on_failure: join, on_success: join }
  - { id: law, worker: agent, role: juror, retries: { max_attempts: 1 }, on_failure: join, on_success: join }
  - id: publish
    worker: judge
    gates: { before: [wise] }
    on_success: { end: done }
";

/// What the judge of a step answers; nothing where it errs.
fn script(verdicts: [Option<&str>; 3]) -> String {
    let answers: serde_json::Map<String, Value> = ["truth", "style", "law"]
        .iter()
        .zip(verdicts)
        .filter_map(|(step, verdict)| {
            let answer = json!({ "verdict": verdict?, "reason": "so it seems" });
            Some(((*step).to_owned(), json!([answer])))
        })
        .collect();
    let providers = json!({ "canned": { "script": { "answers": answers } } });
    format!("agent.providers={providers}")
}

/// A run of which the three judges say this, and the desk.
async fn judged(verdicts: [Option<&str>; 3]) -> (crate::fleet::Fleet, crate::door::Desk, model::RunId) {
    let roles = json!({ "juror": { "prompt": "Judge." } });
    let roles = format!("agent.roles={roles}");
    let set = [script(verdicts), "agent.provider=canned".to_owned(), roles];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (fleet, desk) = gated(DOCUMENT, GATES, &["etl", "judge", "agent"], &set).await;
    let run = send(&desk, 1, "").await;
    (fleet, desk, run)
}

#[tokio::test]
async fn two_judges_against_one_are_a_question_to_a_person() {
    let (fleet, desk, run) = judged([Some("pass"), Some("pass"), Some("fail")]).await;
    let split = asked(&fleet, run, "split_verdict").await;
    assert_eq!(split.rule.as_deref(), Some("gate:wise"));
    let (_, answer) = resolve(&desk, &split, json!({ "decision": "approve" })).await;
    assert_eq!((&answer["state"], &answer["step"]), (&json!("running"), &json!("publish")), "{answer}");
    ends(&fleet, run, "done").await;
    let told = decided(&fleet, run, 2).await;
    let rulings: Vec<&Value> = told.iter().map(|data| &data["gate_decided"]["ruling"]).collect();
    assert_eq!(rulings, ["ask", "pass"]);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn one_against_one_and_an_error_are_a_question_and_two_of_a_kind_are_a_verdict() {
    let (fleet, _desk, run) = judged([Some("pass"), Some("fail"), None]).await;
    asked(&fleet, run, "split_verdict").await;
    let (fleet, _desk, run) = judged([Some("pass"), Some("pass"), None]).await;
    ends(&fleet, run, "done").await;
    let (fleet, _desk, run) = judged([Some("fail"), Some("fail"), Some("fail")]).await;
    asked(&fleet, run, "judges_refused").await;
}

#[tokio::test]
async fn three_errors_never_pass() {
    let (fleet, desk, run) = judged([None, None, None]).await;
    let lost = asked(&fleet, run, "split_verdict").await;
    assert_eq!(lost.rule.as_deref(), Some("gate:wise"));
    let (_, answer) = resolve(&desk, &lost, json!({ "decision": "reject" })).await;
    assert_eq!(answer["state"], "rejected", "{answer}");
    fleet.assert_consistent().await;
}
