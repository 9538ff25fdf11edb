//! The only crate that knows PostgreSQL: events, runs, artifacts, decisions, and the log that chains them.
//!
//! The record is the truth and the streams are transport. Every method here is one transaction or one statement, and
//! no transaction spans a handler's work. Methods take and give plain values; SQL stands next to the method that runs
//! it, one module per group of tables.

mod activations;
mod admission;
mod advance;
mod backfills;
mod beyond;
mod branches;
mod breakers;
mod callbacks;
mod claims;
mod commit;
mod compare_and_set;
mod connect;
mod corridors;
mod dead_letters;
mod embeddings;
mod endpoint;
mod epochs;
mod error;
mod escalations;
mod expiry;
mod extras;
mod feedback;
mod firings;
mod gate_answers;
mod intents;
mod leases;
mod load;
mod manifests;
mod micros;
mod notices;
mod notifications;
mod outside;
mod patches;
mod pauses;
mod provenance;
mod prune;
mod publications;
mod reconcile;
mod relay;
mod runs;
mod sources;
mod spending;
mod successors;
mod surroundings;
mod tokens;
mod triggers;
mod verify;
mod work_orders;
mod workflows;

pub use activations::{Activation, NewActivation, OlderRuns, OpenActivation};
pub use admission::{Admission, Admitted, NewRun};
pub use advance::{Advance, Item, RETRIED, Route, Routed, Verdict, Won};
pub use backfills::{Backfill, DueBackfill, NewBackfill};
pub use branches::BranchView;
pub use breakers::{BreakerKind, OpenBreaker};
pub use connect::{Record, SCHEMA_VERSION, ServerInfo};
pub use corridors::Place;
pub use dead_letters::{
    DeadLetter, LetterFilter, NewDeadLetter, decode_entry, encode_entry, error_fingerprint,
    upstream_request_id,
};
pub use embeddings::{EmbeddingCursor, StoredEmbedding};
pub use endpoint::Endpoint;
pub use epochs::Epoch;
pub use error::{Error, Handling};
pub use escalations::{Cancelled, Escalation, Resolution};
pub use expiry::ExpiredRun;
pub use feedback::{Feedback, Incident};
pub use firings::{Firing, FiringFilter, FiringKind, NewFiring, OpenFiring};
pub use intents::{Intent, NewIntent};
pub use leases::Lease;
pub use load::{BranchKey, LoadedRun};
pub use manifests::Manifest;
pub use notices::{NewNotification, Notice, NoticeKind};
pub use notifications::{DueNotification, TargetTrouble};
pub use patches::{PatchLink, Patches};
pub use pauses::{Pause, PauseKind};
pub use provenance::{BeyondEntry, ProvenanceEntry, RefusedPatch, trace_id};
pub use prune::Pruned;
pub use publications::{
    Claim, Claimed, DueRevocation, OpenRevocation, Publication, PublicationState, Revocation,
    RevocationRequest, RevocationState, publication_key,
};
pub use reconcile::{OutstandingRun, RunningCount};
pub use relay::{LogCursor, LoggedLink};
pub use runs::{ArtifactView, ProvenanceView, RunDetail, RunFilter, RunSummary};
pub use sources::{FailingSource, Poll};
pub use spending::{Overrun, Spender};
pub use successors::{Carry, DoneStep, Migrated, NewSuccessor, RunOptions};
pub use tokens::{ROLES, Token};
pub use triggers::{NewTrigger, Trigger};
pub use verify::{BrokenLink, Verification};
pub use work_orders::{Completed, Handed, NewWorkOrder, WorkOrder};
pub use workflows::{EVERY_TENANT, RegisteredWorkflow};
