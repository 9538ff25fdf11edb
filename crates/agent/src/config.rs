//! The section `agent`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use fleet::{Fault, Roles};
use providers::{AnthropicConfig, CommandConfig, HttpConfig, OpenAiConfig, Price, ScriptConfig, ToolConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Which brains there are, and which role has which.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// The provider of roles that name none.
    pub provider: Option<String>,
    /// Brains by name.
    pub providers: BTreeMap<String, ProviderSection>,
    /// Roles by name, beside the built-in ones; one of the same name takes its place, key by key.
    pub roles: BTreeMap<String, RoleSection>,
    /// When a provider is left alone, and for how long.
    pub breaker: Breaker,
    /// The gateway's address as `http` workers reach it: there they tell how a task ended. Without it they are asked again.
    pub callbacks: Option<String>,
    /// What orchestrators, and those whom they call, are told of a tenant; `*` is of all others.
    pub tenants: BTreeMap<String, Tenant>,
}

/// What is preferred for a tenant. It is advice to brains: no gate, licence or budget reads it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tenant {
    /// Where the emphasis lies, from -1, content alone, to 1, sales alone.
    pub temperature: f64,
    /// Anything else, in words and values.
    pub preferences: Map<String, Value>,
}

impl Section {
    /// What is preferred for a tenant.
    pub(crate) fn tenant(&self, name: &str) -> Option<&Tenant> {
        self.tenants.get(name).or_else(|| self.tenants.get("*"))
    }

    /// # Errors
    /// [`Fault`] of kind usage: a temperature is out of its band.
    pub(crate) fn check_tenants(&self) -> Result<(), Fault> {
        let wrong = self.tenants.iter().find(|(_, tenant)| !(-1.0..=1.0).contains(&tenant.temperature));
        match wrong {
            Some((name, tenant)) => Err(Fault::usage(format!(
                "agent.tenants.{name}.temperature is {}; it goes from -1 (content) to 1 (sales)",
                tenant.temperature
            ))),
            None => Ok(()),
        }
    }

    /// The provider of a role; `None` where it has none.
    #[must_use]
    pub fn provider_of(&self, role: &str) -> Option<&str> {
        let own = self.roles.get(role).and_then(|role| role.provider.as_deref());
        own.or(self.provider.as_deref())
    }

    /// Whether a role's provider, or one that stands in for it, is a tool, an address or a program: a step of the role then
    /// counts as a side effect, unless its document says otherwise with a reason.
    #[must_use]
    pub fn acts_outside(&self, role: &str) -> bool {
        let provider = self.provider_of(role).map(str::to_owned);
        let role = RoleSection { provider, ..RoleSection::default() };
        let asked = Self { roles: [(String::new(), role)].into(), ..self.clone() };
        serde_json::to_value(asked).is_ok_and(|section| Roles::in_section(&section).acting().contains(&""))
    }
}

/// One brain: how it is asked, and exactly one of its kinds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderSection {
    /// How long one call may take.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
    /// How long a chat endpoint may be silent.
    #[serde(with = "fleet::config::period")]
    pub idle: Duration,
    /// How long one task of an `http` worker may be under way.
    #[serde(with = "fleet::config::period")]
    pub patience: Duration,
    /// How long an `http` worker that may call back can give no sign of life before it is asked again.
    #[serde(with = "fleet::config::period")]
    pub silence: Duration,
    /// What a million tokens cost.
    pub price: Price,
    /// Providers that are asked in its place, in this order, where it is out.
    pub fallback: Vec<String>,
    /// The provider that is asked in its place once a person asked a run to go on with cheaper models.
    pub cheaper: Option<String>,
    /// A folder that its answers are recorded in.
    pub record: Option<PathBuf>,
    /// A folder that its answers are replayed from; nobody is asked then.
    pub replay: Option<PathBuf>,
    /// A chat endpoint that speaks as OpenAI's does.
    pub openai: Option<OpenAiConfig>,
    /// A chat endpoint that speaks as Anthropic's does.
    pub anthropic: Option<AnthropicConfig>,
    /// A tool of an MCP server.
    pub mcp: Option<ToolConfig>,
    /// A worker behind an address.
    pub http: Option<HttpConfig>,
    /// A program of this machine.
    pub command: Option<CommandConfig>,
    /// Canned answers.
    pub script: Option<ScriptConfig>,
}

impl ProviderSection {
    /// Its kind, by its key; the first one, where it has several.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        let kinds = [
            ("openai", self.openai.is_some()),
            ("anthropic", self.anthropic.is_some()),
            ("mcp", self.mcp.is_some()),
            ("http", self.http.is_some()),
            ("command", self.command.is_some()),
            ("script", self.script.is_some()),
        ];
        kinds.into_iter().find(|(_, is)| *is).map_or("none", |(name, _)| name)
    }
}

impl Default for ProviderSection {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(50),
            idle: Duration::from_secs(20),
            patience: Duration::from_secs(3600),
            silence: Duration::from_secs(60),
            price: Price::default(),
            fallback: Vec::new(),
            cheaper: None,
            record: None,
            replay: None,
            openai: None,
            anthropic: None,
            mcp: None,
            http: None,
            command: None,
            script: None,
        }
    }
}

/// One role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleSection {
    /// Its provider.
    pub provider: Option<String>,
    /// A document with its prompt, as docs/agents.md describes it.
    pub prompt_file: Option<PathBuf>,
    /// The prompt itself, in the place of a document.
    pub prompt: Option<String>,
    /// JSON Schema of its output, beside the step's own.
    pub output_schema: Value,
    /// Parameters that chat endpoints are given as they are, such as `temperature`.
    pub parameters: Map<String, Value>,
    /// Tokens of an answer, at most.
    #[serde(deserialize_with = "fleet::config::positive")]
    pub max_tokens: u32,
    /// Whether it is asked to propose patches of the blackboard beside its output.
    pub patches: bool,
}

impl Default for RoleSection {
    fn default() -> Self {
        Self {
            provider: None,
            prompt_file: None,
            prompt: None,
            output_schema: Value::Null,
            parameters: Map::new(),
            max_tokens: 4096,
            patches: false,
        }
    }
}

/// When a provider that is out is left alone, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it.
    #[serde(deserialize_with = "fleet::config::positive")]
    pub failures: u32,
    /// The first pause; each further failure doubles it.
    #[serde(with = "fleet::config::duration")]
    pub pause: Duration,
    /// The longest pause.
    #[serde(with = "fleet::config::duration")]
    pub longest_pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 3, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(300) }
    }
}
