//! What moves a run on: where it goes, what is written with that, and what became of it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use model::{
    Actor, Claims, EmbeddingRecord, EnrichedTrend, RunId, RunState, Sha256Digest, StoredContent, Usage,
};
use rails::{Facts, Transition};

use crate::micros::micros;
use crate::{Admission, LoadedRun, OutstandingRun};

/// What happened where a try failed, or was put off.
pub const RETRIED: &str = "retried";

/// One run that wants to advance, before its route is known.
#[derive(Debug, Clone)]
pub struct Item {
    /// The run as it was loaded, or as it will be once admitted.
    pub run: LoadedRun,
    /// An upstream entry to admit in the same transaction.
    pub admission: Option<Admission>,
    /// Questions to the record that the route depends on.
    pub claims: Claims,
    /// What the try spent.
    pub usage: Usage,
}

impl Item {
    /// A run that nothing else is known of.
    #[must_use]
    pub fn of(run: LoadedRun) -> Self {
        Self { run, admission: None, claims: Claims::default(), usage: Usage::default() }
    }

    pub(crate) fn fingerprint_key(&self) -> Option<(String, Vec<u8>)> {
        self.claims.fingerprint.map(|print| (self.run.tenant.clone(), print.0.to_vec()))
    }
}

/// Where an item goes, and what it leaves.
#[derive(Debug)]
pub struct Routed {
    /// The transition that the rails chose.
    pub transition: Transition,
    /// How long until the job is due.
    pub delay: std::time::Duration,
    /// What is written with it.
    pub advance: Advance,
}

impl Routed {
    /// Whether the run or branch stays where it is, to be tried again.
    pub(crate) fn stays(&self, run: &LoadedRun) -> bool {
        let Transition { state, step, attempt, .. } = &self.transition;
        let again = self.advance.what == RETRIED || *attempt > run.attempt;
        again && *state == RunState::Running && *step == run.step
    }

    /// The new content: what the blackboard makes it, or else what the worker reports.
    #[must_use]
    pub fn content(&self) -> Option<&StoredContent> {
        let beyond = self.transition.beyond.as_deref().and_then(|beyond| beyond.content.as_ref());
        beyond.or(self.advance.content.as_ref())
    }

    /// The step's artifact: its fallback where that takes the output's place, or else what the worker reports.
    pub(crate) fn output(&self) -> Option<Cow<'_, str>> {
        let fallback = self.transition.beyond.as_deref().and_then(|beyond| beyond.output.as_ref());
        match fallback {
            Some(output) => Some(Cow::Owned(output.to_string())),
            None => self.advance.output.as_deref().map(Cow::Borrowed),
        }
    }

    pub(crate) fn delay_micros(&self) -> i64 {
        micros(self.delay)
    }
}

/// What a transition writes beside the run itself.
#[derive(Debug)]
pub struct Advance {
    /// What happened, for the provenance: `done`, `failed`, …
    pub what: &'static str,
    /// The step's artifact as JSON.
    pub output: Option<String>,
    /// New content.
    pub content: Option<StoredContent>,
    /// The enriched trend.
    pub trend: Option<EnrichedTrend>,
    /// The embedding.
    pub embedding: Option<EmbeddingRecord>,
    /// Who did it.
    pub actor: Actor,
    /// When, by the actor's clock.
    pub at: DateTime<Utc>,
    /// The model.
    pub model: Option<String>,
    /// The prompt or rule text.
    pub prompt: Option<String>,
    /// Digest of the prompt document.
    pub prompt_sha256: Option<Sha256Digest>,
    /// What the try spent.
    pub usage: Usage,
    /// The cluster of the step.
    pub cluster: Option<String>,
    /// Whether it moves a run that keeps a manifest by the transition of one of its branches.
    pub of_manifest: bool,
    /// Digest of what the handler read.
    pub input_sha256: Option<Sha256Digest>,
    /// The entry that brought the job, encoded by [`crate::encode_entry`]; kept where the run dies.
    pub original: Vec<u8>,
    /// The stream and entry id it came from.
    pub origin: Option<(String, String)>,
}

impl Advance {
    /// What somebody did, now, that leaves nothing but itself.
    #[must_use]
    pub fn by(actor: Actor, what: &'static str) -> Self {
        Self {
            what,
            output: None,
            content: None,
            trend: None,
            embedding: None,
            actor,
            at: Utc::now(),
            model: None,
            prompt: None,
            prompt_sha256: None,
            usage: Usage::default(),
            cluster: None,
            of_manifest: false,
            input_sha256: None,
            original: Vec::new(),
            origin: None,
        }
    }
}

/// A transition that was written.
#[derive(Debug)]
pub struct Won {
    /// The new `seq` of the run or branch.
    pub seq: i32,
    /// The route that was committed.
    pub routed: Box<Routed>,
    /// Jobs that are due beside the next one of the run or branch itself: of branches that opened, and of the run that a
    /// branch's end moved on.
    pub jobs: Vec<OutstandingRun>,
}

impl Won {
    pub(crate) fn plain(seq: i32, routed: Routed) -> Self {
        Self { seq, routed: Box::new(routed), jobs: Vec::new() }
    }
}

/// What became of an item.
#[derive(Debug)]
pub enum Verdict {
    /// The compare-and-set held.
    Won(Won),
    /// Someone else advanced the run first; nothing was written.
    Lost,
    /// The upstream entry was admitted before, as this run; nothing was written.
    Known(RunId),
    /// PostgreSQL refuses this item whatever is tried: it alone fails.
    Refused(String),
}

/// Chooses the route of the n-th item, given its run as it stands and what the record knows. May be asked more than once.
pub type Route<'a> = dyn Fn(usize, &LoadedRun, &Facts) -> Routed + Sync + 'a;
