//! Budgets: reserved before, settled after, fail closed.

use std::time::Duration;

use model::{Failure, RunState, Usage};
use serde_json::json;

use super::super::*;
use super::simulator::Simulator;
use crate::{Allowance, Budget, Decision, Refusal};

const SPENDING: &str = "
name: t
version: 1
budget: { tokens: 1000 }
steps:
  - { id: draft, worker: agent, budget: { tokens: 600 }, retries: { max_attempts: 9 }, on_success: check }
  - { id: check, worker: agent, budget: { tokens: 600 }, fallback: { skipped: true }, on_success: last }
  - { id: last, worker: etl, on_success: { end: done } }
";

fn tokens(tokens_in: u64) -> Usage {
    Usage { tokens_in, ..Usage::default() }
}

fn spends(run: &mut Simulator, signal: &Signal<'_>, usage: Usage) -> Transition {
    let facts = Facts { usage, memory: Some(run.memory.clone()), ..Facts::default() };
    run.signal_with(0, signal, &facts).unwrap()
}

fn parked(spent: u64) -> Simulator {
    let mut run = Simulator::begin(SPENDING, json!({}));
    let parked = spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(spent));
    assert_eq!((parked.state, parked.step.as_str()), (RunState::Parked, "check"));
    run
}

fn reserved(run: &Simulator, step: &str) -> u64 {
    run.memory.reserved.get(step).map_or(0, |allowance| allowance.tokens)
}

#[test]
fn what_a_step_may_spend_is_set_aside_and_settled_by_what_it_spent() {
    let mut run = Simulator::begin(SPENDING, json!({}));
    assert_eq!(reserved(&run, "draft"), 600);
    let failure = Failure::transient("half an answer").having_spent(tokens(150));
    run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    assert_eq!((run.memory.used.tokens(), reserved(&run, "draft")), (150, 450));
    spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(350));
    assert_eq!((reserved(&run, "draft"), reserved(&run, "check")), (0, 500), "the run has no more left");
    let check = run.workflow.step("check").unwrap();
    assert_eq!(run.memory.left(&run.workflow, check).tokens, Some(500));
    spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(100));
    assert_eq!((run.run(), run.memory.reserved.len()), ((RunState::Running, "last"), 0));
}

#[test]
fn a_budget_that_is_used_up_parks_the_run_and_asks() {
    let run = parked(1000);
    let asked = run.last.as_ref().unwrap().escalation.clone().unwrap();
    assert_eq!(asked.issue_type, "budget_overrun");
    for choice in ["topped up", "cheaper model", "finish with what is there", "stop"] {
        assert!(asked.question.contains(choice), "{}", asked.question);
    }
    assert_eq!(asked.values["used"]["tokens_in"], 1000);
    assert!(run.memory.reserved.is_empty());

    let mut run = Simulator::begin(SPENDING, json!({}));
    let failure = Failure::transient("again").having_spent(tokens(600));
    let parked = run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    assert_eq!((parked.state, parked.step.as_str(), parked.attempt), (RunState::Parked, "draft", 1));
    assert!(parked.escalation.unwrap().question.contains("of the step"));
}

#[test]
fn a_person_tops_up_finishes_with_what_is_there_or_stops() {
    let mut run = parked(1000);
    let more = Budget { tokens: Some(50), ..Budget::default() };
    let resumed = run.decide(0, &Decision::TopUp { more, cheaper: true }).unwrap();
    assert_eq!((run.run(), reserved(&run, "check")), ((RunState::Running, "check"), 50));
    assert!(resumed.beyond.unwrap().memory.cheaper && resumed.approval.is_none());
    assert_eq!(run.memory.visits["check"], 1, "it was come to once");

    let mut run = parked(1000);
    run.decide(0, &Decision::Approve).unwrap();
    assert_eq!((run.run(), reserved(&run, "check")), ((RunState::Running, "check"), 600));

    let mut run = parked(2500);
    let still = run.decide(0, &Decision::TopUp { more, cheaper: false }).unwrap();
    assert_eq!((still.state, still.escalation.is_some()), (RunState::Parked, true), "that is not enough");

    let mut run = parked(1000);
    let finished = run.decide(0, &Decision::Finish).unwrap();
    assert_eq!(finished.beyond.unwrap().output, Some(json!({ "skipped": true })));
    assert!(run.memory.degraded.contains("check"));
    assert_eq!(run.run(), (RunState::Running, "last"), "it spends nothing of what is used up");

    let mut run = parked(1000);
    run.decide(0, &Decision::Reject).unwrap();
    assert_eq!(run.run(), (RunState::Rejected, "check"));
    assert_eq!(run.decide(0, &Decision::Approve), Err(Refusal::NotWaiting));
}

#[test]
fn a_run_that_finishes_with_what_is_there_makes_its_patch_of_earlier_artifacts_too() {
    let yaml = "
name: t
version: 1
blackboard: { type: object }
clusters: { desk: { allowed_writes: [/note] } }
steps:
  - { id: draft, worker: etl, on_success: check }
  - { id: check, worker: agent, cluster: desk, budget: { tokens: 0 }, fallback: { more: '!' }, patch: [{ op: add, path: /note, value: draft.text + output.more }], on_success: last }
  - { id: last, worker: etl, on_success: { end: done } }
";
    let mut run = Simulator::begin(yaml, json!({}));
    run.done("draft", &json!({ "text": "a" }));
    assert_eq!(run.run(), (RunState::Parked, "check"));
    run.decide(0, &Decision::Finish).unwrap();
    assert_eq!((run.run(), &run.memory.board["note"]), ((RunState::Running, "last"), &json!("a!")));
}

#[test]
fn a_try_that_ends_for_want_of_budget_parks_the_run_until_there_is_as_much_as_it_takes() {
    let mut run = Simulator::begin(SPENDING, json!({}));
    let lacks = |wanted: u64, spent: u64| {
        Failure::over_budget(tokens(wanted), "the prompt alone is longer").having_spent(tokens(spent))
    };
    let parked = run.signal(0, &Signal::Failed { failure: &lacks(500, 200) }).unwrap();
    assert_eq!((parked.state, parked.step.as_str(), parked.attempt), (RunState::Parked, "draft", 0));
    assert!(parked.is_overrun() && parked.reason.contains("the prompt alone is longer"), "{}", parked.reason);
    let asked = parked.escalation.unwrap();
    assert!(asked.question.contains("budget of tokens of the step"), "{}", asked.question);
    assert_eq!((asked.values["used"]["tokens_in"].as_u64(), reserved(&run, "draft")), (Some(200), 0));

    let more = |tokens| Decision::TopUp {
        more: Budget { tokens: Some(tokens), ..Budget::default() },
        cheaper: false,
    };
    assert_eq!(run.decide(0, &more(99)).unwrap().state, RunState::Parked, "of 600 and 99, 200 are gone");
    run.decide(0, &more(1)).unwrap();
    assert_eq!((run.run(), reserved(&run, "draft")), ((RunState::Running, "draft"), 500));
    spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(400));
    assert_eq!((run.run(), run.memory.wanted.len()), ((RunState::Running, "check"), 0));

    // What it says to lack is there: that is a failure like another.
    let failed = run.signal(0, &Signal::Failed { failure: &lacks(100, 0) }).unwrap();
    assert_eq!((failed.state, failed.attempt), (RunState::Running, 1));
    let failed = run.signal(0, &Signal::Failed { failure: &lacks(401, 0) }).unwrap();
    assert!(failed.escalation.unwrap().question.contains("budget of tokens of the run"));
    let stopped = run.decide(0, &Decision::Stop).unwrap();
    assert_eq!(stopped.state, RunState::Rejected);
}

const LOOPS: &str = "
name: t
version: 1
budget: { tokens: 10000 }
steps:
  - { id: write, worker: agent, budget: { tokens: 100 }, max_visits: 5, on_success: check }
  - { id: check, worker: etl, branches: [{ when: check.again, to: write }], on_success: { end: done } }
";

#[test]
fn the_budget_of_a_step_is_of_each_visit() {
    let mut run = Simulator::begin(LOOPS, json!({}));
    for visit in 1..=3 {
        assert_eq!(reserved(&run, "write"), 100, "visit {visit}");
        let failure = Failure::transient("half an answer").having_spent(tokens(30));
        run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
        assert_eq!(reserved(&run, "write"), 70, "the tries of a visit share its budget");
        spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(50));
        run.done("check", &json!({ "again": true }));
    }
    assert_eq!(run.memory.spent["write"].tokens(), 240, "what is told is of all visits");
    assert_eq!(run.run(), (RunState::Running, "write"));
}

#[test]
fn what_is_granted_to_a_step_is_for_the_visit_that_it_is_at() {
    let mut run = Simulator::begin(LOOPS, json!({}));
    let failure = Failure::transient("again").having_spent(tokens(100));
    let parked = run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    assert!(parked.is_overrun());
    run.decide(0, &Decision::Approve).unwrap();
    assert_eq!(reserved(&run, "write"), 100);
    spends(&mut run, &Signal::Done { output: &json!({}), patch: None }, tokens(10));
    run.done("check", &json!({ "again": true }));
    assert_eq!(reserved(&run, "write"), 100, "of 100, and nothing of what was left of the grant");

    let forks = "
name: t
version: 1
steps:
  - { id: start, worker: etl, on_success: both }
  - { id: both, parallel: { branches: [a] }, max_visits: 3, on_success: check }
  - { id: a, worker: agent, budget: { cost: 0 }, on_success: join }
  - { id: check, worker: etl, branches: [{ when: check.again, to: both }], on_success: { end: done } }
";
    let more = Budget { cost_micros: Some(10), ..Budget::default() };
    let mut run = Simulator::begin(forks, json!({}));
    run.done("start", &json!({}));
    for _ in 0..2 {
        assert_eq!(run.run(), (RunState::Parked, "both"), "each visit begins with nothing");
        run.decide(0, &Decision::TopUp { more, cheaper: false }).unwrap();
        assert_eq!((run.run(), run.memory.reserved["a"].cost_micros), ((RunState::Running, "both"), 10));
        let spent = Usage { cost_micros: 4, ..Usage::default() };
        let facts = Facts { usage: spent, memory: Some(run.memory.clone()), ..Facts::default() };
        run.signal_with(1, &Signal::Done { output: &json!({}), patch: None }, &facts).unwrap();
        run.done("check", &json!({ "again": true }));
    }
}

#[test]
fn a_run_with_nothing_to_spend_is_parked_before_its_first_step() {
    let yaml = |run: &str, step: &str| {
        format!(
            "name: t\nversion: 1\nbudget: {{ {run} }}\nsteps:\n  - {{ id: a, worker: agent, budget: {{ {step} }}, on_success: {{ end: done }} }}\n"
        )
    };
    for (of_run, of_step) in [("cost: 0", ""), ("tokens: 9", "cost: 0"), ("time: 0s", "tokens: 9")] {
        let mut run = Simulator::begin(&yaml(of_run, of_step), json!({}));
        assert!(run.workflow.looks_before_it_begins(), "{of_run}, {of_step}");
        let parked = run.signal(0, &Signal::Begin).unwrap();
        assert!(parked.is_overrun() && run.run() == (RunState::Parked, "a"), "{of_run}, {of_step}");
    }
    assert!(!Simulator::begin(&yaml("cost: 1", "tokens: 9"), json!({})).workflow.looks_before_it_begins());
}

#[test]
fn branches_together_set_aside_no_more_than_the_run_has() {
    let yaml = "
name: t
version: 1
budget: { cost: 0.001, time: 10s }
steps:
  - { id: start, worker: etl, on_success: both }
  - { id: both, parallel: { branches: [a, b] }, on_success: { end: done } }
  - { id: a, worker: agent, budget: { cost: 0.0006 }, on_success: join }
  - { id: b, worker: agent, budget: { cost: 0.0006 }, on_success: join }
";
    let mut run = Simulator::begin(yaml, json!({}));
    run.done("start", &json!({}));
    let set_aside = |step: &str| run.memory.reserved[step].cost_micros;
    assert_eq!((set_aside("a"), set_aside("b")), (600, 400));

    let mut run = Simulator::begin(
        &yaml
            .replace("0.0006 }, on_success: join }\n  - { id: b", "0.002 }, on_success: join }\n  - { id: b"),
        json!({}),
    );
    run.done("start", &json!({}));
    assert_eq!(run.run(), (RunState::Parked, "both"), "of a fork all branches open, or none");
    assert!(run.working().is_empty() && run.memory.reserved.is_empty());
    let more = Budget { cost_micros: Some(2000), ..Budget::default() };
    run.decide(0, &Decision::TopUp { more, cheaper: false }).unwrap();
    assert_eq!((run.run(), run.working()), ((RunState::Running, "both"), vec![1, 2]));
}

#[test]
fn time_is_what_workers_take_and_a_budget_of_nothing_is_used_up() {
    let left = |limit: Budget, gone: Usage| limit.left(Allowance::default(), gone.into()).exhausted();
    let time = Budget { time: Some(Duration::from_secs(1)), ..Budget::default() };
    assert_eq!(left(time, Usage { millis: 999, ..Usage::default() }), None);
    assert_eq!(left(time, Usage { millis: 1000, ..Usage::default() }), Some("time"));
    assert_eq!(left(Budget { tokens: Some(0), ..Budget::default() }, Usage::default()), Some("tokens"));
    assert_eq!(left(Budget::default(), tokens(u64::MAX)), None);
}
