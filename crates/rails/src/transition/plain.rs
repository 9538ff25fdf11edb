//! Runs without a manifest: their row is all that there is.

use std::collections::BTreeMap;

use model::{Lifecycle, Question, RunState};
use serde_json::Value;

use super::heading::{self, Course};
use super::{Impossible, Signal, Standing, Transition, routable};
use crate::Facts;
use crate::workflow::{Step, Target, Workflow};

pub(super) fn advance(
    workflow: &Workflow,
    at: &Standing<'_>,
    signal: &Signal<'_>,
    artifacts: &BTreeMap<String, Value>,
    facts: &Facts,
) -> Result<Transition, Impossible> {
    if workflow.step(at.step).is_none() {
        return Err(Impossible(format!("the workflow {} has no step `{}`", workflow.version(), at.step)));
    }
    match signal {
        Signal::Cancel { reason } if at.state.is_open() => {
            return Ok(Transition::stay(at, RunState::Cancelled, *reason));
        }
        Signal::Park { reason } if at.state == RunState::Running => {
            return Ok(Transition::stay(at, RunState::Parked, *reason));
        }
        Signal::Unpark if at.state == RunState::Parked => {
            return Ok(Transition::stay(at, RunState::Running, "resumed"));
        }
        Signal::Replay if at.state == RunState::Dead => {
            return Ok(Transition { attempt: 0, ..Transition::stay(at, RunState::Running, "replayed") });
        }
        Signal::Rerun { step } if !at.state.is_open() => return rerun(workflow, at, step),
        Signal::Begin
        | Signal::Cancel { .. }
        | Signal::Expired
        | Signal::Outdated
        | Signal::Park { .. }
        | Signal::Unpark
        | Signal::Replay
        | Signal::Rerun { .. } => {
            return Err(Impossible(format!("the run is {}", at.state)));
        }
        _ => {}
    }
    let step = routable(workflow, at)?;
    let course = match signal {
        Signal::Done { output, .. } | Signal::EffectAnswered { output, .. } => {
            let facts_json = facts.to_json();
            let mut variables: BTreeMap<&str, &Value> =
                artifacts.iter().map(|(name, value)| (name.as_str(), value)).collect();
            variables.extend([
                (step.id.as_str(), *output),
                ("values", workflow.values()),
                ("facts", &facts_json),
            ]);
            heading::done(workflow, step, at, output, &variables, facts)
        }
        other => heading::otherwise(step, at, other)?,
    };
    Ok(settle(workflow, step, at, course))
}

/// An ended run goes on from a step. From an earlier one its content is a draft again: what was approved then is approved
/// anew, or not at all.
fn rerun(workflow: &Workflow, at: &Standing<'_>, step: &str) -> Result<Transition, Impossible> {
    if workflow.step(step).is_none() {
        return Err(unknown_step(workflow, step));
    }
    let lifecycle = if step == at.step { at.lifecycle } else { Lifecycle::Draft };
    Ok(Transition {
        lifecycle,
        step: step.to_owned(),
        attempt: 0,
        ..Transition::stay(at, RunState::Running, format!("sent through again from {step}"))
    })
}

pub(super) fn unknown_step(workflow: &Workflow, step: &str) -> Impossible {
    let known: Vec<&str> = workflow.steps().map(|step| step.id.as_str()).collect();
    Impossible(format!("its workflow has no step `{step}`; it has {}", known.join(", ")))
}

fn settle(workflow: &Workflow, step: &Step, at: &Standing<'_>, course: Course) -> Transition {
    let heading = match course {
        Course::Stay(transition) => return *transition,
        Course::Go(heading) => heading,
    };
    let base = follow(workflow, step, at, &heading.to);
    Transition {
        lifecycle: heading.lifecycle.unwrap_or(base.lifecycle),
        approval: heading.approval,
        gates: heading.gates,
        duplicate_of: heading.duplicate_of,
        reason: heading.reason.unwrap_or(base.reason),
        ..base
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
        Target::End(state) => Transition::stay(at, at.end(*state), format!("{} done", from.id)),
        Target::Join | Target::Continue => Transition::die(at, format!("{} has no such way out", from.id)),
        Target::Reject { incident } => Transition::stay(at, RunState::Rejected, incident.clone()),
        Target::Escalate { issue_type, question } => {
            let question = Question { issue_type: issue_type.clone(), question: question.clone() };
            heading::escalated(from, at, &question)
        }
    }
}
