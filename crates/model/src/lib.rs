//! The plain types that all of Tidemill shares: ids, the stream envelope, events, content, runs, outcomes.
//!
//! Nothing here does I/O, reads a clock or draws a random number. Words mean what ARCHITECTURE.md says they mean.

mod content;
mod envelope;
mod error;
mod event;
mod ids;
mod outcome;
mod provenance;
mod run;
mod trace;
mod trigger;
mod usage;
mod workers;

pub use content::{
    AlteredContent, Content, ContentError, Sha256Digest, StoredContent, is_line, is_web_address, sha256,
};
pub use envelope::{EntryFields, EnvelopeError, Job, UpstreamEntry};
pub use error::{Failure, RetryClass};
pub use event::{EventError, NewEvent, Payload, SourceName, checked_name};
pub use ids::{DEFAULT_REGION, DEFAULT_TENANT, IdError, JobKey, RunId, enriched_trend_id};
pub use outcome::{
    CallAnswer, Claims, Effect, EffectResult, EmbeddingRecord, EmbeddingStatus, EnrichedTrend, Known,
    NearClaim, Outcome, PROVIDER_CALLS, Question, Report, TOOL_CALLS, Withdrawal, storable, takes_posts,
};
pub use provenance::{Actor, ChainLink, genesis, link_hash};
pub use run::{Lifecycle, RunState, UnknownName};
pub use trace::is_traceparent;
pub use trigger::{MAX_INPUT, OutsideEvent, TriggerEntry, trigger_input};
pub use usage::Usage;
pub use workers::WorkerType;
