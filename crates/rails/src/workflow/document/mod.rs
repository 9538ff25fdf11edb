//! The document as it is written. A key that is absent is left out of the stored form, so that a new key of the format
//! changes no version that is stored.

mod places;
mod read;
mod step;
mod target;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::compile::{AGENT, GENERIC, PUBLISHER};
use super::{Catalog, Fault, Faults, KnownOutlet, LifecycleTtl};
use crate::retries;

pub(crate) use places::{Places, escaped};
pub(crate) use read::{Read, Torn, of_text};
pub(crate) use step::{
    GateDocument, OperationDocument, OrchestrateDocument, ParallelDocument, StepDocument, StepTtlDocument,
};
pub(crate) use target::{BranchDocument, CONTINUE, JOIN, TargetDocument};

/// A workflow document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    pub(crate) name: String,
    pub(crate) version: u32,
    #[serde(default)]
    pub(crate) goal: String,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) inputs: Value,
    #[serde(default)]
    pub(crate) values: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) blackboard: Value,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) clusters: BTreeMap<String, ClusterDocument>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) content: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<LifecycleTtlDocument>,
    /// JSON Pointers into the blackboard, of what comes from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) untrusted: Option<Vec<String>>,
    pub(crate) steps: Vec<StepDocument>,
}

/// What the roles and tools of a group may do with the blackboard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterDocument {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_reads: Vec<String>,
    #[serde(default)]
    pub(crate) allowed_writes: Vec<String>,
    #[serde(default = "usual_ops")]
    pub(crate) allowed_ops: Vec<PatchOp>,
}

/// An operation of RFC 6902.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PatchOp {
    /// Adds a value, or replaces a member of an object.
    Add,
    /// Removes a value.
    Remove,
    /// Replaces a value that is there.
    Replace,
    /// Moves a value.
    Move,
    /// Copies a value.
    Copy,
    /// Compares a value; the whole patch is refused where it differs.
    Test,
}

fn usual_ops() -> Vec<PatchOp> {
    vec![PatchOp::Add, PatchOp::Replace, PatchOp::Test]
}

/// What may be spent; what is not named is not bounded here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BudgetDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cost: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time: Option<String>,
}

/// How long content may stay at each stage of its lifecycle.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LifecycleTtlDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) draft: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qa: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approved: Option<String>,
}

impl Document {
    pub(crate) fn stored(json: &str) -> Result<Self, Faults> {
        serde_json::from_str(json).map_err(|e| fault("the stored document", format!("cannot be read: {e}")))
    }

    /// Puts the overrides into the values; only values that the document has can be overridden.
    pub(crate) fn freeze(&mut self, overrides: &BTreeMap<String, Value>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (name, value) in overrides {
            let message = match self.values.get_mut(name) {
                Some(known) if same_type(known, value) => {
                    *known = value.clone();
                    continue;
                }
                Some(known) => format!("{value} is not of the type of the document's own {known}"),
                None => format!("the workflow `{}` has no such value", self.name),
            };
            faults.push(Fault::new(&format!("values.{name}"), message));
        }
        faults
    }

    /// A step whose worker acts outside has a side effect, unless the document gives a reason why it has none. An orchestrator
    /// has one where it, or a role of a cluster that it may call, acts outside.
    pub(crate) fn settle_effects(&mut self, catalog: &Catalog<'_>) {
        let clusters = &self.clusters;
        for it in self.steps.iter_mut().filter_map(|step| step.orchestrate.as_mut()) {
            let acts = |tool: &&String| !catalog.is_harmless(tool) && !it.acting_tools.contains(tool);
            let acting: Vec<String> = it.tools.iter().filter(acts).cloned().collect();
            it.acting_tools.extend(acting);
        }
        for step in self.steps.iter_mut().filter(|step| step.side_effect_reason.is_none()) {
            let generic = (step.worker == AGENT && step.orchestrate.is_none()).then_some(GENERIC);
            let called = step.orchestrate.iter().flat_map(|it| {
                let roles =
                    it.clusters.iter().filter_map(|name| clusters.get(name)).flat_map(|one| &one.roles);
                it.role.iter().chain(roles)
            });
            let mut roles = called.map(String::as_str).chain(step.role.as_deref().or(generic));
            let acts = roles.any(|role| catalog.acting_roles.contains(&role));
            step.side_effect |= acts;
        }
    }
}

impl Document {
    /// Content stays at no stage for longer than any outlet allows that it may be meant for.
    pub(crate) fn bound_stages(&mut self, catalog: &Catalog<'_>) {
        let publishing = self.steps.iter().filter(|step| step.worker == PUBLISHER);
        let bounds: Vec<LifecycleTtl> = publishing
            .filter_map(|step| {
                let named = step.with.get("outlet").and_then(Value::as_str);
                let meant =
                    |outlet: &&KnownOutlet<'_>| named.map_or(outlet.usual, |name| outlet.name == name);
                catalog.outlets.iter().find(meant).map(|outlet| outlet.ttl)
            })
            .filter(|ttl| *ttl != LifecycleTtl::default())
            .collect();
        for bound in bounds {
            let own = self.ttl.get_or_insert_default();
            tighten(&mut own.draft, bound.draft);
            tighten(&mut own.qa, bound.qa);
            tighten(&mut own.approved, bound.approved);
        }
    }
}

/// The shorter of the two holds. What is no duration is left as it is: the checks tell of it.
fn tighten(own: &mut Option<String>, bound: Option<Duration>) {
    let Some(bound) = bound else { return };
    let is_longer = |own: &str| retries::duration(own).is_some_and(|own| own > bound);
    if own.as_deref().is_none_or(is_longer) {
        *own = Some(format!("{}ms", bound.as_millis()));
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

pub(crate) fn fault(place: &str, message: String) -> Faults {
    Faults(vec![Fault::new(place, message)])
}
