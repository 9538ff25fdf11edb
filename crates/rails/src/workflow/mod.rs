//! Workflows: documents that are checked as a whole, frozen, and pinned by the runs that began with them.

mod builtin;
mod cases;
mod catalog;
mod check;
mod compile;
mod diff;
mod differences;
pub(crate) mod document;
mod expression;
mod fault;
pub(crate) mod flow;
mod given;
mod inputs;
mod limits;
mod transform;
mod worst;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{RunState, WorkerType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::condition::Condition;
use crate::{Budget, Capability, Retries};

pub use builtin::{BUILTINS, Builtin, WRITE_WORKFLOW, builtin, builtin_trend, linear};
pub use cases::{CaseResult, run_cases};
pub use catalog::{Catalog, KnownGate, KnownOutlet, RECALL};
pub(crate) use compile::AGENT;
pub use document::PatchOp;
pub(crate) use expression::Expression;
pub use fault::{Fault, Faults};
pub use limits::{Callable, LifecycleTtl, Orchestrate, StepGate, StepTtl};
pub use worst::WorstCase;

/// A compiled workflow version.
#[derive(Debug)]
pub struct Workflow {
    name: String,
    goal: String,
    version: String,
    document: String,
    values: Value,
    first: String,
    steps: BTreeMap<String, Step>,
    forks: BTreeMap<String, Fork>,
    content: BTreeMap<String, Expression>,
    defaults: serde_json::Map<String, Value>,
    blackboard: Option<jsonschema::Validator>,
    budget: Budget,
    ttl: LifecycleTtl,
    untrusted: Vec<String>,
    keeps_manifest: bool,
}

/// A step that opens branches and goes on when their ends satisfy its rule. The rails do it themselves.
#[derive(Debug)]
pub struct Fork {
    /// Its id.
    pub id: String,
    /// Its branches: their numbers, from 1 on and unique in the workflow, and their first steps.
    pub branches: Vec<(i32, String)>,
    /// When it goes on.
    pub join: JoinRule,
    /// How often a run may come here.
    pub max_visits: Option<u32>,
    pub(crate) on_exhausted: Option<Target>,
    pub(crate) on_success: Target,
    pub(crate) on_failure: Option<Target>,
}

/// How many branches must succeed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRule {
    /// Every one.
    #[default]
    All,
    /// One.
    Any,
    /// This many.
    AtLeast(u32),
}

/// An operation of the patch that a step's output becomes.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) op: PatchOp,
    pub(crate) path: String,
    pub(crate) value: Option<Expression>,
    pub(crate) from: Option<String>,
}

/// A step.
#[derive(Debug)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// What it is for, in words.
    pub description: String,
    /// The worker type that does it.
    pub worker: WorkerType,
    /// How often it is tried.
    pub retries: Retries,
    /// How long its handler may take for one job.
    pub deadline: Duration,
    /// How long a person has to decide what it escalates.
    pub escalation_due: Duration,
    /// How long its job may wait for a worker, and how long it may take with all its tries.
    pub ttl: StepTtl,
    /// Gate policies that a run passes before it comes here.
    pub gates_before: Vec<StepGate>,
    /// Gate policies that its output passes before the run goes on.
    pub gates_after: Vec<StepGate>,
    /// Whether it acts on the world outside.
    pub side_effect: bool,
    /// Why it has no side effect though its worker might: shown at activation.
    pub side_effect_reason: Option<String>,
    /// Options that its worker reads, such as `outlet: site`.
    pub with: Arc<BTreeMap<String, Value>>,
    /// Who of the worker type does it: a role that the agent's configuration knows.
    pub role: Option<String>,
    /// Of a step at which it is said what is done next: within which bounds.
    pub orchestrate: Option<Orchestrate>,
    /// The cluster it belongs to.
    pub cluster: Option<String>,
    /// What it may read and write of the blackboard; nothing where it names no cluster.
    pub capability: Option<Capability>,
    /// JSON Schema of its output; null where anything is taken.
    pub output_schema: Value,
    /// How often a run may come here.
    pub max_visits: Option<u32>,
    /// What it may spend.
    pub budget: Budget,
    /// The step that undoes it when the run fails later.
    pub compensate_with: Option<String>,
    pub(crate) input: BTreeMap<String, Expression>,
    pub(crate) patch: Vec<Operation>,
    pub(crate) skip_if_exists: Option<String>,
    pub(crate) on_exhausted: Option<Target>,
    pub(crate) fallback: Value,
    pub(crate) approves: bool,
    pub(crate) branches: Vec<Branch>,
    pub(crate) on_success: Target,
    pub(crate) on_failure: Option<Target>,
    pub(crate) on_timeout: Option<Target>,
    pub(crate) condition_inputs: Vec<String>,
}

/// A condition and where a run goes when it holds.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) when: Condition,
    pub(crate) then: Target,
}

/// Where a run can go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    Step(String),
    /// The branch is done.
    Join,
    /// As `on_success`, with the step's fallback as its output.
    Continue,
    End(RunState),
    Reject {
        incident: String,
    },
    Escalate {
        issue_type: String,
        question: String,
    },
}

impl Workflow {
    /// Whether a run can get from one step to another, or stands there already.
    #[must_use]
    pub fn leads_to(&self, from: &str, to: &str) -> bool {
        self.ahead(from).contains(to)
    }

    /// The step or fork and all that a run can get to from there, without going into branches.
    pub(crate) fn ahead<'a>(&'a self, from: &'a str) -> std::collections::BTreeSet<&'a str> {
        let (mut seen, mut ahead) = (std::collections::BTreeSet::new(), vec![from]);
        while let Some(id) = ahead.pop() {
            if !seen.insert(id) {
                continue;
            }
            let targets: Vec<&Target> = match (self.steps.get(id), self.forks.get(id)) {
                (Some(step), _) => step.targets().chain(&step.on_exhausted).collect(),
                (None, Some(fork)) => {
                    [&fork.on_success].into_iter().chain(&fork.on_failure).chain(&fork.on_exhausted).collect()
                }
                (None, None) => vec![],
            };
            ahead.extend(targets.into_iter().filter_map(|target| match target {
                Target::Step(id) => Some(id.as_str()),
                _ => None,
            }));
        }
        seen
    }

    /// The branch that a step or fork belongs to; 0 where it is the run's own.
    pub(crate) fn lane(&self, id: &str) -> i32 {
        let mut branches = self.forks.values().flat_map(|fork| &fork.branches);
        branches.find(|(_, first)| self.ahead(first).contains(id)).map_or(0, |(number, _)| *number)
    }

    /// Reads a document, freezes its values with `overrides` in them, checks it as a whole and compiles it.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong, at once.
    pub fn register(
        yaml: &str,
        overrides: &BTreeMap<String, Value>,
        catalog: &Catalog<'_>,
    ) -> Result<Self, Faults> {
        let document::Read { document, places, mut faults, torn } = document::Document::read(yaml)?;
        let Some(mut document) = document else { return Err(Faults(faults)) };
        faults.extend(document.freeze(overrides));
        document.settle_effects(catalog);
        document.bound_stages(catalog);
        faults.extend(check::check(&document, &places, torn.as_ref(), catalog));
        if faults.is_empty() { compile::compile(document) } else { Err(Faults(faults)) }
    }

    /// Reads a frozen document that was checked when it was registered.
    ///
    /// # Errors
    /// [`Faults`] where a build of another version wrote it, or it is not what its version says.
    pub fn from_stored(version: &str, document: &str) -> Result<Self, Faults> {
        let workflow = compile::compile(document::Document::stored(document)?)?;
        if workflow.version == version {
            return Ok(workflow);
        }
        let message = format!("it hashes to {}", workflow.version);
        Err(Faults(vec![Fault::new(version, message)]))
    }

    /// Compiles a document that nobody checked: what the rails do must not hang on the checks.
    #[cfg(test)]
    pub(crate) fn unchecked(yaml: &str) -> Self {
        compile::compile(document::Document::read(yaml).unwrap().document.unwrap()).unwrap()
    }

    /// `name@version-hash`: what runs are pinned to (`pipeline_version`).
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The frozen document, canonical JSON.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is for, in words.
    #[must_use]
    pub fn goal(&self) -> &str {
        &self.goal
    }

    /// Where runs begin.
    #[must_use]
    pub fn first_step(&self) -> &str {
        &self.first
    }

    /// Whether a run may not come to its first step, or passes it: there are gates before it, what it makes may be there, or
    /// there is nothing to spend on it.
    #[must_use]
    pub fn looks_before_it_begins(&self) -> bool {
        self.step(&self.first).is_some_and(|step| {
            let nothing = step.budget.both(&self.budget).exhausted().is_some();
            nothing || !step.gates_before.is_empty() || step.skip_if_exists.is_some()
        })
    }

    /// A step.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.steps.get(id)
    }

    /// Every step.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.values()
    }

    /// The artifacts that a step's conditions read beside its own output.
    #[must_use]
    pub fn condition_inputs(&self, step: &str) -> &[String] {
        self.steps.get(step).map_or(&[], |step| &step.condition_inputs)
    }

    /// The steps that a step can lead to.
    #[must_use]
    pub fn next_steps(&self, step: &str) -> Vec<&str> {
        let Some(step) = self.steps.get(step) else { return vec![] };
        step.targets()
            .filter_map(|target| match target {
                Target::Step(id) => Some(id.as_str()),
                _ => None,
            })
            .collect()
    }

    /// A step that opens branches.
    #[must_use]
    pub fn fork(&self, id: &str) -> Option<&Fork> {
        self.forks.get(id)
    }

    /// Every step that opens branches.
    pub fn forks(&self) -> impl Iterator<Item = &Fork> {
        self.forks.values()
    }

    /// Whether its runs have a manifest: a blackboard, counts of visits, branches, budgets. The trend flow has none.
    #[must_use]
    pub fn keeps_manifest(&self) -> bool {
        self.keeps_manifest
    }

    /// What a run may spend as a whole.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// The blackboard of a run that begins with these inputs.
    pub(crate) fn first_board(&self, inputs: Value) -> Value {
        let mut board = self.defaults.clone();
        board.insert("inputs".to_owned(), inputs);
        Value::Object(board)
    }

    /// What the blackboard must be.
    pub(crate) fn blackboard(&self) -> Option<&jsonschema::Validator> {
        self.blackboard.as_ref()
    }

    /// How long its content may stay at each stage.
    #[must_use]
    pub fn ttl(&self) -> &LifecycleTtl {
        &self.ttl
    }

    /// The least time after which a run may be over that no worker took.
    #[must_use]
    pub fn first_bound(&self) -> Option<std::time::Duration> {
        let waiting = self.step(&self.first).and_then(|step| step.ttl.waiting);
        waiting.into_iter().chain(self.ttl.draft).min()
    }

    /// JSON Pointers into the blackboard, of what comes from outside and is trusted only past a gate.
    #[must_use]
    pub fn untrusted(&self) -> &[String] {
        &self.untrusted
    }

    /// Whether all that a run is started with counts as coming from outside.
    #[must_use]
    pub fn distrusts_inputs(&self) -> bool {
        self.untrusted.iter().any(|place| matches!(place.as_str(), "" | "/inputs"))
    }

    /// Whether its content is made of the blackboard.
    #[must_use]
    pub fn projects(&self) -> bool {
        !self.content.is_empty()
    }

    pub(crate) fn content(&self) -> &BTreeMap<String, Expression> {
        &self.content
    }

    pub(crate) fn values(&self) -> &Value {
        &self.values
    }
}

impl Step {
    /// What whoever says what is done next may see: its own cluster's part of the blackboard, or without one what those that
    /// it may call see.
    pub(crate) fn readers(&self) -> Vec<&Capability> {
        match (&self.capability, &self.orchestrate) {
            (Some(own), _) => vec![own],
            (None, Some(it)) => it.clusters.iter().map(|callable| &callable.capability).collect(),
            (None, None) => vec![],
        }
    }

    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.branches.iter().map(|branch| &branch.then).chain([&self.on_success]).chain(&self.on_failure)
    }
}
