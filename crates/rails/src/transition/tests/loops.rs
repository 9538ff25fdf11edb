//! Visits, what is there already, fallbacks and compensations.

use model::{Lifecycle, RunState};
use serde_json::{Value, json};

use super::super::*;
use super::simulator::Simulator;
use crate::{Decision, Refusal};

const REVIEW: &str = "
name: t
version: 1
steps:
  - { id: code, worker: etl, max_visits: 2, EXHAUSTED on_success: review }
  - { id: review, worker: judge, branches: [{ when: '!review.good', to: code }], on_success: { end: done } }
  - { id: ask, worker: judge, on_success: { end: needs_review } }
";

fn reviewed(exhausted: &str) -> Simulator {
    let mut run = Simulator::begin(&REVIEW.replace("EXHAUSTED", exhausted), json!({}));
    for _ in 0..2 {
        assert_eq!(run.run(), (RunState::Running, "code"));
        run.done("code", &json!({}));
        run.done("review", &json!({ "good": false }));
    }
    run
}

#[test]
fn a_loop_is_bounded_by_the_visits_of_its_steps() {
    let dead = reviewed("");
    assert_eq!(dead.run(), (RunState::Dead, "review"));
    assert_eq!(dead.letters, ["`code` was come to 3 times, and its max_visits is 2"]);
    let asked = reviewed("on_exhausted: ask,");
    assert_eq!(asked.run(), (RunState::Running, "ask"));
    let gate = asked.last.unwrap().gates.pop().unwrap();
    assert_eq!((gate.held, gate.values), (Some(true), json!({ "visits": 3, "max_visits": 2 })));
    assert_eq!(reviewed("on_exhausted: { end: needs_review },").run(), (RunState::NeedsReview, "review"));
}

#[test]
fn a_retry_is_no_visit_and_a_replay_begins_its_counts_anew() {
    let mut run = Simulator::begin(&REVIEW.replace("EXHAUSTED", ""), json!({}));
    let failure = model::Failure::transient("busy");
    for _ in 0..3 {
        run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    }
    assert_eq!((run.row(0).attempt, run.memory.visits["code"]), (3, 1));
    let mut run = reviewed("");
    run.signal(0, &Signal::Replay).unwrap();
    run.done("review", &json!({ "good": false }));
    assert_eq!(run.run(), (RunState::Running, "code"));
}

#[test]
fn a_person_who_sends_back_counts_a_visit_and_nothing_is_passed() {
    let yaml = "
name: t
version: 1
steps:
  - { id: code, worker: etl, max_visits: 2, skip_if_exists: code, on_success: review }
  - { id: review, worker: judge, branches: [{ when: '!review.good', escalate: unsure }], on_success: { end: done } }
";
    let mut run = Simulator::begin(yaml, json!({}));
    run.done("code", &json!({}));
    run.done("review", &json!({ "good": false }));
    assert_eq!(run.run(), (RunState::Waiting, "review"));
    let unknown = run.decide(0, &Decision::SendBack("moon".to_owned()));
    assert_eq!(unknown, Err(Refusal::UnknownStep("moon".to_owned())));
    let back = run.decide(0, &Decision::SendBack("code".to_owned())).unwrap();
    assert_eq!(
        (back.step.as_str(), back.lifecycle, run.memory.visits["code"]),
        ("code", Lifecycle::Draft, 2)
    );
    run.done("code", &json!({}));
    run.done("review", &json!({ "good": false }));
    run.decide(0, &Decision::SendBack("code".to_owned())).unwrap();
    assert_eq!(run.run(), (RunState::Dead, "review"));
}

#[test]
fn what_is_there_already_is_passed_and_approves_nothing() {
    let yaml = "
name: t
version: 1
blackboard: { type: object }
steps:
  - { id: start, worker: etl, on_success: draft }
  - { id: draft, worker: etl, skip_if_exists: /inputs/draft, on_success: approve }
  - { id: approve, worker: judge, approve: by_rule, skip_if_exists: start, on_success: publish }
  - { id: publish, worker: publisher, side_effect: true, on_success: { end: published } }
";
    let mut run = Simulator::begin(yaml, json!({ "draft": null }));
    run.done("start", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "draft"), "null is nothing");
    run.done("draft", &json!({}));
    assert_eq!(run.run(), (RunState::Waiting, "publish"));
    assert_eq!(run.row(0).asked.as_deref(), Some("approval_lost"));
    assert_eq!(run.decide(0, &Decision::Approve), Err(Refusal::NoContent));

    let mut run = Simulator::begin(yaml, json!({ "draft": "x" }));
    let passed = run.done("start", &json!({}));
    let gates: Vec<_> = passed.gates.iter().map(|gate| (gate.rule.as_str(), gate.held)).collect();
    assert_eq!(gates, [("skip_if_exists of draft", Some(true)), ("skip_if_exists of approve", Some(true))]);
}

#[test]
fn steps_that_only_pass_each_other_end_in_a_letter() {
    let yaml = "
name: t
version: 1
steps:
  - { id: start, worker: etl, on_success: a }
  - { id: a, worker: etl, skip_if_exists: start, on_success: b }
  - { id: b, worker: etl, skip_if_exists: start, on_success: a }
";
    let mut run = Simulator::begin(yaml, json!({}));
    run.done("start", &json!({}));
    assert_eq!(run.run(), (RunState::Dead, "start"));
    assert!(run.letters[0].contains("goes in a circle"));
}

const MINOR: &str = "
name: t
version: 1
blackboard: { type: object, properties: { tags: { type: array } } }
steps:
  - { id: tag, worker: etl, on_failure: continue, fallback: { tags: FALLBACK }, patch: [{ op: add, path: /tags, value: /tags }], approve: by_rule, on_success: publish }
  - { id: publish, worker: publisher, side_effect: true, on_success: { end: published } }
";

#[test]
fn a_minor_failure_goes_on_with_its_fallback_is_recorded_and_approves_nothing() {
    let mut run = Simulator::begin(&MINOR.replace("FALLBACK", "[]"), json!({}));
    let degraded = run.fails("tag");
    assert_eq!((degraded.state, run.row(0).asked.as_deref()), (RunState::Waiting, Some("approval_lost")));
    assert!(degraded.approval.is_none());
    let beyond = degraded.beyond.unwrap();
    assert_eq!(beyond.output, Some(json!({ "tags": [] })));
    assert_eq!((beyond.memory.degraded.len(), &beyond.memory.board["tags"]), (1, &json!([])));
    assert!(matches!(beyond.patch, Some(Patched::Applied { version: 1, .. })));

    let mut run = Simulator::begin(&MINOR.replace("FALLBACK", "none"), json!({}));
    run.fails("tag");
    assert_eq!(run.run(), (RunState::Dead, "tag"));
    assert!(run.letters[0].contains("broken; and its fallback is refused"), "{:?}", run.letters);
}

const TRIP: &str = "
name: t
version: 1
steps:
  - { id: flight, worker: etl, compensate_with: no_flight, on_success: hotel }
  - { id: hotel, worker: etl, compensate_with: no_hotel, on_success: car }
  - { id: car, worker: etl, branches: [{ when: 'car.again', to: flight }, { when: 'car.bad', reject: policy }], on_success: { end: done }, max_visits: 9 }
  - { id: no_flight, worker: etl, on_success: { end: cancelled } }
  - { id: no_hotel, worker: etl, retries: { max_attempts: 2 }, on_success: { end: cancelled } }
";

fn trip() -> Simulator {
    let mut run = Simulator::begin(TRIP, json!({}));
    run.done("flight", &json!({}));
    run.done("hotel", &json!({}));
    run
}

fn jobs(run: &Simulator) -> Vec<&str> {
    run.jobs.iter().map(|(_, step)| step.as_str()).collect()
}

#[test]
fn what_was_done_is_undone_last_first_before_a_bad_end() {
    let mut run = trip();
    run.fails("car");
    assert_eq!(run.run(), (RunState::Running, "no_hotel"));
    run.done("no_hotel", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "no_flight"));
    assert!(run.letters.is_empty());
    run.done("no_flight", &json!({}));
    assert_eq!((run.run(), run.letters.as_slice()), ((RunState::Dead, "car"), &["broken".to_owned()][..]));
    assert!(run.memory.undoable.is_empty() && run.memory.ending.is_none());
    run.signal(0, &Signal::Replay).unwrap();
    assert_eq!(
        run.run(),
        (RunState::Running, "car"),
        "a replay begins where it died, not where it was undone"
    );

    let mut run = trip();
    run.signal(0, &Signal::Cancel { reason: "no trip" }).unwrap();
    run.done("no_hotel", &json!({}));
    let ended = run.done("no_flight", &json!({}));
    assert_eq!((ended.state, ended.reason.as_str()), (RunState::Cancelled, "no trip"));

    let mut run = trip();
    let rejected = run.done("car", &json!({ "again": false, "bad": true }));
    assert_eq!((rejected.state, rejected.incident.is_some()), (RunState::Running, true));
    run.done("no_hotel", &json!({}));
    run.done("no_flight", &json!({}));
    assert_eq!(run.run(), (RunState::Rejected, "car"));

    let mut run = trip();
    run.done("car", &json!({ "again": false, "bad": false }));
    assert_eq!(run.run(), (RunState::Done, "car"), "a good end undoes nothing");
}

#[test]
fn what_was_done_twice_is_undone_once() {
    let mut run = trip();
    run.done("car", &json!({ "again": true, "bad": false }));
    run.done("flight", &json!({}));
    run.fails("hotel");
    assert_eq!(run.memory.undoable, ["hotel"], "its first visit had succeeded");
    assert_eq!(run.run(), (RunState::Running, "no_flight"));
    run.done("no_flight", &json!({}));
    run.done("no_hotel", &json!({}));
    assert_eq!(run.run(), (RunState::Dead, "hotel"));
    assert_eq!(jobs(&run).iter().filter(|step| **step == "no_flight").count(), 1);
}

#[test]
fn a_compensation_that_fails_is_a_letter_of_its_own_and_the_ending_stands() {
    let mut run = trip();
    run.fails("car");
    let failure = model::Failure::transient("closed");
    run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    assert_eq!(run.run(), (RunState::Running, "no_hotel"));
    run.signal(0, &Signal::Failed { failure: &failure }).unwrap();
    assert_eq!(run.letters, ["the compensation `no_hotel` failed: failed 2 times, last: closed"]);
    assert_eq!(run.run(), (RunState::Running, "no_flight"));
    run.signal(0, &Signal::Reject { reason: "never" }).unwrap();
    assert_eq!(run.run(), (RunState::Dead, "car"));
    assert_eq!(run.letters.len(), 3);
}

#[test]
fn a_second_cancel_ends_at_once_and_tells_what_was_not_undone() {
    let mut run = trip();
    run.signal(0, &Signal::Cancel { reason: "no trip" }).unwrap();
    let ended = run.signal(0, &Signal::Cancel { reason: "now" }).unwrap();
    assert_eq!(ended.state, RunState::Cancelled);
    assert_eq!(ended.reason, "now (cancelled while undoing at `no_hotel`; not undone: flight)");
}

#[test]
fn an_end_of_a_branch_undoes_what_branches_did() {
    let yaml = "
name: t
version: 1
steps:
  - { id: start, worker: etl, on_success: both }
  - { id: both, parallel: { branches: [a, b] }, on_success: { end: done } }
  - { id: a, worker: etl, compensate_with: undo, on_success: join }
  - { id: b, worker: etl, on_success: join }
  - { id: undo, worker: etl, on_success: { end: cancelled } }
";
    let mut run = Simulator::begin(yaml, json!({}));
    run.done("start", &json!({}));
    run.done("a", &Value::Null);
    run.fails("b");
    assert_eq!((run.run(), run.working()), ((RunState::Running, "undo"), vec![0]));
    run.done("undo", &json!({}));
    assert_eq!(run.run(), (RunState::Dead, "both"));
}
