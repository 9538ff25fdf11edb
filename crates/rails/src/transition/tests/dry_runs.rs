//! Dry runs: what would go out is shown, step by step, and nothing of it counts as published.

use std::collections::BTreeMap;

use model::{Lifecycle, RunId, RunState};
use serde_json::{Value, json};

use super::super::*;
use super::simulator::Simulator;

/// Two posts with a step between them; `more` is what the document says beside them.
fn twice(more: &str) -> String {
    format!(
        "
name: twice
version: 1
{more}
steps:
  - {{ id: judge, worker: judge, approve: by_rule, on_success: first }}
  - {{ id: first, worker: publisher, side_effect: true, on_success: etl }}
  - {{ id: etl, worker: etl, on_success: second }}
  - {{ id: second, worker: publisher, side_effect: true, on_success: {{ end: published }} }}
"
    )
}

const POST: Signal<'static> = Signal::DryRun { output: &Value::Null, posts: true };

/// Calls of somebody outside, with what `deploy` says of its failure.
fn calls(on_failure: &str) -> Simulator {
    let yaml = format!(
        "
name: ship
version: 1
untrusted: []
blackboard: {{ type: object, properties: {{ place: {{ type: string }} }} }}
clusters: {{ yard: {{ allowed_reads: [/inputs/**], allowed_writes: [/place] }} }}
steps:
  - {{ id: check, worker: agent, role: tester, approve: by_rule, on_success: deploy }}
  - {{ id: deploy, worker: agent, role: deployer, cluster: yard, side_effect: true, {on_failure}patch: [{{ op: add, path: /place, value: /place }}], on_success: tell }}
  - {{ id: tell, worker: etl, on_success: {{ end: published }} }}
"
    );
    let mut run = Simulator::begin(&yaml, json!({}));
    run.dry_run = true;
    run.done("check", &json!({}));
    run
}

#[test]
fn a_dry_run_goes_on_after_each_post_and_ends_as_done() {
    let mut run = Simulator::begin(&twice("blackboard: { type: object }\nuntrusted: []"), json!({}));
    run.dry_run = true;
    run.content = Some(model::sha256(&[b"content"]));
    run.done("judge", &json!({}));
    let first = run.signal(0, &POST).unwrap();
    assert_eq!((first.state, first.step.as_str()), (RunState::Running, "etl"), "{first:?}");
    run.done("etl", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "second"));
    let second = run.signal(0, &POST).unwrap();
    assert_eq!((second.state, second.lifecycle), (RunState::Done, Lifecycle::Approved), "{second:?}");
    assert_eq!(second.reason, "dry run: shown, and not sent");
}

#[test]
fn without_a_manifest_it_does_so_as_well() {
    let workflow = Workflow::unchecked(&twice(""));
    assert!(!workflow.keeps_manifest());
    let go = |step, signal: &Signal<'_>, dry_run| {
        let at = Standing {
            run: RunId(uuid::Uuid::nil()),
            branch: 0,
            state: RunState::Running,
            lifecycle: Lifecycle::Approved,
            step,
            attempt: 0,
            content: None,
            dry_run,
        };
        let next = advance(&workflow, &at, signal, &BTreeMap::new(), &crate::Facts::default()).unwrap();
        (next.state, next.step, next.lifecycle)
    };
    assert_eq!(go("first", &POST, true), (RunState::Running, "etl".to_owned(), Lifecycle::Approved));
    assert_eq!(go("second", &POST, true), (RunState::Done, "second".to_owned(), Lifecycle::Approved));
    let publisher_sends_nothing = go("first", &POST, false);
    assert_eq!(publisher_sends_nothing, (RunState::Done, "first".to_owned(), Lifecycle::Approved));
}

#[test]
fn a_dry_run_ends_before_a_call_whose_answer_nobody_knows() {
    let mut run = calls("");
    let shown = run.signal(0, &Signal::DryRun { output: &json!({ "would_send": 1 }), posts: false }).unwrap();
    assert_eq!((shown.state, shown.step.as_str()), (RunState::Done, "deploy"));
    assert!(shown.reason.contains("before the call of `deploy`"), "{}", shown.reason);
}

#[test]
fn a_dry_run_goes_on_with_the_fallback_of_a_call_and_tells_what_it_would_have_been() {
    let mut run = calls("on_failure: continue, fallback: { place: nowhere }, ");
    let call = json!({ "would_send": { "page": 1 } });
    let shown = run.signal(0, &Signal::DryRun { output: &call, posts: false }).unwrap();
    assert_eq!((shown.state, shown.step.as_str()), (RunState::Running, "tell"), "{shown:?}");
    assert_eq!(run.memory.board["place"], "nowhere");
    let told = shown.gates.iter().find(|gate| gate.rule == "dry run of deploy").unwrap();
    assert_eq!(told.values, call);
    run.done("tell", &json!({}));
    assert_eq!(run.run().0, RunState::Done, "nothing was published");
}
