//! The transition function: where a run stands and what happened give where it goes.
//!
//! `heading` says where a signal sends a run: on to a target, or nowhere. A workflow that keeps no manifest follows the
//! target at once (`plain`). A run with a manifest is a `journey`: its outcome is accounted for (`spending`), it changes the
//! blackboard (`change`, `content`), follows what an orchestrator says (`orchestrate`), enters steps (`enter`), opens and joins branches (`forks`), and undoes what it did
//! before it ends (`ends`). `orders` are people's: cancel, replay, rerun.

mod answer;
mod change;
mod content;
mod ends;
mod enter;
mod expiry;
mod forks;
mod gates;
mod guardrail;
mod heading;
mod journey;
mod orchestrate;
mod orders;
mod outage;
mod plain;
mod scopes;
mod signal;
mod spending;
mod stand;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use model::RunState;
use serde_json::Value;

pub use answer::{Approval, Basis, Beyond, Delay, Escalation, GateDecision, Incident, Patched, Transition};
pub(crate) use content::{CONTENT_FIELDS, CONTENT_NEEDS, is_call};
use enter::Passage;
pub(crate) use enter::{APPROVAL_LOST, Mode};
pub(crate) use gates::{Answering, TAINT, TAINTED};
pub(crate) use guardrail::{GUARDRAIL, MOST_REFUSED};
pub(crate) use heading::{CONDITION_ERROR, Heading};
pub(crate) use journey::Journey;
pub(crate) use outage::UNAVAILABLE;
pub(crate) use plain::follow;
pub use signal::{Impossible, Signal, Standing};
pub(crate) use spending::BUDGET_OVERRUN;

use crate::workflow::{Step, Workflow};
use crate::{Facts, Memory};

/// The end of a run, or of a branch, whose signal the rails could not route: a fault of the program, kept as a dead letter.
#[must_use]
pub fn bug(workflow: &Workflow, at: &Standing<'_>, facts: &Facts, reason: &str) -> Transition {
    let death = Transition::die(at, format!("the rails cannot route this: {reason}"));
    match &facts.memory {
        Some(memory) if workflow.keeps_manifest() => Journey::new(workflow, at, memory, facts).over(death),
        _ => death,
    }
}

/// Where a run or one of its branches goes. `artifacts` are those of [`Workflow::condition_inputs`], by name; the step's own is
/// in the signal. Where the workflow keeps a manifest, [`Facts::memory`] is needed, and [`Transition::beyond`] is there.
///
/// # Errors
/// [`Impossible`], permanent: the run's state and the signal do not fit, the workflow lacks the step, or the memory is missing.
pub fn advance(
    workflow: &Workflow,
    at: &Standing<'_>,
    signal: &Signal<'_>,
    artifacts: &BTreeMap<String, Value>,
    facts: &Facts,
) -> Result<Transition, Impossible> {
    if !workflow.keeps_manifest() {
        return plain::advance(workflow, at, signal, artifacts, facts);
    }
    let memory = memory(workflow, at, facts)?;
    match orders::advance(workflow, at, signal, memory, facts) {
        Some(ordered) => ordered,
        None => Journey::new(workflow, at, memory, facts).advance(
            routable(workflow, at)?,
            signal,
            artifacts,
            facts,
        ),
    }
}

/// What the manifest keeps, where the run or branch may move.
pub(crate) fn memory<'a>(
    workflow: &Workflow,
    at: &Standing<'_>,
    facts: &'a Facts,
) -> Result<&'a Memory, Impossible> {
    let lacks = || format!("the workflow {} keeps a manifest, and none was handed in", workflow.version());
    let memory = facts.memory.as_ref().ok_or_else(|| Impossible(lacks()))?;
    if at.branch != 0 && !memory.branches.contains_key(&at.branch) {
        return Err(Impossible(format!("the run has no branch {}", at.branch)));
    }
    if at.branch != 0 && memory.paused.is_some() {
        return Err(Impossible("the run is held back by a person: resume it first".to_owned()));
    }
    Ok(memory)
}

/// The step of a run from which a worker can report.
fn routable<'a>(workflow: &'a Workflow, at: &Standing<'_>) -> Result<&'a Step, Impossible> {
    let step = workflow.step(at.step).ok_or_else(|| lacks(workflow, at.step))?;
    if at.state == RunState::Running {
        Ok(step)
    } else {
        Err(Impossible(format!("the run is {}, not running", at.state)))
    }
}

fn lacks(workflow: &Workflow, step: &str) -> Impossible {
    let what =
        if workflow.fork(step).is_some() { "opens branches, so no worker serves it" } else { "is no step" };
    Impossible(format!("`{step}` {what} of the workflow {}", workflow.version()))
}
