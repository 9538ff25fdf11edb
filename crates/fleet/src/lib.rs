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
mod declared;
mod door;
pub mod failpoint;
mod fault;
mod handler;
mod intents;
mod jobs;
mod launch;
mod manifests;
mod metrics;
mod outlets;
mod pauses;
mod registrar;
mod replay;
mod restore;
mod roles;
pub mod spans;
mod successors;
mod telemetry;
mod tools;
mod work_orders;
mod worker;
mod workflows;

pub use breakers::Breakers;
pub use config::Settings;
pub use declared::Declared;
pub use door::{Arrival, Door, DoorError};
pub use fault::{Fault, FaultKind};
pub use handler::{Handler, JobContext, Needs, Task};
pub use intents::Intents;
pub use jobs::{add_first_jobs, add_job, set_going};
pub use launch::{Process, launch};
pub use manifests::{memory, remember};
pub use metrics::{
    CutLabels, FiringLabels, JobLabels, Metrics, NotificationLabels, ProviderLabels, StepLabels, WorkerLabels,
};
pub use outlets::{FILES_OUTLET, KnownOutlets, StageBounds};
pub use pauses::Pauses;
pub use record::BreakerKind;
pub use registrar::{REGISTRAR, Registrar};
pub use replay::{Replayed, Replayer, source_letter};
pub use restore::refuse_unsaid_restore;
pub use roles::{BUILT_IN_ROLES, Roles};
pub use successors::{Rerun, Successors};
pub use tools::KnownTools;

pub use work_orders::{WorkOrder, WorkOrders};
pub use worker::serve;
pub use workflows::Workflows;
