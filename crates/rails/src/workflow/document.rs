//! The document as it is written.

use std::collections::BTreeMap;

use model::RunState;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fault, Faults, Target};
use crate::retries::RetriesDocument;

/// A workflow document.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) name: String,
    pub(super) version: u32,
    #[serde(default)]
    pub(super) goal: String,
    #[serde(default)]
    pub(super) values: BTreeMap<String, Value>,
    pub(super) steps: Vec<StepDocument>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepDocument {
    pub(super) id: String,
    pub(super) worker: String,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) branches: Vec<BranchDocument>,
    pub(super) on_success: TargetDocument,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) on_failure: Option<TargetDocument>,
    #[serde(default)]
    pub(super) retries: RetriesDocument,
    #[serde(default = "minute")]
    pub(super) deadline: String,
    #[serde(default = "day")]
    pub(super) escalation_due: String,
    #[serde(default)]
    pub(super) side_effect: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) with: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) approve: Option<Approve>,
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
pub(super) enum Approve {
    /// Leaving by `on_success` is an approval.
    ByRule,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BranchDocument {
    pub(super) when: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end: Option<RunState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) escalate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) question: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum TargetDocument {
    Step(String),
    End { end: RunState },
}

impl TargetDocument {
    pub(super) fn target(&self) -> Target {
        match self {
            Self::Step(id) => Target::Step(id.clone()),
            Self::End { end } => Target::End(*end),
        }
    }
}

impl BranchDocument {
    /// The one target that a branch must have.
    pub(super) fn target(&self) -> Result<Target, String> {
        match (&self.to, self.end, &self.reject, &self.escalate) {
            (Some(id), None, None, None) => Ok(Target::Step(id.clone())),
            (None, Some(end), None, None) => Ok(Target::End(end)),
            (None, None, Some(incident), None) => Ok(Target::Reject { incident: incident.clone() }),
            (None, None, None, Some(issue_type)) => Ok(Target::Escalate {
                issue_type: issue_type.clone(),
                question: self
                    .question
                    .clone()
                    .unwrap_or_else(|| format!("`{}` holds. What shall be done?", self.when)),
            }),
            _ => Err(format!("the branch `{}` needs exactly one of to, end, reject, escalate", self.when)),
        }
    }
}

impl Document {
    pub(super) fn parse(yaml: &str) -> Result<Self, Faults> {
        serde_saphyr::from_str(yaml).map_err(|e| fault("the document", format!("cannot be read: {e}")))
    }

    pub(super) fn stored(json: &str) -> Result<Self, Faults> {
        serde_json::from_str(json).map_err(|e| fault("the stored document", format!("cannot be read: {e}")))
    }

    /// Puts the overrides into the values; only values that the document has can be overridden.
    pub(super) fn freeze(mut self, overrides: &BTreeMap<String, Value>) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        for (name, value) in overrides {
            match self.values.get_mut(name) {
                Some(known) if same_type(known, value) => *known = value.clone(),
                Some(known) => faults.push(Fault {
                    place: format!("values.{name}"),
                    message: format!("{value} is not of the type of the document's own {known}"),
                }),
                None => faults.push(Fault {
                    place: format!("values.{name}"),
                    message: format!("the workflow `{}` has no such value", self.name),
                }),
            }
        }
        if faults.is_empty() { Ok(self) } else { Err(Faults(faults)) }
    }
}

fn same_type(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

pub(super) fn fault(place: &str, message: String) -> Faults {
    Faults(vec![Fault { place: place.to_owned(), message }])
}
