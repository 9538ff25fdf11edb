//! The transition function: where a run stands and what happened give where it goes.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Failure, Lifecycle, Question, RetryClass, RunId, RunState, Sha256Digest};
use serde::Serialize;
use serde_json::{Value, json};

use crate::condition::Held;
use crate::workflow::{Step, Target, Workflow};
use crate::{Backoff, Facts, PUBLICATION_UNKNOWN};

/// Where a run stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The run.
    pub run: RunId,
    /// Its state.
    pub state: RunState,
    /// Its content's lifecycle.
    pub lifecycle: Lifecycle,
    /// Its step.
    pub step: &'a str,
    /// Handler failures at this step.
    pub attempt: i32,
    /// Digest of its content.
    pub content: Option<Sha256Digest>,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Signal<'a> {
    /// The step is done.
    Done {
        /// Its artifact.
        output: &'a Value,
    },
    /// The handler asks a person.
    Escalate {
        /// Its artifact.
        output: &'a Value,
        /// What it asks.
        question: &'a Question,
    },
    /// The handler refuses the work for good.
    Reject {
        /// Why.
        reason: &'a str,
    },
    /// The handler failed.
    Failed {
        /// How.
        failure: &'a Failure,
    },
    /// The job was delivered again and again without an outcome.
    Poisoned {
        /// How often.
        deliveries: i64,
    },
    /// An effect cannot be carried out yet; no attempt is counted.
    Postponed {
        /// Why.
        reason: &'a str,
    },
    /// The outlet has the post.
    EffectConfirmed {
        /// Its own reference.
        reference: &'a str,
    },
    /// The outlet refused for good.
    EffectRejected {
        /// Its words.
        reason: &'a str,
    },
    /// Nobody can say whether the post went out.
    EffectUnknown {
        /// What is known.
        reason: &'a str,
    },
    /// A dry run stopped before sending.
    DryRun {
        /// What would have been sent.
        output: &'a Value,
    },
    /// Someone ends the run.
    Cancel {
        /// Why.
        reason: &'a str,
    },
    /// Someone gives a dead run another life.
    Replay,
    /// Someone sends an ended run through again, from a step on.
    Rerun {
        /// The step.
        step: &'a str,
    },
}

/// When the run's next job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// Now.
    Now,
    /// After exactly this.
    Exactly(Duration),
    /// After a delay that the caller draws by this policy.
    Backoff {
        /// The policy.
        policy: Backoff,
        /// Failures so far.
        attempt: i32,
    },
}

/// Who gives leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// The workflow's rule.
    Rule,
    /// A person.
    Person,
    /// A person, against policy, by name.
    Override,
}

/// Leave to publish the run's exact content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who gives it.
    pub basis: Basis,
    /// By which rule, or in answer to what.
    pub rule: String,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Escalation {
    /// What kind of doubt.
    pub issue_type: String,
    /// In words.
    pub question: String,
    /// The condition that held, or failed.
    pub rule: Option<String>,
    /// The values it read.
    pub values: Value,
    /// The thresholds among them.
    pub threshold: Option<Value>,
    /// How long a person has.
    pub due: Duration,
}

/// A policy violation that blocked publication.
#[derive(Debug, Clone, PartialEq)]
pub struct Incident {
    /// What kind.
    pub kind: String,
    /// The evidence.
    pub detail: Value,
}

/// A condition that was evaluated.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateDecision {
    /// The condition.
    pub rule: String,
    /// Whether it held; `None` where it erred.
    pub held: Option<bool>,
    /// The values it read.
    pub values: Value,
}

/// Where a run goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// Its state afterwards; `running` means that a job for [`Transition::step`] is due.
    pub state: RunState,
    /// Its content's lifecycle afterwards.
    pub lifecycle: Lifecycle,
    /// Where it stands afterwards.
    pub step: String,
    /// Handler failures at that step.
    pub attempt: i32,
    /// When its job is due.
    pub delay: Delay,
    /// Leave to publish.
    pub approval: Option<Approval>,
    /// A question to a person.
    pub escalation: Option<Escalation>,
    /// A violation.
    pub incident: Option<Incident>,
    /// Why it died; there exactly where the state is `dead`.
    pub death: Option<String>,
    /// What it repeats.
    pub duplicate_of: Option<RunId>,
    /// The conditions that were evaluated, in order.
    pub gates: Vec<GateDecision>,
    /// In words, for people and provenance.
    pub reason: String,
}

/// The signal cannot come to a run that stands so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub(crate) String);

impl Transition {
    /// The run stays where it is, without a job, until told otherwise.
    pub(crate) fn stay(at: &Standing<'_>, state: RunState, reason: impl Into<String>) -> Self {
        Self {
            state,
            lifecycle: at.lifecycle,
            step: at.step.to_owned(),
            attempt: at.attempt,
            delay: Delay::Now,
            approval: None,
            escalation: None,
            incident: None,
            death: None,
            duplicate_of: None,
            gates: vec![],
            reason: reason.into(),
        }
    }

    fn die(at: &Standing<'_>, reason: String) -> Self {
        Self { death: Some(reason.clone()), ..Self::stay(at, RunState::Dead, reason) }
    }
}

/// The end of a run whose signal the rails could not route: a fault of the program, kept as a dead letter.
#[must_use]
pub fn bug(at: &Standing<'_>, reason: &str) -> Transition {
    Transition::die(at, format!("the rails cannot route this: {reason}"))
}

/// Where a run goes. `artifacts` are those of [`Workflow::condition_inputs`], by name; the step's own is in the signal.
///
/// # Errors
/// [`Impossible`], permanent: the run's state and the signal do not fit, or the workflow lacks the step.
pub fn advance(
    workflow: &Workflow,
    at: &Standing<'_>,
    signal: &Signal<'_>,
    artifacts: &BTreeMap<String, Value>,
    facts: &Facts,
) -> Result<Transition, Impossible> {
    let step = workflow.step(at.step).ok_or_else(|| {
        Impossible(format!("the workflow {} has no step `{}`", workflow.version(), at.step))
    })?;
    match signal {
        Signal::Cancel { reason } if at.state.is_open() => {
            return Ok(Transition::stay(at, RunState::Cancelled, *reason));
        }
        Signal::Replay if at.state == RunState::Dead => {
            return Ok(Transition { attempt: 0, ..Transition::stay(at, RunState::Running, "replayed") });
        }
        Signal::Rerun { step } if !at.state.is_open() => return rerun(workflow, at, step),
        Signal::Cancel { .. } | Signal::Replay | Signal::Rerun { .. } => {
            return Err(Impossible(format!("the run is {}", at.state)));
        }
        _ if at.state != RunState::Running => {
            return Err(Impossible(format!("the run is {}, not running", at.state)));
        }
        _ => {}
    }
    Ok(match signal {
        Signal::Done { output } => done(workflow, step, at, output, artifacts, facts),
        Signal::Escalate { question, .. } => escalated(step, at, question),
        Signal::Reject { reason } => Transition::stay(at, RunState::Rejected, *reason),
        Signal::Failed { failure } => failed(workflow, step, at, failure),
        Signal::Poisoned { deliveries } => Transition::die(
            at,
            format!("poison: {deliveries} deliveries without an outcome; whoever handled it died or hung"),
        ),
        Signal::Postponed { reason } => Transition::stay(at, RunState::Running, *reason),
        Signal::EffectConfirmed { reference } => Transition {
            lifecycle: Lifecycle::Published,
            reason: format!("published: {reference}"),
            ..follow(workflow, step, at, &step.on_success)
        },
        Signal::EffectRejected { reason } => given_up(workflow, step, at, (*reason).to_owned()),
        Signal::EffectUnknown { reason } => unknown(step, at, reason),
        Signal::DryRun { .. } => Transition::stay(at, RunState::Done, "dry run: stopped before sending"),
        Signal::Cancel { .. } | Signal::Replay | Signal::Rerun { .. } => {
            return Err(Impossible("routed above".to_owned()));
        }
    })
}

/// An ended run goes on from a step. From an earlier one its content is a draft again: what was approved then is approved
/// anew, or not at all.
fn rerun(workflow: &Workflow, at: &Standing<'_>, step: &str) -> Result<Transition, Impossible> {
    if workflow.step(step).is_none() {
        let known: Vec<&str> = workflow.steps().map(|step| step.id.as_str()).collect();
        return Err(Impossible(format!("its workflow has no step `{step}`; it has {}", known.join(", "))));
    }
    let lifecycle = if step == at.step { at.lifecycle } else { Lifecycle::Draft };
    Ok(Transition {
        lifecycle,
        step: step.to_owned(),
        attempt: 0,
        ..Transition::stay(at, RunState::Running, format!("sent through again from {step}"))
    })
}

fn done(
    workflow: &Workflow,
    step: &Step,
    at: &Standing<'_>,
    output: &Value,
    artifacts: &BTreeMap<String, Value>,
    facts: &Facts,
) -> Transition {
    let facts_json = facts.to_json();
    let mut variables: BTreeMap<&str, &Value> =
        artifacts.iter().map(|(name, value)| (name.as_str(), value)).collect();
    variables.extend([(step.id.as_str(), output), ("values", workflow.values()), ("facts", &facts_json)]);
    let mut gates = Vec::new();
    for branch in &step.branches {
        let values = branch.when.evidence(&variables);
        let held = branch.when.evaluate(&variables);
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
        let mut transition = match held {
            Held::No => continue,
            Held::Yes => held_branch(workflow, step, at, &branch.then, &rule, values, output),
            Held::Errs(error) => {
                let question = Question {
                    issue_type: "condition_error".to_owned(),
                    question: format!(
                        "The condition `{rule}` could not be evaluated ({error}). What shall be done?"
                    ),
                };
                with_evidence(escalated(step, at, &question), rule, values)
            }
        };
        if transition.state == RunState::Duplicate {
            transition.duplicate_of =
                facts.exact_duplicate_of.or(facts.near_duplicate_of.map(|near| near.run));
        }
        transition.gates = gates;
        return transition;
    }
    let mut transition = follow(workflow, step, at, &step.on_success);
    if step.approves {
        transition.lifecycle = Lifecycle::Approved;
        transition.approval = Some(Approval {
            basis: Basis::Rule,
            rule: format!("{} {}: no condition held", workflow.version(), step.id),
        });
        "approved by rule".clone_into(&mut transition.reason);
    }
    transition.gates = gates;
    transition
}

fn held_branch(
    workflow: &Workflow,
    step: &Step,
    at: &Standing<'_>,
    then: &Target,
    rule: &str,
    values: Value,
    output: &Value,
) -> Transition {
    match then {
        Target::Step(_) | Target::End(_) => {
            Transition { reason: rule.to_owned(), ..follow(workflow, step, at, then) }
        }
        Target::Reject { incident } => Transition {
            incident: Some(Incident {
                kind: incident.clone(),
                detail: json!({ "rule": rule, "values": values, "report": output }),
            }),
            ..Transition::stay(at, RunState::Rejected, format!("{incident}: {rule}"))
        },
        Target::Escalate { issue_type, question } => {
            let question = Question { issue_type: issue_type.clone(), question: question.clone() };
            with_evidence(escalated(step, at, &question), rule.to_owned(), values)
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

fn escalated(step: &Step, at: &Standing<'_>, question: &Question) -> Transition {
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

fn unknown(step: &Step, at: &Standing<'_>, reason: &str) -> Transition {
    let question = Question {
        issue_type: PUBLICATION_UNKNOWN.to_owned(),
        question: format!(
            "Nobody knows whether this was published ({reason}). Was it delivered, shall it be sent again, or be given up?"
        ),
    };
    escalated(step, at, &question)
}

fn failed(workflow: &Workflow, step: &Step, at: &Standing<'_>, failure: &Failure) -> Transition {
    let attempt = at.attempt.saturating_add(1);
    let retry = |attempt: i32, delay: Delay| Transition {
        attempt,
        delay,
        ..Transition::stay(at, RunState::Running, failure.reason.clone())
    };
    let policy = step.retries.backoff;
    match failure.class {
        RetryClass::Permanent => given_up(workflow, step, at, failure.reason.clone()),
        RetryClass::Unavailable | RetryClass::Outage => {
            retry(at.attempt, Delay::Backoff { policy, attempt: attempt.max(3) })
        }
        RetryClass::Later(delay) => retry(at.attempt, Delay::Exactly(delay.max(Duration::from_millis(1)))),
        _ if attempt >= step.retries.max_attempts => {
            given_up(workflow, step, at, format!("failed {attempt} times, last: {}", failure.reason))
        }
        RetryClass::Transient => retry(attempt, Delay::Backoff { policy, attempt }),
        RetryClass::RetryAfter(delay) => retry(attempt, Delay::Exactly(delay.max(Duration::from_millis(1)))),
    }
}

/// Failed for good: `on_failure` where declared, else death.
fn given_up(workflow: &Workflow, step: &Step, at: &Standing<'_>, reason: String) -> Transition {
    match &step.on_failure {
        Some(target) => Transition { reason, ..follow(workflow, step, at, target) },
        None => Transition::die(at, reason),
    }
}

/// Goes to a step or an end. Arriving at a step that approves puts the content into quality assurance.
pub(crate) fn follow(workflow: &Workflow, from: &Step, at: &Standing<'_>, target: &Target) -> Transition {
    match target {
        Target::Step(id) => {
            let approves = workflow.step(id).is_some_and(|next| next.approves);
            let lifecycle =
                if approves && at.lifecycle == Lifecycle::Draft { Lifecycle::Qa } else { at.lifecycle };
            Transition {
                lifecycle,
                step: id.clone(),
                attempt: 0,
                ..Transition::stay(at, RunState::Running, format!("{} done", from.id))
            }
        }
        Target::End(state) => Transition::stay(at, *state, format!("{} done", from.id)),
        Target::Reject { incident } => Transition::stay(at, RunState::Rejected, incident.clone()),
        Target::Escalate { issue_type, question } => {
            escalated(from, at, &Question { issue_type: issue_type.clone(), question: question.clone() })
        }
    }
}

#[cfg(test)]
mod tests;
