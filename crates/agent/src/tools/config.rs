//! The section `tools`.

use std::collections::BTreeMap;
use std::time::Duration;

use calls::Secret;
use fleet::Fault;
use providers::{CommandConfig, HttpConfig, ToolConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Which tools there are, beside the built-in `recall`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Tools by name.
    pub registry: BTreeMap<String, ToolSection>,
    /// MCP servers by name; what tools they have they are asked. A tool of theirs is called `SERVER.TOOL`.
    pub servers: BTreeMap<String, ServerSection>,
}

/// A tool, and exactly one of its kinds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ToolSection {
    /// What it does, for those who may call it.
    pub description: String,
    /// JSON Schema of its arguments.
    pub arguments: Value,
    /// Whether it acts on the world outside. Each call then needs a person's leave.
    pub side_effect: bool,
    /// Why it does not.
    pub side_effect_reason: Option<String>,
    /// How long one call may take.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
    /// Calls in a minute that one process makes, at most.
    #[serde(deserialize_with = "fleet::config::positive")]
    pub calls_per_minute: u32,
    /// A tool of an MCP server.
    pub mcp: Option<ToolConfig>,
    /// An address, asked as a worker is: docs/worker-contract.md.
    pub http: Option<HttpConfig>,
    /// A program of this machine.
    pub command: Option<CommandConfig>,
}

impl Default for ToolSection {
    fn default() -> Self {
        Self {
            description: String::new(),
            arguments: Value::Null,
            side_effect: true,
            side_effect_reason: None,
            timeout: Duration::from_secs(20),
            calls_per_minute: 60,
            mcp: None,
            http: None,
            command: None,
        }
    }
}

/// An MCP server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSection {
    /// A program that speaks MCP over its standard input and output, with its arguments.
    pub command: Vec<String>,
    /// Environment of that program, beside PATH, HOME, LANG, TMPDIR and TZ.
    pub environment: BTreeMap<String, String>,
    /// The address of a server that speaks streamable HTTP, instead of a program.
    pub url: Option<String>,
    /// Its bearer token.
    pub token: Secret,
    /// Those of its tools that do not act on the world outside, each with the reason.
    pub harmless: BTreeMap<String, String>,
    /// How long one call may take.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
    /// Calls in a minute of one tool that one process makes, at most.
    #[serde(deserialize_with = "fleet::config::positive")]
    pub calls_per_minute: u32,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            environment: BTreeMap::new(),
            url: None,
            token: Secret::default(),
            harmless: BTreeMap::new(),
            timeout: Duration::from_secs(20),
            calls_per_minute: 60,
        }
    }
}

impl Section {
    /// # Errors
    /// [`Fault`] of kind usage: a tool without a side effect has no reason, or a name is taken.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        for (name, tool) in &self.registry {
            let reason = tool.side_effect_reason.as_deref().unwrap_or_default().trim();
            if tool.side_effect == reason.is_empty() {
                continue;
            }
            let wrong = if tool.side_effect {
                "gives a reason why it has no side effect, and has one"
            } else {
                "is said to have no side effect; give `side_effect_reason`"
            };
            return Err(Fault::usage(format!("tools.registry.{name} {wrong}")));
        }
        let unexplained = self.servers.iter().flat_map(|(server, section)| {
            section
                .harmless
                .iter()
                .filter(|(_, why)| why.trim().is_empty())
                .map(move |(tool, _)| (server, tool))
        });
        if let Some((server, tool)) = unexplained.into_iter().next() {
            return Err(Fault::usage(format!("tools.servers.{server}.harmless.{tool} has no reason")));
        }
        if self.registry.contains_key(rails::RECALL) {
            return Err(Fault::usage(format!("tools.registry.{}: that tool is built in", rails::RECALL)));
        }
        match self.registry.keys().find(|name| name.contains('.')) {
            Some(name) => Err(Fault::usage(format!(
                "tools.registry.{name}: a name has no dot; servers' tools have one"
            ))),
            None => Ok(()),
        }
    }
}
