use std::time::Duration;

use model::{Failure, Lifecycle, Question, RunId};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use super::super::*;
use crate::{Catalog, builtin_trend};

fn trend() -> Workflow {
    let catalog = Catalog { workers: &["etl", "embedding", "judge", "publisher"], ..Catalog::default() };
    Workflow::register(builtin_trend(), &BTreeMap::new(), &catalog).unwrap()
}

fn standing(step: &str) -> Standing<'_> {
    Standing {
        run: RunId(Uuid::from_u128(1)),
        branch: 0,
        state: RunState::Running,
        lifecycle: Lifecycle::Draft,
        step,
        attempt: 0,
        content: None,
        dry_run: false,
    }
}

fn go(step: &str, signal: &Signal<'_>, facts: &Facts) -> Transition {
    advance(&trend(), &standing(step), signal, &BTreeMap::new(), facts).unwrap()
}

fn judged(report: Value) -> Transition {
    go("judge", &Signal::Done { output: &report, patch: None }, &Facts::default())
}

fn report(confidence: f64, toxicity: f64) -> Value {
    json!({ "violations": [], "confidence": confidence, "toxicity_score": toxicity })
}

#[test]
fn the_trend_flow_goes_step_by_step_and_approves_by_rule() {
    let output = json!({});
    let etl = go("etl", &Signal::Done { output: &output, patch: None }, &Facts::default());
    assert_eq!(
        (etl.step.as_str(), etl.state, etl.lifecycle),
        ("embedding", RunState::Running, Lifecycle::Draft)
    );
    let embedding = go("embedding", &Signal::Done { output: &output, patch: None }, &Facts::default());
    assert_eq!((embedding.step.as_str(), embedding.lifecycle), ("judge", Lifecycle::Qa));
    let judge = judged(report(0.6, 0.8));
    assert_eq!((judge.step.as_str(), judge.lifecycle), ("publish", Lifecycle::Approved));
    assert_eq!(judge.approval.map(|a| a.basis), Some(Basis::Rule));
    let publish = go("publish", &Signal::EffectConfirmed { reference: "x" }, &Facts::default());
    assert_eq!((publish.state, publish.lifecycle), (RunState::Published, Lifecycle::Published));
}

#[test]
fn policy_comes_first_then_confidence_then_toxicity() {
    let violated =
        judged(json!({ "violations": [{ "rule": "r" }], "confidence": 0.1, "toxicity_score": 1.0 }));
    assert_eq!(violated.state, RunState::Rejected);
    assert_eq!(violated.incident.map(|i| i.kind), Some("policy_violation".to_owned()));
    let unsure = judged(report(0.59, 0.9));
    let escalation = unsure.escalation.unwrap();
    assert_eq!((unsure.state, escalation.issue_type.as_str()), (RunState::Waiting, "low_confidence"));
    assert_eq!(escalation.threshold, Some(json!({ "values.min_confidence": 0.6 })));
    assert_eq!(escalation.values["judge.confidence"], json!(0.59));
    assert_eq!(judged(report(0.9, 0.81)).escalation.unwrap().issue_type, "toxicity");
}

#[test]
fn a_condition_that_errs_asks_a_person_and_never_approves() {
    for bad in [
        json!({}),
        json!({ "violations": [], "confidence": null, "toxicity_score": 0.0 }),
        json!({ "violations": [], "confidence": "0.9", "toxicity_score": 0.0 }),
        json!({ "violations": 3, "confidence": 0.9, "toxicity_score": 0.0 }),
        json!({ "violations": [], "confidence": 0.9 }),
    ] {
        let transition = judged(bad.clone());
        assert_eq!(transition.state, RunState::Waiting, "{bad}");
        assert_eq!(transition.escalation.unwrap().issue_type, "condition_error", "{bad}");
        assert!(transition.approval.is_none(), "{bad}");
    }
}

#[test]
fn repeats_end_as_duplicates_of_the_earlier_one() {
    let earlier = RunId(Uuid::from_u128(9));
    let output = json!({});
    let exact = Facts { exact_duplicate_of: Some(earlier), ..Facts::default() };
    let transition = go("etl", &Signal::Done { output: &output, patch: None }, &exact);
    assert_eq!((transition.state, transition.duplicate_of), (RunState::Duplicate, Some(earlier)));
    let near = |similarity| Facts {
        near_duplicate_of: Some(model::NearClaim { run: earlier, similarity }),
        ..Facts::default()
    };
    assert_eq!(
        go("embedding", &Signal::Done { output: &output, patch: None }, &near(0.95)).state,
        RunState::Duplicate
    );
    assert_eq!(
        go("embedding", &Signal::Done { output: &output, patch: None }, &near(0.949)).state,
        RunState::Running
    );
}

#[test]
fn failures_retry_by_class_and_die_when_spent() {
    let failed = |failure: &Failure, attempt| {
        let at = Standing { attempt, ..standing("etl") };
        advance(&trend(), &at, &Signal::Failed { failure }, &BTreeMap::new(), &Facts::default()).unwrap()
    };
    let transient = failed(&Failure::transient("x"), 0);
    assert_eq!((transient.state, transient.attempt), (RunState::Running, 1));
    assert!(matches!(transient.delay, Delay::Backoff { attempt: 1, .. }));
    assert_eq!(failed(&Failure::transient("x"), 4).state, RunState::Dead);
    assert_eq!(failed(&Failure::permanent("x"), 0).state, RunState::Dead);
    let out = failed(&Failure::unavailable("x"), 4);
    assert_eq!((out.state, out.attempt), (RunState::Running, 4));
    let later = failed(&Failure::retry_after(Duration::from_secs(9), "x"), 0);
    assert_eq!(later.delay, Delay::Exactly(Duration::from_secs(9)));
}

#[test]
fn cancel_ends_what_is_open_and_replay_wakes_only_the_dead() {
    let at = |state| Standing { state, ..standing("judge") };
    let go = |state, signal: &Signal<'_>| {
        advance(&trend(), &at(state), signal, &BTreeMap::new(), &Facts::default()).map(|t| t.state)
    };
    let cancel = Signal::Cancel { reason: "r" };
    assert_eq!(go(RunState::Waiting, &cancel), Ok(RunState::Cancelled));
    assert!(go(RunState::Published, &cancel).is_err());
    assert_eq!(go(RunState::Dead, &Signal::Replay), Ok(RunState::Running));
    assert!(go(RunState::Rejected, &Signal::Replay).is_err());
    assert!(go(RunState::Waiting, &Signal::EffectConfirmed { reference: "x" }).is_err());
}

proptest! {
    /// Whatever the workers report, no run arrives at the side effect unless an approval was written on the way.
    #[test]
    fn no_sequence_of_reports_reaches_publishing_without_an_approval(
        reports in proptest::collection::vec((0_u8..8, proptest::option::of(-1.0_f64..2.0), proptest::option::of(-1.0_f64..2.0)), 1..20)
    ) {
        let workflow = trend();
        let (mut step, mut state, mut lifecycle, mut approved) = ("etl".to_owned(), RunState::Running, Lifecycle::Draft, false);
        for (kind, confidence, toxicity) in reports {
            let output = json!({ "violations": if kind == 7 { json!("?") } else { json!([]) }, "confidence": confidence, "toxicity_score": toxicity });
            let failure = Failure::transient("x");
            let question = Question { issue_type: "q".to_owned(), question: "?".to_owned() };
            let signal = match kind {
                0 => Signal::Failed { failure: &failure },
                1 => Signal::Escalate { output: &output, question: &question },
                2 => Signal::Postponed { reason: "later" },
                _ => Signal::Done { output: &output, patch: None },
            };
            let at = Standing { run: RunId(Uuid::nil()), branch: 0, state, lifecycle, step: &step, attempt: 0, content: None, dry_run: false };
            let again = advance(&workflow, &at, &signal, &BTreeMap::new(), &Facts::default());
            let Ok(next) = advance(&workflow, &at, &signal, &BTreeMap::new(), &Facts::default()) else { break };
            prop_assert_eq!(&Ok(next.clone()), &again);
            approved |= next.approval.is_some();
            let sends = workflow.step(&next.step).is_some_and(|s| s.side_effect);
            prop_assert!(!sends || approved, "{:?}", next);
            (step, state, lifecycle) = (next.step, next.state, next.lifecycle);
            if sends { break; }
        }
    }
}
