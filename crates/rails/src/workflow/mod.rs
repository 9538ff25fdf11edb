//! Workflows: documents that are checked as a whole, frozen, and pinned by the runs that began with them.

mod check;
mod compile;
mod document;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::{RunState, WorkerType};
use serde_json::Value;

use crate::Retries;
use crate::condition::Condition;

/// The built-in workflow of the trend flow.
#[must_use]
pub fn builtin_trend() -> &'static str {
    include_str!("../../workflows/trend.yaml")
}

/// What exists outside a document.
#[derive(Debug, Clone, Copy)]
pub struct Catalog<'a> {
    /// The worker types.
    pub workers: &'a [&'a str],
}

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where: a step's id, or the place in the text.
    pub place: String,
    /// What is wrong; where a path matters, with the path.
    pub message: String,
}

/// Everything that is wrong with a document. Permanent: a person must change it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let newline = if index == 0 { "" } else { "\n" };
            write!(f, "{newline}  {}: {}", fault.place, fault.message)?;
        }
        Ok(())
    }
}

/// A compiled workflow version.
#[derive(Debug)]
pub struct Workflow {
    name: String,
    version: String,
    document: String,
    values: Value,
    first: String,
    steps: BTreeMap<String, Step>,
}

/// A step.
#[derive(Debug)]
pub struct Step {
    /// Its id.
    pub id: String,
    /// The worker type that does it.
    pub worker: WorkerType,
    /// How often it is tried.
    pub retries: Retries,
    /// How long its handler may take for one job.
    pub deadline: Duration,
    /// How long a person has to decide what it escalates.
    pub escalation_due: Duration,
    /// Whether it acts on the world outside.
    pub side_effect: bool,
    /// Options that its worker reads, such as `outlet: site`.
    pub with: Arc<BTreeMap<String, Value>>,
    pub(crate) approves: bool,
    pub(crate) branches: Vec<Branch>,
    pub(crate) on_success: Target,
    pub(crate) on_failure: Option<Target>,
    pub(crate) condition_inputs: Vec<String>,
}

/// A condition and where a run goes when it holds.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) when: Condition,
    pub(crate) then: Target,
}

/// Where a run can go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Step(String),
    End(RunState),
    Reject { incident: String },
    Escalate { issue_type: String, question: String },
}

impl Workflow {
    /// Whether a run can get from one step to another, or stands there already.
    #[must_use]
    pub fn leads_to(&self, from: &str, to: &str) -> bool {
        let (mut seen, mut ahead) = (std::collections::BTreeSet::new(), vec![from]);
        while let Some(id) = ahead.pop() {
            if id == to {
                return true;
            }
            let Some(step) = self.steps.get(id).filter(|_| seen.insert(id)) else { continue };
            let targets = step.branches.iter().map(|branch| &branch.then);
            ahead.extend(targets.chain([&step.on_success]).chain(&step.on_failure).filter_map(|target| {
                match target {
                    Target::Step(id) => Some(id.as_str()),
                    _ => None,
                }
            }));
        }
        false
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
        let document = document::Document::parse(yaml)?.freeze(overrides)?;
        check::check(&document, catalog)?;
        compile::compile(document)
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
        Err(Faults(vec![Fault { place: version.to_owned(), message }]))
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

    /// Where runs begin.
    #[must_use]
    pub fn first_step(&self) -> &str {
        &self.first
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

    pub(crate) fn values(&self) -> &Value {
        &self.values
    }
}

impl Step {
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.branches.iter().map(|branch| &branch.then).chain([&self.on_success]).chain(&self.on_failure)
    }
}
