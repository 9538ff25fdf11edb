//! The deterministic skeleton: workflows, the transition function, decisions, gates, policy. Pure: no clock, no I/O, no
//! randomness. The same input takes the same route.
//!
//! A [`Workflow`] is registered from a YAML document, checked as a whole, and frozen. [`advance`] takes where a run
//! stands and what happened, and says where it goes; [`decide`] does so for a person's decision.

mod around;
mod blame;
mod board;
mod budget;
mod carry;
mod clocks;
mod condition;
mod decision;
mod facts;
mod fit;
mod gate;
mod glob;
mod graph;
mod issue;
mod memory;
mod orchestration;
mod policy;
mod retries;
mod taint;
mod terms;
mod transition;
mod trigger;
mod workflow;

pub use around::{Around, Spending, Wants};
pub use blame::{Deed, Touch, blame};
pub use board::{Capability, LARGEST_BOARD, MOST_OPERATIONS, propose, view};
pub use budget::{Allowance, Budget};
pub use carry::{Carried, carried, fits};
pub use clocks::{Clock, Clocks, Overdue, StageClock, StepClock};
pub use decision::{Asked, Decision, Refusal, Settled, decide, settled};
pub use facts::Facts;
pub use fit::{Candidate, FITS, best_fit, ranked};
pub use gate::{
    Answer, BudgetScope, CorridorFacts, DayFacts, Evaluation, GATE_ERROR, Gate, GateError, GateInput,
    GatePolicies, Gated, LONGEST_WINDOW, Ruling, answered, before, gate_of,
};
pub use glob::glob_matches;
pub use graph::{Graph, Node, NodeKind, Way};
pub use memory::{BranchState, Ending, Leaving, Memory};
pub use orchestration::{Call, Charge, Choice, Orchestration, Past, shown};
pub use policy::{Policy, PolicyError, Violation};
pub use retries::{Backoff, Retries};
pub use transition::{
    Approval, Basis, Beyond, Delay, Escalation, GateDecision, Impossible, Incident, Patched, Signal,
    Standing, Transition, advance, bug,
};
pub use trigger::{
    CatchUp, Circumstances, Conclusion, FiringRule, LONGEST_CHAIN, Overlap, Projection, Watch, conclude,
};
pub use workflow::{
    BUILTINS, Builtin, Callable, CaseResult, Catalog, Fault, Faults, Fork, JoinRule, KnownGate, KnownOutlet,
    LifecycleTtl, Orchestrate, PatchOp, RECALL, Step, StepGate, StepTtl, WRITE_WORKFLOW, Workflow, WorstCase,
    builtin, builtin_trend, linear, run_cases,
};

/// The issue type of an escalation that a person ends by settling the publication.
pub const PUBLICATION_UNKNOWN: &str = "publication_unknown";
