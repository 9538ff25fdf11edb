//! What a document bounds beside budgets and visits: time to live, and what an orchestrator may do.

use std::time::Duration;

use model::Lifecycle;

use crate::Capability;

/// A gate policy that a step names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepGate {
    /// Its name.
    pub name: String,
    /// Whether it counts only where a policy document has it.
    pub optional: bool,
}

/// How long a step may take; what is absent is not bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepTtl {
    /// From the job's being due until a worker has it. A person's time and a gate's do not count.
    pub waiting: Option<Duration>,
    /// From there on, with all tries and the pauses between them.
    pub running: Option<Duration>,
}

impl StepTtl {
    /// Whether it bounds anything.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.waiting.is_some() || self.running.is_some()
    }
}

impl LifecycleTtl {
    /// How long content may stay at this stage.
    #[must_use]
    pub fn of(&self, stage: Lifecycle) -> Option<Duration> {
        match stage {
            Lifecycle::Draft => self.draft,
            Lifecycle::Qa => self.qa,
            Lifecycle::Approved => self.approved,
            _ => None,
        }
    }
}

/// How long content may stay at a stage of its lifecycle; what is absent is not bounded. The time during which a gate or a
/// person is awaited does not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LifecycleTtl {
    /// As a draft.
    pub draft: Option<Duration>,
    /// In quality assurance.
    pub qa: Option<Duration>,
    /// Approved, and not yet published.
    pub approved: Option<Duration>,
}

/// What may be called at a step that says what is done next, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orchestrate {
    /// The agent's role that decides; without one, a rule fills the first empty slot that the clusters can write.
    pub role: Option<String>,
    /// The clusters that may be called.
    pub clusters: Vec<Callable>,
    /// The tools that may be called.
    pub tools: Vec<String>,
    /// Those of them that act on the world outside: a person approves each call, which is then claimed in the ledger.
    pub acting_tools: Vec<String>,
    /// The step at which quality is checked.
    pub qa: Option<String>,
    /// Calls in one visit of the step.
    pub max_calls: u32,
    /// Rounds through quality assurance.
    pub max_loops: u32,
}

/// A cluster that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callable {
    /// Its name.
    pub name: String,
    /// Its roles; none where any may do it.
    pub roles: Vec<String>,
    /// What it may do with the blackboard.
    pub capability: Capability,
}
