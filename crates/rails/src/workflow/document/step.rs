//! A step as it is written.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{BranchDocument, BudgetDocument, PatchOp, TargetDocument};
use crate::retries::RetriesDocument;
use crate::workflow::JoinRule;
use crate::workflow::compile::AGENT;

/// Ways that run side by side.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ParallelDocument {
    pub(crate) branches: Vec<String>,
    #[serde(default)]
    pub(crate) join: JoinRule,
}

/// A step at which a model, or without one a rule, says what is done next.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OrchestrateDocument {
    /// The agent's role; without one, a rule fills the first empty slot that its clusters can write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    pub(crate) clusters: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) tools: Vec<String>,
    /// Those of the tools that act on the world outside: all but those that are declared not to. Settled at registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) acting_tools: Vec<String>,
    /// The step at which quality is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) qa: Option<String>,
    #[serde(default = "usual_calls")]
    pub(crate) max_calls: u32,
    #[serde(default = "usual_loops")]
    pub(crate) max_loops: u32,
}

fn usual_calls() -> u32 {
    20
}

fn usual_loops() -> u32 {
    3
}

/// How long a job may wait for a worker, and how long a step may take with all its tries.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepTtlDocument {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) running: Option<String>,
}

/// Gate policies.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GatesDocument {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) before: Vec<GateDocument>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) after: Vec<GateDocument>,
}

/// A gate policy by its name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged, expecting = "the name of a gate policy, or `{ optional: NAME }`")]
pub(crate) enum GateDocument {
    Required(String),
    Optional(OptionalGateDocument),
}

/// One that counts where a policy document has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OptionalGateDocument {
    pub(crate) optional: String,
}

impl fmt::Display for GateDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Required(name) => f.write_str(name),
            Self::Optional(gate) => write!(f, "{} (optional)", gate.optional),
        }
    }
}

impl GateDocument {
    /// Its name, where there has to be such a policy.
    pub(crate) fn required(&self) -> Option<&str> {
        match self {
            Self::Required(name) => Some(name),
            Self::Optional(_) => None,
        }
    }
}

/// One operation of the patch that a step's output becomes.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OperationDocument {
    pub(crate) op: PatchOp,
    pub(crate) path: String,
    /// A CEL expression, or a JSON Pointer into the output where it begins with `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<String>,
    /// Of `move` and `copy`: the place on the blackboard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepDocument {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) worker: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parallel: Option<ParallelDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) orchestrate: Option<OrchestrateDocument>,
    #[serde(default)]
    pub(crate) description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) role: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cluster: Option<String>,
    /// A CEL expression, or a JSON Pointer into the blackboard, by the input's key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) input: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) output_schema: Value,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) patch: Vec<OperationDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) skip_if_exists: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_visits: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_exhausted: Option<TargetDocument>,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub(crate) fallback: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compensate_with: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetDocument>,
    #[serde(default)]
    pub(crate) branches: Vec<BranchDocument>,
    pub(crate) on_success: TargetDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_failure: Option<TargetDocument>,
    #[serde(default)]
    pub(crate) retries: RetriesDocument,
    #[serde(default = "minute")]
    pub(crate) deadline: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<StepTtlDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) on_timeout: Option<TargetDocument>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) gates: Option<GatesDocument>,
    #[serde(default = "day")]
    pub(crate) escalation_due: String,
    #[serde(default)]
    pub(crate) side_effect: bool,
    /// Why a step without a side effect has none, where its worker might act outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) side_effect_reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) with: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) approve: Option<Approve>,
}

impl StepDocument {
    /// Whether it spends tokens and money.
    pub(crate) fn spends(&self) -> bool {
        self.orchestrate.is_some() || self.worker == AGENT
    }
}

fn minute() -> String {
    "60s".to_owned()
}

fn day() -> String {
    "24h".to_owned()
}

/// How a step gives leave to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Approve {
    /// Leaving by `on_success` is an approval.
    ByRule,
}
