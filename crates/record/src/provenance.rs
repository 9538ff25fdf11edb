//! The hash-chained log: what one link says.

use chrono::{DateTime, Utc};
use model::{Actor, ChainLink, RunId, RunState, Sha256Digest, Usage, link_hash, sha256};
use rails::GateDecision;
use serde::Serialize;
use serde_json::Value;

use crate::{Error, LoadedRun};

/// What one link says. Bodies of input and output stand in `artifacts`; the chain holds their digests.
#[derive(Debug, Clone, Serialize)]
pub struct ProvenanceEntry<'a> {
    /// The run.
    pub run: RunId,
    /// The branch, 0 for an unforked run.
    pub branch: i32,
    /// Position along the chain, from 1.
    pub pos: i32,
    /// `created`, `transition`, `ledger`, `content`.
    pub kind: &'static str,
    /// What happened: `done`, `failed`, `escalated`, …
    pub what: &'a str,
    /// The branch's `seq` afterwards.
    pub seq: i32,
    /// The step it happened at.
    pub step: &'a str,
    /// The state afterwards.
    pub state: &'a str,
    /// The step it stands at afterwards.
    pub next: &'a str,
    /// Handler failures so far.
    pub attempt: i32,
    /// In words.
    pub reason: &'a str,
    /// Who did it.
    pub actor: &'a Actor,
    /// When, RFC 3339 with microseconds, by the actor's clock.
    #[serde(serialize_with = "micros")]
    pub at: DateTime<Utc>,
    /// The model that made the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<&'a str>,
    /// The prompt or rule text that led to it, bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_output_prompt: Option<&'a str>,
    /// What the try took.
    #[serde(skip_serializing_if = "is_nothing", serialize_with = "spent")]
    pub usage: Usage,
    /// Digest of what the step read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_sha256: Option<Sha256Digest>,
    /// Digest of what the step wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<Sha256Digest>,
    /// Digest of the content afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<Sha256Digest>,
    /// The conditions that were evaluated.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub gates: &'a [GateDecision],
    /// W3C trace id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// The planner's purpose for the source.
    pub planner_intent: &'a str,
    /// What only a run with a manifest has to tell.
    #[serde(flatten)]
    pub beyond: Option<BeyondEntry<'a>>,
}

/// What a link says beside, where the run keeps a manifest.
#[derive(Debug, Clone, Default, Serialize)]
pub struct BeyondEntry<'a> {
    /// The manifest: the run's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest_id: Option<RunId>,
    /// The event's id as its sender gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// The cluster that the step belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<&'a str>,
    /// Digest of the prompt document that led to the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_sha256: Option<Sha256Digest>,
    /// The blackboard's version afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub board_version: Option<i64>,
    /// The patch that was applied, RFC 6902.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_applied: Option<&'a Value>,
    /// The patch that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_refused: Option<RefusedPatch<'a>>,
    /// The branches that it opened.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub opened: Vec<i32>,
    /// The branches that it closed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<i32>,
}

impl<'a> BeyondEntry<'a> {
    /// Which manifest is told of.
    pub(crate) fn of(run: &'a LoadedRun) -> Self {
        Self { manifest_id: Some(run.run), request_id: Some(&run.request_id), ..Self::default() }
    }
}

/// A patch that was refused whole.
#[derive(Debug, Clone, Serialize)]
pub struct RefusedPatch<'a> {
    /// What was proposed, unless that is too long to be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch: Option<&'a Value>,
    /// Digest of what was proposed.
    pub sha256: Sha256Digest,
    /// Why.
    pub reason: &'a str,
}

/// The longest refused patch that a link keeps, as JSON in bytes.
const LONGEST_REFUSED: usize = 64 << 10;

impl<'a> RefusedPatch<'a> {
    pub(crate) fn new(patch: &'a Value, reason: &'a str) -> Self {
        let json = patch.to_string();
        let kept = (json.len() <= LONGEST_REFUSED).then_some(patch);
        Self { patch: kept, sha256: sha256(&[json.as_bytes()]), reason }
    }
}

fn is_nothing(usage: &Usage) -> bool {
    *usage == Usage::default()
}

/// Only what is not zero: most steps spend time alone.
fn spent<S: serde::Serializer>(usage: &Usage, serializer: S) -> Result<S::Ok, S::Error> {
    let Usage { tokens_in, tokens_out, cost_micros, millis } = *usage;
    let counts = [
        ("tokens_in", tokens_in),
        ("tokens_out", tokens_out),
        ("cost_micros", cost_micros),
        ("millis", millis),
    ];
    serializer.collect_map(counts.into_iter().filter(|(_, count)| *count > 0))
}

fn micros<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

impl<'a> ProvenanceEntry<'a> {
    /// The first link of a run, which begins with the step `next`.
    pub(crate) fn accepted(run: RunId, next: &'a str, reason: &'a str, actor: &'a Actor) -> Self {
        Self {
            run,
            branch: 0,
            pos: 1,
            kind: "created",
            what: "accepted",
            seq: 0,
            step: "",
            state: RunState::Running.as_str(),
            next,
            attempt: 0,
            reason,
            actor,
            at: Utc::now(),
            model: None,
            worker_output_prompt: None,
            usage: Usage::default(),
            input_sha256: None,
            output_sha256: None,
            content_sha256: None,
            gates: &[],
            trace_id: None,
            planner_intent: "",
            beyond: None,
        }
    }

    /// The link that this entry makes after `prev`.
    pub(crate) fn link(&self, prev: Sha256Digest) -> Result<ChainLink, Error> {
        let body = serde_json::to_string(self)
            .map_err(|e| Error::unreadable(format_args!("run {}", self.run), e))?;
        Ok(ChainLink { pos: self.pos, hash: link_hash(prev, &body), body })
    }
}

/// The trace id of a `traceparent`.
#[must_use]
pub fn trace_id(traceparent: Option<&str>) -> Option<&str> {
    traceparent?.split('-').nth(1)
}
