//! Where a step leads, as it is written.

use model::RunState;
use serde::{Deserialize, Serialize};

use crate::workflow::Target;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BranchDocument {
    pub(crate) when: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end: Option<RunState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reject: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) escalate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "write a step's id, `join`, `continue` (of on_failure and on_timeout), or `{ end: STATE }`"
)]
pub(crate) enum TargetDocument {
    Step(String),
    End { end: RunState },
}

/// The way out of a branch of a `parallel` step.
pub(crate) const JOIN: &str = "join";
/// As `on_failure`: go on with the step's `fallback`.
pub(crate) const CONTINUE: &str = "continue";

impl TargetDocument {
    pub(crate) fn target(&self) -> Target {
        match self {
            Self::Step(id) if id == JOIN => Target::Join,
            Self::Step(id) if id == CONTINUE => Target::Continue,
            Self::Step(id) => Target::Step(id.clone()),
            Self::End { end } => Target::End(*end),
        }
    }
}

impl BranchDocument {
    /// The one target that a branch must have.
    pub(crate) fn target(&self) -> Result<Target, String> {
        match (&self.to, self.end, &self.reject, &self.escalate) {
            (Some(id), None, None, None) => Ok(TargetDocument::Step(id.clone()).target()),
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
