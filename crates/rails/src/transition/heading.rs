//! From a signal to where it sends a run, before anything is entered.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Failure, Lifecycle, Question, RetryClass, RunId, RunState};
use serde_json::{Value, json};

use super::{
    Approval, Basis, Delay, Escalation, GateDecision, Impossible, Incident, Signal, Standing, Transition,
};
use crate::condition::Held;
use crate::workflow::{Step, Target, Workflow};
use crate::{Facts, PUBLICATION_UNKNOWN};

/// The issue type of an escalation over a condition that could not be evaluated.
pub(crate) const CONDITION_ERROR: &str = "condition_error";

/// Where a signal sends a run.
#[derive(Debug)]
pub(crate) enum Course {
    /// On to a target.
    Go(Heading),
    /// Nowhere: it is tried again, waits, or ends where it stands.
    Stay(Box<Transition>),
}

/// The way to a target and what is said of it.
#[derive(Debug)]
pub(crate) struct Heading {
    pub(crate) to: Target,
    /// What the step makes of the content's lifecycle.
    pub(crate) lifecycle: Option<Lifecycle>,
    pub(crate) approval: Option<Approval>,
    pub(crate) duplicate_of: Option<RunId>,
    pub(crate) gates: Vec<GateDecision>,
    pub(crate) reason: Option<String>,
    /// Whether the step failed for good.
    pub(crate) failed: bool,
}

impl Heading {
    pub(crate) fn to(target: &Target) -> Self {
        Self {
            to: target.clone(),
            lifecycle: None,
            approval: None,
            duplicate_of: None,
            gates: vec![],
            reason: None,
            failed: false,
        }
    }
}

impl Course {
    pub(super) fn stay(transition: Transition) -> Self {
        Self::Stay(Box::new(transition))
    }

    fn with_gates(mut self, gates: Vec<GateDecision>) -> Self {
        match &mut self {
            Self::Go(heading) => heading.gates = gates,
            Self::Stay(transition) => transition.gates = gates,
        }
        self
    }
}

/// Whatever a worker or outlet says but "done". People's orders have their own ways.
pub(super) fn otherwise(step: &Step, at: &Standing<'_>, signal: &Signal<'_>) -> Result<Course, Impossible> {
    Ok(match signal {
        Signal::Escalate { question, .. } => Course::stay(escalated(step, at, question)),
        Signal::Reject { reason } => Course::stay(Transition::stay(at, RunState::Rejected, *reason)),
        Signal::Failed { failure } => failed(step, at, failure),
        Signal::Poisoned { deliveries } => Course::stay(Transition::die(
            at,
            format!("poison: {deliveries} deliveries without an outcome; whoever handled it died or hung"),
        )),
        Signal::Postponed { reason } => Course::stay(Transition::stay(at, RunState::Running, *reason)),
        Signal::EffectConfirmed { reference } => Course::Go(Heading {
            lifecycle: Some(Lifecycle::Published),
            reason: Some(format!("published: {reference}")),
            ..Heading::to(&step.on_success)
        }),
        Signal::EffectRejected { reason } => given_up(step, at, (*reason).to_owned()),
        Signal::EffectUnknown { reason } => Course::stay(unknown(step, at, reason)),
        Signal::DryRun { posts, .. } => shown(step, at, *posts),
        Signal::Done { .. }
        | Signal::Begin
        | Signal::EffectAnswered { .. }
        | Signal::Cancel { .. }
        | Signal::Expired
        | Signal::Outdated
        | Signal::Park { .. }
        | Signal::Unpark
        | Signal::Replay
        | Signal::Rerun { .. } => {
            return Err(Impossible("routed elsewhere".to_owned()));
        }
    })
}

/// A step is done: the first condition that holds says where the run goes, else `on_success`.
pub(super) fn done(
    workflow: &Workflow,
    step: &Step,
    at: &Standing<'_>,
    output: &Value,
    variables: &BTreeMap<&str, &Value>,
    facts: &Facts,
) -> Course {
    let mut gates = Vec::new();
    for branch in &step.branches {
        let values = branch.when.evidence(variables);
        let held = branch.when.evaluate(variables);
        let rule = branch.when.source().to_owned();
        gates.push(GateDecision {
            rule: rule.clone(),
            held: match held {
                Held::Yes => Some(true),
                Held::No => Some(false),
                Held::Errs(_) => None,
            },
            values: values.clone(),
        });
        let course = match held {
            Held::No => continue,
            Held::Yes => held_branch(step, at, &branch.then, &rule, values, output, facts),
            Held::Errs(error) => {
                let question = Question {
                    issue_type: CONDITION_ERROR.to_owned(),
                    question: format!(
                        "The condition `{rule}` could not be evaluated ({error}). What shall be done?"
                    ),
                };
                Course::stay(with_evidence(escalated(step, at, &question), rule, values))
            }
        };
        return course.with_gates(gates);
    }
    let mut heading = Heading::to(&step.on_success);
    if step.approves {
        heading.lifecycle = Some(Lifecycle::Approved);
        heading.approval = Some(Approval {
            basis: Basis::Rule,
            rule: format!("{} {}: no condition held", workflow.version(), step.id),
        });
        heading.reason = Some("approved by rule".to_owned());
    }
    Course::Go(heading).with_gates(gates)
}

fn held_branch(
    step: &Step,
    at: &Standing<'_>,
    then: &Target,
    rule: &str,
    values: Value,
    output: &Value,
    facts: &Facts,
) -> Course {
    match then {
        Target::Step(_) | Target::End(_) | Target::Join | Target::Continue => {
            let repeats = *then == Target::End(RunState::Duplicate);
            let earlier = facts.exact_duplicate_of.or(facts.near_duplicate_of.map(|near| near.run));
            Course::Go(Heading {
                reason: Some(rule.to_owned()),
                duplicate_of: earlier.filter(|_| repeats),
                ..Heading::to(then)
            })
        }
        Target::Reject { incident } => Course::stay(Transition {
            incident: Some(Incident {
                kind: incident.clone(),
                detail: json!({ "rule": rule, "values": values, "report": output }),
            }),
            ..Transition::stay(at, RunState::Rejected, format!("{incident}: {rule}"))
        }),
        Target::Escalate { issue_type, question } => {
            let question = Question { issue_type: issue_type.clone(), question: question.clone() };
            Course::stay(with_evidence(escalated(step, at, &question), rule.to_owned(), values))
        }
    }
}

fn with_evidence(mut transition: Transition, rule: String, values: Value) -> Transition {
    if let Some(escalation) = &mut transition.escalation {
        let thresholds: serde_json::Map<String, Value> = values
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| name.starts_with("values."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        escalation.threshold = (!thresholds.is_empty()).then_some(Value::Object(thresholds));
        escalation.values = values;
        transition.reason = format!("{}: {rule}", escalation.issue_type);
        escalation.rule = Some(rule);
    }
    transition
}

pub(super) fn escalated(step: &Step, at: &Standing<'_>, question: &Question) -> Transition {
    Transition {
        escalation: Some(Escalation {
            issue_type: question.issue_type.clone(),
            question: question.question.clone(),
            rule: None,
            values: Value::Null,
            threshold: None,
            due: step.escalation_due,
        }),
        ..Transition::stay(at, RunState::Waiting, format!("{}: {}", question.issue_type, question.question))
    }
}

/// A side effect was shown. A dry run goes on where nothing reads what would have come back, or the document says what takes its
/// place; where an outlet sends nothing of any run, the run ends.
fn shown(step: &Step, at: &Standing<'_>, posts: bool) -> Course {
    let goes_on = |to: &Target, reason: &str| Heading { reason: Some(reason.to_owned()), ..Heading::to(to) };
    match &step.on_failure {
        _ if !at.dry_run => {
            Course::stay(Transition::stay(at, RunState::Done, "dry run: stopped before sending"))
        }
        _ if posts => Course::Go(goes_on(&step.on_success, "dry run: shown, and not sent")),
        Some(to @ Target::Continue) => {
            Course::Go(Heading { failed: true, ..goes_on(to, "dry run: the call is shown, and not made") })
        }
        _ => {
            let words =
                format!("dry run: it ends before the call of `{}`, whose answer nobody knows", step.id);
            Course::stay(Transition::stay(at, RunState::Done, words))
        }
    }
}

fn unknown(step: &Step, at: &Standing<'_>, reason: &str) -> Transition {
    let question = Question {
        issue_type: PUBLICATION_UNKNOWN.to_owned(),
        question: format!(
            "Nobody knows whether this was published ({reason}). Was it delivered, shall it be sent again, or be given up?"
        ),
    };
    escalated(step, at, &question)
}

pub(super) fn failed(step: &Step, at: &Standing<'_>, failure: &Failure) -> Course {
    let attempt = at.attempt.saturating_add(1);
    let retry = |attempt: i32, delay: Delay| {
        Course::stay(Transition {
            attempt,
            delay,
            ..Transition::stay(at, RunState::Running, failure.reason.clone())
        })
    };
    let policy = step.retries.backoff;
    match failure.class {
        RetryClass::Permanent | RetryClass::Unreadable => given_up(step, at, failure.reason.clone()),
        RetryClass::Unavailable | RetryClass::Outage => {
            retry(at.attempt, Delay::Backoff { policy, attempt: attempt.max(3) })
        }
        RetryClass::Later(delay) | RetryClass::UnderWay(delay) => {
            retry(at.attempt, Delay::Exactly(delay.max(Duration::from_millis(1))))
        }
        _ if attempt >= step.retries.max_attempts => {
            given_up(step, at, format!("failed {attempt} times, last: {}", failure.reason))
        }
        // Where the rails find the budget short, the run is parked before it comes to this.
        RetryClass::Transient | RetryClass::OverBudget(_) => {
            retry(attempt, Delay::Backoff { policy, attempt })
        }
        RetryClass::RetryAfter(delay) => retry(attempt, Delay::Exactly(delay.max(Duration::from_millis(1)))),
    }
}

/// Failed for good: `on_failure` where declared, else death.
fn given_up(step: &Step, at: &Standing<'_>, reason: String) -> Course {
    match &step.on_failure {
        Some(target) => Course::Go(Heading { reason: Some(reason), failed: true, ..Heading::to(target) }),
        None => Course::stay(Transition::die(at, reason)),
    }
}
