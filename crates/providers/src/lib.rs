//! Providers: brains that are asked to do a step.
//!
//! [`Provider`] is the seam. A provider proposes; what its words mean, the rails decide.
//!
//! | provider       | asks                                                                     | acts outside |
//! | -------------- | ------------------------------------------------------------------------ | ------------ |
//! | [`OpenAi`]     | a chat endpoint that speaks as OpenAI's does                             | no           |
//! | [`Anthropic`]  | a chat endpoint that speaks as Anthropic's does                          | no           |
//! | [`Tool`]       | a tool of an MCP server                                                  | yes          |
//! | [`HttpWorker`] | an address, by signed requests: a worker in any language                 | yes          |
//! | [`Program`]    | a program of this machine, within limits                                 | yes          |
//! | [`Script`]     | nobody: its answers are canned, and its model is called `script`         | no           |
//!
//! [`Guarded`] puts a price, a timeout, a breaker and a [`Cassette`] around each, [`Chain`] asks several in order.

mod anthropic;
mod cassette;
mod chain;
mod command;
mod endpoint;
mod guarded;
mod http_worker;
mod openai;
mod script;
mod tool;

use std::fmt::Debug;
use std::time::Duration;

use calls::{Callback, Secrets};
use futures::future::BoxFuture;
use model::{Failure, Usage};
use serde_json::{Map, Value};

pub use anthropic::{Anthropic, AnthropicConfig};
pub use cassette::Cassette;
pub use chain::Chain;
pub use command::{CommandConfig, Program};
pub use guarded::{BreakerPolicy, Guarded, Price};
pub use http_worker::{HttpConfig, HttpWorker};
pub use openai::{OpenAi, OpenAiConfig};
pub use script::{Script, ScriptConfig};
pub use tool::{Tool, ToolConfig};

/// Bytes of an answer's text, at most.
pub const LONGEST_ANSWER: usize = 1 << 20;

/// What a provider is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The same for every try of the same visit: who takes it once may act once.
    pub key: String,
    /// The step.
    pub step: String,
    /// How often the run has come to the step, this time included.
    pub visit: u32,
    /// The role.
    pub role: String,
    /// What the brain is and what it must never do.
    pub system: String,
    /// What is to be done, with everything from outside quoted as data.
    pub prompt: String,
    /// The same data, for those who are no language models.
    pub input: Value,
    /// JSON Schema of the answer; null where anything is taken.
    pub output_schema: Value,
    /// Parameters that are passed on as they are, such as `temperature`.
    pub parameters: Map<String, Value>,
    /// Tokens of the answer, at most.
    pub max_tokens: u32,
    /// How long the call may take.
    pub timeout: Duration,
}

/// What was said: JSON, or text that may be JSON.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// Text.
    Text(String),
    /// JSON.
    Json(Value),
}

impl Said {
    /// Its bytes, as text.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Json(value) => value.to_string().len(),
        }
    }

    /// The same, in which none of these secrets is.
    #[must_use]
    pub(crate) fn without(self, secrets: &Secrets) -> Self {
        match self {
            Self::Text(text) => Self::Text(secrets.scrubbed(&text)),
            Self::Json(value) => Self::Json(secrets.out_of(value)),
        }
    }
}

/// A provider's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// What was said.
    pub said: Said,
    /// What it cost.
    pub usage: Usage,
    /// The model that said it.
    pub model: String,
}

/// A brain that is asked.
pub trait Provider: Send + Sync + Debug {
    /// Asks. Stops asking when it is dropped.
    ///
    /// # Errors
    /// Unavailable where it is out or refuses our key, retry-after where it asks for a pause, transient where another try
    /// may find otherwise, permanent where none will. The failure has what was spent; no message has a secret.
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>>;

    /// What is charged for a call that nobody heard the end of.
    fn charged_unheard(&self, _ask: &Ask) -> Usage {
        Usage::default()
    }

    /// Whether asking may change something outside.
    fn acts_outside(&self) -> bool {
        false
    }

    /// Whether it does a task once, however often it is asked for under the same key.
    fn repeats(&self) -> bool {
        false
    }

    /// How those that may answer later tell how the task of this key ended.
    fn callbacks(&self, _key: &str) -> Vec<CalledBack> {
        Vec::new()
    }

    /// What a worker said by the callback of this token; `None` where it is no callback of this provider.
    fn heard(&self, _key: &str, _token: &str, _said: &str) -> Option<Result<Answer, Failure>> {
        None
    }

    /// Whether it said that it has the task of this key under way, or was asked and did not say how it ended.
    fn has_under_way(&self, _key: &str) -> bool {
        false
    }
}

/// A callback, and how long it is waited for.
#[derive(Debug, Clone)]
pub struct CalledBack {
    /// Its token and key.
    pub callback: Callback,
    /// How long the task may be under way.
    pub patience: Duration,
    /// How long its worker may give no sign of life before it is asked again.
    pub silence: Duration,
}

/// Tokens of what a chat endpoint is asked, estimated.
pub(crate) fn asked_tokens(ask: &Ask) -> u64 {
    estimated_tokens(&ask.system) + estimated_tokens(&ask.prompt)
}

/// Tokens of a text where nobody counted them: four bytes each, rounded up.
#[must_use]
pub fn estimated_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}
