//! What is out is waited for without counting attempts, but not for ever.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{Failure, RunState};
use serde_json::json;

use super::super::*;
use super::simulator::Simulator;
use crate::Decision;

const WAITS: &str = "
name: t
version: 1
steps:
  - { id: call, worker: agent, role: r, MORE on_success: { end: done } }
";

fn begun(more: &str) -> Simulator {
    Simulator::begin(&WAITS.replace("MORE", more), json!({}))
}

fn fails(run: &mut Simulator, hours: i64, failure: &Failure) -> Transition {
    let now = DateTime::<Utc>::UNIX_EPOCH + chrono::Duration::hours(hours);
    let memory = Memory { now: Some(now), ..run.memory.clone() };
    let facts = Facts { memory: Some(memory), ..Facts::default() };
    run.signal_with(0, &Signal::Failed { failure }, &facts).unwrap()
}

#[test]
fn after_a_day_without_it_a_person_is_asked_and_may_have_it_tried_on() {
    let (out, left_alone) =
        (Failure::unavailable("401"), Failure::later(Duration::from_secs(9), "left alone"));
    let mut run = begun("");
    for (hours, failure) in [(0, &out), (12, &left_alone), (23, &Failure::outage("gone"))] {
        let waits = fails(&mut run, hours, failure);
        assert_eq!((waits.state, waits.attempt), (RunState::Running, 0), "after {hours} hours");
    }
    let asked = fails(&mut run, 24, &left_alone);
    assert_eq!((asked.state, run.row(0).asked.as_deref()), (RunState::Waiting, Some("unavailable")));
    assert!(asked.escalation.unwrap().question.contains("left alone"));
    let on = run.decide(0, &Decision::Approve).unwrap();
    assert_eq!((run.run(), on.approval), ((RunState::Running, "call"), None));
    assert_eq!(fails(&mut run, 40, &out).state, RunState::Running, "it has another day");
    assert_eq!(fails(&mut run, 64, &out).state, RunState::Waiting);
    run.decide(0, &Decision::Reject).unwrap();
    assert_eq!(run.run(), (RunState::Rejected, "call"));
}

#[test]
fn what_answers_in_between_or_has_the_task_under_way_is_not_out() {
    for between in [Failure::transient("500"), Failure::under_way(Duration::from_secs(60), "202")] {
        let mut run = begun("");
        fails(&mut run, 0, &Failure::unavailable("refused"));
        fails(&mut run, 23, &between);
        assert_eq!(fails(&mut run, 25, &Failure::unavailable("refused")).state, RunState::Running);
    }
    let mut run = begun("");
    for hours in [0, 30, 60] {
        let waits = fails(&mut run, hours, &Failure::under_way(Duration::from_secs(60), "202"));
        assert_eq!((waits.state, waits.delay), (RunState::Running, Delay::Exactly(Duration::from_secs(60))));
    }
}

#[test]
fn time_in_which_a_person_holds_the_run_back_is_none_of_it() {
    let mut run = begun("");
    fails(&mut run, 0, &Failure::unavailable("refused"));
    run.signal(0, &Signal::Park { reason: "weekend" }).unwrap();
    run.signal(0, &Signal::Unpark).unwrap();
    assert_eq!(fails(&mut run, 60, &Failure::unavailable("refused")).state, RunState::Running);
    assert_eq!(fails(&mut run, 84, &Failure::unavailable("refused")).state, RunState::Waiting);
}

#[test]
fn a_way_out_is_taken_and_a_bound_of_the_step_goes_before() {
    let day_without = |more: &str| {
        let mut run = begun(more);
        fails(&mut run, 0, &Failure::unavailable("refused"));
        fails(&mut run, 24, &Failure::unavailable("refused"))
    };
    assert_eq!(day_without("on_failure: { end: needs_review },").state, RunState::NeedsReview);
    assert_eq!(day_without("ttl: { running: 48h },").state, RunState::Running);
}
