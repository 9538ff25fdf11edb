//! The only crate that knows PostgreSQL: events, runs, artifacts, decisions, and the log that chains them.
//!
//! The record is the truth and the streams are transport. Every method here is one transaction or one statement, and
//! no transaction spans a handler's work. Methods take and give plain values; SQL stands next to the method that runs
//! it, one module per group of tables.

mod admission;
mod advance;
mod claims;
mod connect;
mod dead_letters;
mod embeddings;
mod epochs;
mod error;
mod escalations;
mod extras;
mod feedback;
mod intents;
mod leases;
mod load;
mod pauses;
mod provenance;
mod prune;
mod publications;
mod reconcile;
mod relay;
mod runs;
mod sources;
mod tokens;
mod verify;
mod workflows;

pub use admission::{Admission, Admitted, NewRun};
pub use advance::{Advance, Item, Route, Routed, Verdict};
pub use connect::{Record, SCHEMA_VERSION, ServerInfo};
pub use dead_letters::{
    DeadLetter, LetterFilter, NewDeadLetter, decode_entry, encode_entry, error_fingerprint,
    upstream_request_id,
};
pub use embeddings::{EmbeddingCursor, StoredEmbedding};
pub use epochs::Epoch;
pub use error::{Error, Handling};
pub use escalations::{Cancelled, Escalation, Resolution};
pub use feedback::{Feedback, Incident};
pub use intents::{Intent, NewIntent};
pub use leases::Lease;
pub use load::LoadedRun;
pub use pauses::{Pause, PauseKind};
pub use provenance::{ProvenanceEntry, trace_id};
pub use prune::Pruned;
pub use publications::{Claim, Claimed, Publication, PublicationState, publication_key};
pub use reconcile::{OutstandingRun, RunningCount};
pub use relay::{LogCursor, LoggedLink};
pub use runs::{ArtifactView, ProvenanceView, RunDetail, RunFilter, RunSummary};
pub use sources::Poll;
pub use tokens::{ROLES, Token};
pub use verify::{BrokenLink, Verification};
