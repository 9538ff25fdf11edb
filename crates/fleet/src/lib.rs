//! The worker runtime: everything a worker process does that is not its brain.
//!
//! A process is started by [`launch`], which reads the configuration, checks the servers and serves health and metrics.
//! A worker then calls [`serve`] with a [`Handler`]: jobs are read, loaded, handled, committed and handed over as
//! ARCHITECTURE.md, "The hand-over protocol", says. A handler sees a job and returns an outcome; it sees neither Redis nor
//! PostgreSQL nor the next step.

mod admin;
mod brain;
mod breakers;
pub mod config;
mod door;
pub mod failpoint;
mod fault;
mod handler;
mod intents;
mod jobs;
mod launch;
mod metrics;
mod pauses;
mod replay;
mod restore;
pub mod spans;
mod telemetry;
mod worker;
mod workflows;

pub use breakers::Breakers;
pub use config::Settings;
pub use door::{Arrival, Door, DoorError};
pub use fault::{Fault, FaultKind};
pub use handler::{Handler, JobContext, Needs};
pub use intents::Intents;
pub use jobs::{add_first_jobs, add_job, resume};
pub use launch::{Process, launch};
pub use metrics::{CutLabels, FiringLabels, JobLabels, Metrics, NotificationLabels};
pub use pauses::Pauses;
pub use replay::{Replayed, Replayer, source_letter};
pub use restore::refuse_unsaid_restore;

pub use worker::serve;
pub use workflows::Workflows;
