//! The hash-chained log: what one link says.

use chrono::{DateTime, Utc};
use model::{Actor, ChainLink, RunId, Sha256Digest, link_hash};
use rails::GateDecision;
use serde::Serialize;

use crate::Error;

/// What one link says. Bodies of input and output stand in `artifacts`; the chain holds their digests.
#[derive(Debug, Clone, Serialize)]
pub struct ProvenanceEntry<'a> {
    /// The run.
    pub run: RunId,
    /// The branch, 0 for an unforked run.
    pub branch: i32,
    /// Position along the chain, from 1.
    pub pos: i32,
    /// `created`, `transition`, `ledger`.
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
}

fn micros<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true))
}

impl ProvenanceEntry<'_> {
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
