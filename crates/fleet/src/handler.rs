//! The contract between the runtime and a brain. `docs/worker-contract.md` says it in MUST and SHOULD.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{
    Effect, EffectResult, EmbeddingRecord, Failure, Known, Outcome, RunId, Sha256Digest, StoredContent,
    Withdrawal,
};
use rails::{Budget, Charge};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Which inputs a worker type's jobs are loaded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// The event's payload.
    pub payload: bool,
    /// Artifacts by name: step ids, or `content`.
    pub artifacts: &'static [&'static str],
}

/// A brain: handles the jobs of one worker type.
pub trait Handler: Send + Sync + 'static {
    /// The worker type's name in the stream table.
    const WORKER: &'static str;
    /// Which inputs a job is loaded with.
    const NEEDS: Needs;

    /// Handles one job. May be dropped at the step's deadline, when the job was lost to another process, and at the
    /// end of the grace period; it must leave nothing behind then. Heavy work belongs off the async threads.
    fn handle(&self, job: &JobContext) -> impl Future<Output = Outcome> + Send;

    /// Performs the planned effect. Called at most once per claim, after the claim is committed, and dropped at the
    /// effect's timeout.
    fn perform(
        &self,
        _job: &JobContext,
        effect: &Effect,
        _key: Sha256Digest,
    ) -> impl Future<Output = EffectResult> + Send {
        let reason =
            format!("{} performs no effects, yet one was planned for {}", Self::WORKER, effect.outlet);
        async move { EffectResult::NotSent(Failure::permanent(reason)) }
    }

    /// Asks the effect's outlet whether it has the key.
    fn ask(
        &self,
        _effect: &Effect,
        _key: Sha256Digest,
    ) -> impl Future<Output = Result<Known, Failure>> + Send {
        async { Ok(Known::CannotTell) }
    }

    /// The outlets whose posts this worker can withdraw, each with how long that may take.
    fn outlets(&self) -> Vec<(String, Duration)> {
        Vec::new()
    }

    /// Withdraws the post of a key from one of [`Handler::outlets`]. Called again where nobody saw a call end.
    fn revoke(
        &self,
        outlet: &str,
        _key: Sha256Digest,
    ) -> impl Future<Output = Result<Withdrawal, Failure>> + Send {
        let reason = format!("{} withdraws nothing, {outlet} least of all", Self::WORKER);
        async move { Err(Failure::permanent(reason)) }
    }

    /// Asks what every job needs beside the record. Called again and again once a job failed by
    /// [`Failure::outage`]; nothing is read before it succeeds.
    fn probe(&self) -> impl Future<Output = Result<(), Failure>> + Send {
        async { Ok(()) }
    }

    /// What is written to the embedding's record when the step dies.
    fn obituary(&self) -> Option<EmbeddingRecord> {
        None
    }
}

/// One job as a handler sees it.
#[derive(Debug, Clone)]
pub struct JobContext {
    /// The run.
    pub run: RunId,
    /// The event it began with.
    pub event_id: Uuid,
    /// The branch of it; 0 is the run itself.
    pub branch: i32,
    /// The transition counter of the run, or of its branch.
    pub seq: i32,
    /// The tenant.
    pub tenant: String,
    /// The event's source.
    pub source: String,
    /// When the event was received.
    pub received_at: DateTime<Utc>,
    /// The step.
    pub step: String,
    /// The step's options, from the workflow.
    pub with: Arc<BTreeMap<String, serde_json::Value>>,
    /// Whether the run is a dry one: an effect is planned with [`Effect::dry_run`] and shown, not sent.
    pub dry_run: bool,
    /// What the workflow asks of it, where that keeps a manifest.
    pub task: Option<Arc<Task>>,
    /// How long handling it may take.
    pub deadline: Duration,
    /// Failures so far.
    pub attempt: i32,
    /// The planner's purpose.
    pub planner_intent: String,
    /// The event's payload, where [`Handler::NEEDS`] asks for it.
    pub payload: Option<Arc<str>>,
    /// Digest of the run's present content, where it has some.
    pub content_sha256: Option<Sha256Digest>,
    /// The artifacts asked for, newest last, as (name, JSON).
    pub artifacts: Vec<(String, String)>,
    /// Cancelled when the job was lost to another process or the process gives up.
    pub cancelled: CancellationToken,
}

/// What a workflow with a blackboard asks of a step.
#[derive(Debug, Clone)]
pub struct Task {
    /// What the workflow is for.
    pub goal: String,
    /// What the step is for.
    pub description: String,
    /// The role that is to do it.
    pub role: Option<String>,
    /// How often the run has come to the step, this time included.
    pub visit: u32,
    /// The step's input, as its transformers made it.
    pub input: serde_json::Value,
    /// The part of the blackboard that the step's cluster may read.
    pub board: serde_json::Value,
    /// The blackboard's version.
    pub board_version: i64,
    /// JSON Schema of the output; null where anything is taken.
    pub output_schema: serde_json::Value,
    /// What may be spent, by this step and what is left to the run.
    pub budget: Budget,
    /// Whether a person asked for cheaper models.
    pub cheaper: bool,
    /// Whether the step acts on the world outside: then it is planned, and performed only once that is claimed.
    pub side_effect: bool,
    /// Why it has no side effect though its worker might.
    pub side_effect_reason: Option<String>,
    /// Of a step at which it is said what is done next: what this job of it is to do.
    pub charge: Option<Charge>,
}

impl JobContext {
    /// The newest artifact of this name.
    ///
    /// # Errors
    /// [`Failure`], permanent: it is absent or of another shape.
    pub fn artifact<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let text = self
            .artifacts
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, body)| body)
            .ok_or_else(|| Failure::permanent(format!("run {} has no artifact `{name}`", self.run)))?;
        serde_json::from_str(text).map_err(|e| {
            Failure::permanent(format!("artifact `{name}` of run {} cannot be read: {e}", self.run))
        })
    }

    /// The run's present content.
    ///
    /// # Errors
    /// [`Failure`], permanent: there is none, or it is not the one that the run is bound to.
    pub fn content(&self) -> Result<StoredContent, Failure> {
        let mut stored = self.artifacts.iter().rev().filter(|(name, _)| name == "content");
        let ((_, newest), bound) = stored
            .next()
            .zip(self.content_sha256)
            .ok_or_else(|| Failure::permanent(format!("run {} has no content", self.run)))?;
        // Of several branches that made content the last one to be listed need not be the last one to make it.
        StoredContent::read(newest, bound)
            .or_else(|newest| {
                stored.find_map(|(_, json)| StoredContent::read(json, bound).ok()).ok_or(newest)
            })
            .map_err(|e| Failure::permanent(format!("run {}: {e}", self.run)))
    }
}
