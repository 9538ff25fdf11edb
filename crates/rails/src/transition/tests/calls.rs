//! Agents' steps that act outside: what is approved is the call, and its answer is the step's output.

use model::{Lifecycle, RunState};
use serde_json::{Value, json};

use super::super::*;
use super::simulator::Simulator;
use crate::{Decision, Refusal};

fn ship(check: &str) -> String {
    format!(
        "
name: ship
version: 1
untrusted: []
blackboard: {{ type: object, properties: {{ place: {{ type: string }} }} }}
clusters: {{ yard: {{ allowed_reads: [/inputs/**], allowed_writes: [/place] }} }}
steps:
  - {{ id: check, worker: agent, role: tester, {check}on_success: deploy }}
  - {{ id: deploy, worker: agent, role: deployer, cluster: yard, side_effect: true, input: {{ page: /inputs/page }}, patch: [{{ op: add, path: /place, value: /place }}], on_success: tell }}
  - {{ id: tell, worker: agent, role: deployer, cluster: yard, side_effect: true, input: {{ page: /inputs/page }}, on_success: {{ end: done }} }}
"
    )
}

fn begun(check: &str) -> Simulator {
    Simulator::begin(&ship(check), json!({ "page": "<h1>Bread</h1>" }))
}

fn answers(run: &mut Simulator, step: &str, output: &Value) -> Transition {
    let lane = run.lane(step);
    run.signal(lane, &Signal::EffectAnswered { reference: "call", output, patch: None }).unwrap()
}

/// What a transition makes the content of.
fn call(transition: &Transition) -> String {
    let content = transition.beyond.as_ref().unwrap().content.as_ref();
    content.map(|content| content.content.body.clone()).unwrap_or_default()
}

#[test]
fn an_approval_by_rule_is_of_the_very_call_that_is_entered() {
    let mut run = begun("approve: by_rule, ");
    let approved = run.done("check", &json!({ "ok": true }));
    assert_eq!((run.run(), approved.lifecycle), ((RunState::Running, "deploy"), Lifecycle::Approved));
    assert!(approved.approval.is_some(), "{approved:?}");
    assert!(call(&approved).contains("Bread") && call(&approved).contains("deployer"), "{approved:?}");
}

#[test]
fn an_answer_is_the_steps_output_and_another_call_needs_another_approval() {
    let mut run = begun("approve: by_rule, ");
    run.done("check", &json!({ "ok": true }));
    let first = run.content;
    let answered = answers(&mut run, "deploy", &json!({ "place": "here" }));
    assert_eq!(run.memory.board["place"], "here");
    assert_eq!(run.run(), (RunState::Waiting, "tell"), "{answered:?}");
    assert_eq!(run.row(0).asked.as_deref(), Some("approval_lost"));
    assert!(
        run.content != first && call(&answered).contains("\"tell\""),
        "what is asked about is the new call"
    );
    let shown = answered.beyond.unwrap().content.unwrap().content;
    assert_eq!(run.decide(0, &Decision::Edit(Box::new(shown))), Err(Refusal::NoEdit));
    let approved = run.decide(0, &Decision::Approve).unwrap();
    assert_eq!((run.run(), approved.approval.is_some()), ((RunState::Running, "tell"), true));
    answers(&mut run, "tell", &json!({}));
    assert_eq!((run.run().0, run.lifecycle), (RunState::Done, Lifecycle::Published));
}

#[test]
fn an_answer_that_the_blackboard_refuses_fails_for_good_and_no_second_call_is_made() {
    let mut run = begun("approve: by_rule, ");
    run.done("check", &json!({ "ok": true }));
    let refused = answers(&mut run, "deploy", &json!({ "place": 7 }));
    assert_eq!(run.run(), (RunState::Dead, "deploy"));
    assert!(refused.reason.contains("the call was made"), "{}", refused.reason);
    assert!(matches!(refused.beyond.unwrap().patch, Some(Patched::Refused { .. })));
}

#[test]
fn an_approval_before_there_was_a_call_is_of_none() {
    let mut asked = begun("branches: [{ when: 'check.ok', escalate: doubt }], approve: by_rule, ");
    asked.done("check", &json!({ "ok": true }));
    asked.decide(0, &Decision::Approve).unwrap();
    assert_eq!(asked.row(0).asked.as_deref(), Some("approval_lost"), "the doubt was about no call");
    let yaml = ship("approve: by_rule, ").replace("on_success: deploy", "on_success: rest").replace(
        "  - { id: deploy",
        "  - { id: rest, worker: agent, role: tester, on_success: deploy }\n  - { id: deploy",
    );
    let mut later = Simulator::begin(&yaml, json!({ "page": "p" }));
    later.done("check", &json!({ "ok": true }));
    later.done("rest", &json!({}));
    assert_eq!(later.row(0).asked.as_deref(), Some("approval_lost"), "the rule saw no call either");
}
