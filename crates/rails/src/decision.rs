//! Decisions of people, on runs that wait for them.

use model::{Content, Lifecycle, RunState};

use crate::policy::{Policy, Violation};
use crate::transition::{Approval, Basis, Impossible, Standing, Transition, follow};
use crate::workflow::{Step, Workflow};
use crate::{Facts, PUBLICATION_UNKNOWN, Signal, advance};

/// What a person decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Go on with the content as it is.
    Approve,
    /// End the run.
    Reject,
    /// Go on with this content instead.
    Edit(Box<Content>),
    /// Go back to this step.
    SendBack(String),
    /// Go on although the content violates policy.
    Override,
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

/// Where a waiting run goes after a person's decision. `content` is what the run would publish now.
///
/// # Errors
/// [`Refusal`].
pub fn decide(
    workflow: &Workflow,
    at: &Standing<'_>,
    issue_type: &str,
    decision: &Decision,
    content: Option<&Content>,
    policy: &Policy,
    source: &str,
) -> Result<Transition, Refusal> {
    if at.state != RunState::Waiting {
        return Err(Refusal::NotWaiting);
    }
    if issue_type == PUBLICATION_UNKNOWN {
        return Err(Refusal::SettlePublication);
    }
    let step = workflow.step(at.step).ok_or_else(|| Refusal::UnknownStep(at.step.to_owned()))?;
    let lawful = |content: &Content| match policy.evaluate(content, source) {
        violations if violations.is_empty() => Ok(()),
        violations => Err(Refusal::Violates(violations)),
    };
    match decision {
        Decision::Approve => {
            lawful(content.ok_or(Refusal::NoContent)?)?;
            Ok(approved(workflow, step, at, Basis::Person, issue_type))
        }
        Decision::Edit(edited) => {
            lawful(edited)?;
            Ok(approved(workflow, step, at, Basis::Person, issue_type))
        }
        Decision::Override => {
            content.ok_or(Refusal::NoContent)?;
            Ok(approved(workflow, step, at, Basis::Override, issue_type))
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
    }
}

fn approved(
    workflow: &Workflow,
    step: &Step,
    at: &Standing<'_>,
    basis: Basis,
    issue_type: &str,
) -> Transition {
    let words = if basis == Basis::Override { "overridden" } else { "approved" };
    Transition {
        lifecycle: Lifecycle::Approved,
        approval: Some(Approval { basis, rule: issue_type.to_owned() }),
        reason: format!("{words} by a person"),
        ..follow(workflow, step, at, &step.on_success)
    }
}

/// Where a run goes after a person answered whether its post went out.
///
/// # Errors
/// [`Impossible`] where nobody was asked.
pub fn settled(workflow: &Workflow, at: &Standing<'_>, answer: Settled) -> Result<Transition, Impossible> {
    if at.state != RunState::Waiting {
        return Err(Impossible(format!("the run is {}, nobody was asked", at.state)));
    }
    match answer {
        Settled::Delivered => {
            let sending = Standing { state: RunState::Running, ..*at };
            let signal = Signal::EffectConfirmed { reference: "delivered, a person says" };
            advance(workflow, &sending, &signal, &std::collections::BTreeMap::new(), &Facts::default())
        }
        Settled::Resend => Ok(Transition::stay(at, RunState::Running, "sent again by a person's order")),
        Settled::Abandon => {
            Ok(Transition::stay(at, RunState::Rejected, "the publication was given up by a person"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use model::RunId;

    use super::*;
    use crate::{Catalog, builtin_trend};

    fn content(body: &str) -> Content {
        Content {
            title: "t".to_owned(),
            summary: String::new(),
            body: body.to_owned(),
            url: None,
            language: "en".to_owned(),
            tags: vec![],
        }
    }

    fn decided(state: RunState, issue: &str, decision: &Decision, body: &str) -> Result<Transition, Refusal> {
        let catalog = Catalog { workers: &["etl", "embedding", "judge", "publisher"] };
        let workflow = Workflow::register(builtin_trend(), &BTreeMap::new(), &catalog).unwrap();
        let policy = Policy::parse("forbidden_terms: [bad]\n").unwrap();
        let at = Standing {
            run: RunId(uuid::Uuid::nil()),
            state,
            lifecycle: Lifecycle::Qa,
            step: "judge",
            attempt: 0,
            content: None,
        };
        decide(&workflow, &at, issue, decision, Some(&content(body)), &policy, "s")
    }

    #[test]
    fn approvals_by_people_are_bound_by_policy_and_overrides_are_not() {
        let waiting =
            |decision: &Decision, body: &str| decided(RunState::Waiting, "toxicity", decision, body);
        let good = waiting(&Decision::Approve, "good").unwrap();
        assert_eq!((good.step.as_str(), good.approval.unwrap().basis), ("publish", Basis::Person));
        assert!(matches!(waiting(&Decision::Approve, "bad"), Err(Refusal::Violates(_))));
        assert_eq!(waiting(&Decision::Override, "bad").unwrap().approval.unwrap().basis, Basis::Override);
        assert!(matches!(
            waiting(&Decision::Edit(Box::new(content("bad"))), "good"),
            Err(Refusal::Violates(_))
        ));
        assert!(waiting(&Decision::Edit(Box::new(content("fine"))), "bad").unwrap().approval.is_some());
        assert_eq!(waiting(&Decision::Reject, "bad").unwrap().state, RunState::Rejected);
    }

    #[test]
    fn sending_back_forgets_the_quality_reached_and_unknown_steps_and_ended_runs_are_refused() {
        let back =
            decided(RunState::Waiting, "toxicity", &Decision::SendBack("etl".to_owned()), "x").unwrap();
        assert_eq!((back.step.as_str(), back.lifecycle, back.approval), ("etl", Lifecycle::Draft, None));
        let lost = Decision::SendBack("moon".to_owned());
        assert!(matches!(decided(RunState::Waiting, "toxicity", &lost, "x"), Err(Refusal::UnknownStep(_))));
        assert_eq!(
            decided(RunState::Cancelled, "toxicity", &Decision::Approve, "x"),
            Err(Refusal::NotWaiting)
        );
        assert_eq!(
            decided(RunState::Waiting, PUBLICATION_UNKNOWN, &Decision::Approve, "x"),
            Err(Refusal::SettlePublication)
        );
    }
}
