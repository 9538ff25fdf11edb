//! What the rails are asked: where a run stands, and what happened.

use model::{Failure, Lifecycle, Question, RunId, RunState, Sha256Digest};
use serde_json::Value;

/// Where a run stands.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The run.
    pub run: RunId,
    /// Its branch; 0 is the run itself.
    pub branch: i32,
    /// Its state, or the branch's.
    pub state: RunState,
    /// The lifecycle of the run's content, on a branch as well.
    pub lifecycle: Lifecycle,
    /// Its step.
    pub step: &'a str,
    /// Handler failures at this step.
    pub attempt: i32,
    /// Digest of the run's content.
    pub content: Option<Sha256Digest>,
    /// Whether nothing goes out: side effects are planned and shown.
    pub dry_run: bool,
}

impl Standing<'_> {
    /// How a run ends that comes to this end: nothing of a dry run is published.
    pub(super) fn end(&self, state: RunState) -> RunState {
        if self.dry_run && state == RunState::Published { RunState::Done } else { state }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub enum Signal<'a> {
    /// The step is done.
    Done {
        /// Its artifact.
        output: &'a Value,
        /// An RFC 6902 patch of the blackboard that the worker proposes.
        patch: Option<&'a Value>,
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
    /// The call was made, and answered: the step is done with that.
    EffectAnswered {
        /// What is known of the call, in words.
        reference: &'a str,
        /// The step's artifact.
        output: &'a Value,
        /// An RFC 6902 patch of the blackboard that the answer proposes.
        patch: Option<&'a Value>,
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
    /// A side effect was planned, and is shown in place of being carried out.
    DryRun {
        /// What would have been sent.
        output: &'a Value,
        /// Whether it is a post: nothing reads what would have come back.
        posts: bool,
    },
    /// The time of the step is over: that for waiting, or that for its work.
    Expired,
    /// The content has stayed at its stage for too long.
    Outdated,
    /// The run begins at a step that is entered like any other: by gates, within budgets.
    Begin,
    /// Someone ends the run.
    Cancel {
        /// Why.
        reason: &'a str,
    },
    /// Someone holds a running run back.
    Park {
        /// Why.
        reason: &'a str,
    },
    /// Someone lets a run go on that was held back.
    Unpark,
    /// Someone gives a dead run another life.
    Replay,
    /// Someone sends an ended run through again, from a step on.
    Rerun {
        /// The step.
        step: &'a str,
    },
}

/// The signal cannot come to a run that stands so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Impossible(pub(crate) String);
