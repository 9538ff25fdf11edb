//! What an orchestrator may say: one structured call. Anything else is refused.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The longest instruction or reason, in characters.
const LONGEST_WORDS: usize = 4000;
/// The longest call, as JSON in bytes.
const LONGEST_CALL: usize = 256 << 10;

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case", deny_unknown_fields)]
pub enum Call {
    /// A cluster is to do something.
    #[serde(rename = "call_cluster")]
    Cluster {
        /// Which.
        cluster: String,
        /// What, in words.
        #[serde(default)]
        instruction: String,
        /// Which of its roles; the first where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        role: Option<String>,
    },
    /// A tool is to be used.
    #[serde(rename = "call_tool")]
    Tool {
        /// Which.
        tool: String,
        /// With what.
        #[serde(default)]
        arguments: Value,
    },
    /// The blackboard is to be changed.
    ProposePatch {
        /// RFC 6902.
        patch: Value,
    },
    /// Quality is to be checked.
    RequestQa {},
    /// Nothing more is to be done here.
    Stop {
        /// Why.
        reason: String,
    },
}

impl Call {
    /// Reads what was said.
    ///
    /// # Errors
    /// Why it is no call.
    pub(crate) fn read(said: &Value) -> Result<Self, String> {
        let Value::Object(_) = said else { return Err("it is no call: a call is a JSON object".to_owned()) };
        if said.to_string().len() > LONGEST_CALL {
            return Err(format!("a call has at most {LONGEST_CALL} bytes"));
        }
        let call = Self::deserialize(said).map_err(|error| format!("it is no call: {error}"))?;
        let words = match &call {
            Self::Cluster { instruction, .. } => instruction,
            Self::Stop { reason } => reason,
            Self::Tool { .. } | Self::ProposePatch { .. } | Self::RequestQa {} => return Ok(call),
        };
        if words.chars().count() > LONGEST_WORDS {
            return Err(format!("its words are longer than {LONGEST_WORDS} characters"));
        }
        Ok(call)
    }

    /// The call in a few words, for people and provenance.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Cluster { cluster, .. } => format!("call_cluster {cluster}"),
            Self::Tool { tool, .. } => format!("call_tool {tool}"),
            Self::ProposePatch { .. } => "propose_patch".to_owned(),
            Self::RequestQa {} => "request_qa".to_owned(),
            Self::Stop { reason } => format!("stop: {reason}"),
        }
    }

    /// Whether it counts against the calls of a visit.
    pub(crate) fn counts(&self) -> bool {
        matches!(self, Self::Cluster { .. } | Self::Tool { .. } | Self::ProposePatch { .. })
    }

    /// JSON Schema of what may be said, with what there is to be called.
    pub(super) fn schema(clusters: &[&str], tools: &[String], qa: bool) -> Value {
        let mut calls = vec!["propose_patch", "stop"];
        if !clusters.is_empty() {
            calls.push("call_cluster");
        }
        if !tools.is_empty() {
            calls.push("call_tool");
        }
        if qa {
            calls.push("request_qa");
        }
        json!({
            "type": "object",
            "required": ["call"],
            "additionalProperties": false,
            "properties": {
                "call": { "enum": calls },
                "cluster": { "type": "string", "description": format!("of call_cluster: one of {}", clusters.join(", ")) },
                "instruction": { "type": "string", "description": "of call_cluster: what it is to do" },
                "role": { "type": "string", "description": "of call_cluster: which of its roles, where it has several" },
                "tool": { "type": "string", "description": format!("of call_tool: one of {}", tools.join(", ")) },
                "arguments": { "type": "object", "description": "of call_tool" },
                "patch": { "type": "array", "items": { "type": "object" }, "description": "of propose_patch: RFC 6902" },
                "reason": { "type": "string", "description": "of stop: why" },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_read_and_whatever_else_is_said_is_none() {
        for said in [
            json!({ "call": "call_cluster", "cluster": "headline", "instruction": "shorter" }),
            json!({ "call": "call_tool", "tool": "recall", "arguments": { "text": "tides" } }),
            json!({ "call": "propose_patch", "patch": [] }),
            json!({ "call": "request_qa" }),
            json!({ "call": "stop", "reason": "all is there" }),
        ] {
            let call = Call::read(&said).unwrap();
            assert_eq!(serde_json::to_value(&call).unwrap(), said);
        }
        for said in [
            json!("publish it now"),
            json!({ "text": "I think we should publish." }),
            json!({ "call": "publish" }),
            json!({ "call": "stop" }),
            json!({ "call": "request_qa", "approve": true }),
            json!({ "call": "stop", "reason": "x", "then": "publish" }),
            json!({ "call": "call_cluster", "cluster": ["a", "b"] }),
            json!([{ "call": "stop", "reason": "x" }]),
            json!({ "call": "stop", "reason": "x".repeat(LONGEST_WORDS + 1) }),
            Value::Null,
        ] {
            assert!(Call::read(&said).is_err(), "{said}");
        }
    }
}
