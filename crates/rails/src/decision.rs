//! Decisions of people, on runs that wait for them.

use std::collections::BTreeMap;

use model::{Content, Lifecycle, RunState};

use crate::policy::{Policy, Violation};
use crate::transition::{Approval, BUDGET_OVERRUN, Basis, Impossible, Standing, Transition, follow};
use crate::workflow::{Step, Workflow};
use crate::{Budget, Facts, PUBLICATION_UNKNOWN, Signal, advance};

mod manifest;

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on with the content as it is. Where a budget is used up: go on with as much again.
    Approve,
    /// End the run.
    Reject,
    /// Go on with this content instead.
    Edit(Box<Content>),
    /// Go back to this step.
    SendBack(String),
    /// Go on although the content violates policy.
    Override,
    /// Where a budget is used up: go on with this much more.
    TopUp {
        /// What may be spent beyond the budgets, of the run and of the step.
        more: Budget,
        /// Whether cheaper models are to be taken from now on.
        cheaper: bool,
    },
    /// Where a budget is used up: go on with cheaper models, and with this much more, or as much again.
    Cheaper {
        /// What may be spent beyond the budgets that are used up.
        more: Option<Budget>,
    },
    /// Where a budget is used up: end the run.
    Stop,
    /// Where a budget is used up: go on without the step, with its fallback where it has one.
    Finish,
}

/// What is decided about.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The escalation's.
    pub issue_type: &'a str,
    /// What the run would publish now.
    pub content: Option<&'a Content>,
    /// What content may be published.
    pub policy: &'a Policy,
    /// The event's source.
    pub source: &'a str,
    /// The condition or gate that raised it.
    pub rule: Option<&'a str>,
    /// Who decides.
    pub by: &'a str,
    /// What the record knows: the run's memory, and what gates look at, where its workflow keeps a manifest.
    pub facts: &'a Facts,
}

/// Why a decision cannot be carried out. Permanent; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody is asked about this run any more.
    #[error("the run no longer waits for a person")]
    NotWaiting,
    /// The content violates policy.
    #[error("the content violates policy; publishing it needs an override")]
    Violates(Vec<Violation>),
    /// There is no such step.
    #[error("the workflow has no step `{0}`")]
    UnknownStep(String),
    /// The step does not come before the one that waits.
    #[error("`{0}` does not lead to the step that waits: a run can only be sent back")]
    NotBefore(String),
    /// There is nothing to approve.
    #[error("the run has no content")]
    NoContent,
    /// What is asked is whether a post went out.
    #[error("this is answered by settling the publication: delivered, resend or abandon")]
    SettlePublication,
    /// What is asked is whether more may be spent.
    #[error(
        "a budget is used up: it is topped up, or the run finishes with what is there, is sent back, or ends"
    )]
    Budget,
    /// What would go out is no content.
    #[error(
        "what is approved here is a call: it is approved as it is, sent back or refused, and cannot be edited"
    )]
    NoEdit,
    /// Nothing is asked about a budget.
    #[error("no budget is used up")]
    NoBudget,
    /// A gate does not open.
    #[error("the gate `{gate}` stays shut: {todo}")]
    Shut {
        /// The gate.
        gate: String,
        /// What can be done.
        todo: String,
    },
    /// The rails cannot route it.
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

/// A person's answer to "did it go out?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It did.
    Delivered,
    /// It did not, or may go out twice: send it again.
    Resend,
    /// Give it up.
    Abandon,
}

/// Where a run, or one of its branches, goes after a person's decision. One that waits is decided about, and one that is
/// parked over a budget. An approval is of the content that [`Asked::content`] has, or of the edited one.
///
/// # Errors
/// [`Refusal`].
pub fn decide(
    workflow: &Workflow,
    at: &Standing<'_>,
    asked: &Asked<'_>,
    decision: &Decision,
) -> Result<Transition, Refusal> {
    let parked = at.state == RunState::Parked && asked.issue_type == BUDGET_OVERRUN;
    if at.state != RunState::Waiting && !parked {
        return Err(Refusal::NotWaiting);
    }
    if asked.issue_type == PUBLICATION_UNKNOWN {
        return Err(Refusal::SettlePublication);
    }
    if workflow.keeps_manifest() {
        return manifest::decide(workflow, at, asked, decision);
    }
    let step = workflow.step(at.step).ok_or_else(|| Refusal::UnknownStep(at.step.to_owned()))?;
    match decision {
        Decision::Approve => {
            lawful(asked, asked.content.ok_or(Refusal::NoContent)?)?;
            Ok(approved(workflow, step, at, Basis::Person, asked.issue_type))
        }
        Decision::Edit(edited) => {
            lawful(asked, edited)?;
            Ok(approved(workflow, step, at, Basis::Person, asked.issue_type))
        }
        Decision::Override => {
            asked.content.ok_or(Refusal::NoContent)?;
            Ok(approved(workflow, step, at, Basis::Override, asked.issue_type))
        }
        Decision::Reject => Ok(Transition::stay(at, RunState::Rejected, "rejected by a person")),
        Decision::SendBack(id) => {
            workflow.step(id).ok_or_else(|| Refusal::UnknownStep(id.clone()))?;
            if !workflow.leads_to(id, at.step) {
                return Err(Refusal::NotBefore(id.clone()));
            }
            Ok(Transition {
                lifecycle: Lifecycle::Draft,
                step: id.clone(),
                attempt: 0,
                ..Transition::stay(at, RunState::Running, format!("sent back to {id} by a person"))
            })
        }
        Decision::TopUp { .. } | Decision::Cheaper { .. } | Decision::Finish | Decision::Stop => {
            Err(Refusal::NoBudget)
        }
    }
}

fn lawful(asked: &Asked<'_>, content: &Content) -> Result<(), Refusal> {
    match asked.policy.evaluate(content, asked.source) {
        violations if violations.is_empty() => Ok(()),
        violations => Err(Refusal::Violates(violations)),
    }
}

fn approved(
    workflow: &Workflow,
    step: &Step,
    at: &Standing<'_>,
    basis: Basis,
    issue_type: &str,
) -> Transition {
    Transition {
        lifecycle: Lifecycle::Approved,
        approval: Some(Approval { basis, rule: issue_type.to_owned() }),
        reason: format!("{} by a person", words(basis)),
        ..follow(workflow, step, at, &step.on_success)
    }
}

fn words(basis: Basis) -> &'static str {
    if basis == Basis::Override { "overridden" } else { "approved" }
}

/// Where a run goes after a person answered whether its post went out.
///
/// # Errors
/// [`Impossible`] where nobody was asked, or the memory that the workflow needs is missing.
pub fn settled(
    workflow: &Workflow,
    at: &Standing<'_>,
    answer: Settled,
    facts: &Facts,
) -> Result<Transition, Impossible> {
    if at.state != RunState::Waiting {
        return Err(Impossible(format!("the run is {}, nobody was asked", at.state)));
    }
    if answer == Settled::Delivered {
        let sending = Standing { state: RunState::Running, ..*at };
        let signal = Signal::EffectConfirmed { reference: "delivered, a person says" };
        return advance(workflow, &sending, &signal, &BTreeMap::new(), facts);
    }
    let transition = match answer {
        Settled::Resend => Transition::stay(at, RunState::Running, "sent again by a person's order"),
        _ => Transition::stay(at, RunState::Rejected, "the publication was given up by a person"),
    };
    if !workflow.keeps_manifest() {
        return Ok(transition);
    }
    let attempt = transition.attempt;
    let transition = manifest::settled(workflow, at, facts, transition)?;
    Ok(Transition { attempt, ..transition })
}

#[cfg(test)]
mod tests;
