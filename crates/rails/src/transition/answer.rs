//! What the rails answer: where a run goes, and what that means for its branches and its blackboard.

use std::collections::BTreeSet;
use std::time::Duration;

use model::{Lifecycle, RunId, RunState, StoredContent};
use serde::Serialize;
use serde_json::Value;

use super::Standing;
use crate::{Allowance, Answer, Backoff, BudgetScope, Gated, Memory, Wants};

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
    /// Its state afterwards; `running` means that a job for [`Transition::step`] is due, unless that is a fork, at which a
    /// run stands without a job until its branches end.
    pub state: RunState,
    /// The lifecycle of the run's content afterwards, on a branch as well.
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
    /// What only a run with a manifest does; `None` for others.
    pub beyond: Option<Box<Beyond>>,
    /// In words, for people and provenance.
    pub reason: String,
}

/// What a transition does beside moving the run or branch that it is of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beyond {
    /// The run's memory afterwards. Its branches are to be stored where they differ from what was handed in: one that needs
    /// no job, since all in it is there already, is `done` in them and stands neither in `opens` nor in `closes`.
    pub memory: Memory,
    /// Branches that open, by number, with their first steps; a job for each is due. They open after `closes`, and after the
    /// branch whose transition this is ended: a loop may bring the run back to its fork at once.
    pub opens: Vec<(i32, String)>,
    /// Open branches that end with this, without a say.
    pub closes: Vec<i32>,
    /// Of a branch: what becomes of the run itself, where the branch's end decides it. An approval, an escalation or an
    /// incident of the branch's own step stands in the branch's transition; the run's may have an escalation of its own.
    pub trunk: Option<Transition>,
    /// The cluster that acted, where it is another than the step's own.
    pub cluster: Option<String>,
    /// What became of the patch that was proposed.
    pub patch: Option<Patched>,
    /// The content, where the blackboard's change makes it another. An approval of the same transition is of this content.
    pub content: Option<StoredContent>,
    /// The step's artifact, where its fallback takes the output's place.
    pub output: Option<Value>,
    /// What it lacked, so that it is to be asked for again; it holds the run back where that is not done.
    pub wants: Wants,
    /// What a person answered to a gate, which opened it.
    pub answer: Option<Answer>,
    /// What the gates say that a person's answer did not open.
    pub shut: Option<Box<Gated>>,
    /// Steps for whose posts a place of the day is taken.
    pub places: BTreeSet<String>,
    /// What jobs may spend that are due with this, by branch, where spending is counted beyond the run.
    pub reserves: Vec<(i32, Allowance)>,
    /// What a person grants beyond the bounds of the run's tenant or intent.
    pub grants: Vec<(BudgetScope, Allowance)>,
    /// Dead letters beside the transition's own: a compensation that failed, a branch that died as it opened.
    pub letters: Vec<String>,
}

/// What became of a proposed patch.
#[derive(Debug, Clone, PartialEq)]
pub enum Patched {
    /// It was applied, as this version.
    Applied {
        /// RFC 6902.
        patch: Value,
        /// The blackboard's version afterwards.
        version: i64,
    },
    /// It was refused whole.
    Refused {
        /// RFC 6902, or what was proposed as such.
        patch: Value,
        /// Why.
        reason: String,
    },
}

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
            beyond: None,
            reason: reason.into(),
        }
    }

    /// Whether it parks a run since a budget is used up.
    #[must_use]
    pub fn is_overrun(&self) -> bool {
        self.escalation.as_ref().is_some_and(|asked| asked.issue_type == super::BUDGET_OVERRUN)
    }

    pub(crate) fn die(at: &Standing<'_>, reason: String) -> Self {
        Self { death: Some(reason.clone()), ..Self::stay(at, RunState::Dead, reason) }
    }
}
