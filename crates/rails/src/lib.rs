//! The deterministic skeleton: workflows, the transition function, decisions, policy. Pure: no clock, no I/O, no
//! randomness. The same input takes the same route.
//!
//! A [`Workflow`] is registered from a YAML document, checked as a whole, and frozen. [`advance`] takes where a run
//! stands and what happened, and says where it goes; [`decide`] does so for a person's decision.

mod condition;
mod decision;
mod facts;
mod glob;
mod policy;
mod retries;
mod transition;
mod trigger;
mod workflow;

pub use decision::{Decision, Refusal, Settled, decide, settled};
pub use facts::Facts;
pub use glob::glob_matches;
pub use policy::{Policy, PolicyError, Violation};
pub use retries::{Backoff, Retries};
pub use transition::{
    Approval, Basis, Delay, Escalation, GateDecision, Impossible, Incident, Signal, Standing, Transition,
    advance, bug,
};
pub use trigger::{
    Circumstances, Conclusion, FiringRule, LONGEST_CHAIN, LastRun, Overlap, Projection, Watch, conclude,
};
pub use workflow::{Catalog, Fault, Faults, Step, Workflow, builtin_trend};

/// The issue type of an escalation that a person ends by settling the publication.
pub const PUBLICATION_UNKNOWN: &str = "publication_unknown";
