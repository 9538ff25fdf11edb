//! The provider `mcp`: a tool of an MCP server does the step. Each call has a session of its own.

use std::collections::BTreeMap;

use calls::mcp::{Called, Server};
use calls::{Secret, Template};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::endpoint::longer_than;
use crate::{Answer, Ask, LONGEST_ANSWER, Provider, Said};

/// Which server, which tool, with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolConfig {
    /// A program that speaks MCP over its standard input and output, with its arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment of that program, beside PATH, HOME, LANG, TMPDIR and TZ.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The address of a server that speaks streamable HTTP, instead of a program.
    #[serde(default)]
    pub url: Option<String>,
    /// Its bearer token.
    #[serde(default)]
    pub token: Secret,
    /// The tool.
    pub tool: String,
    /// The tool's arguments: argument → template over `input`, `prompt`, `step`, `role` and `key`. Without any, the step's
    /// input itself.
    #[serde(default)]
    pub arguments: BTreeMap<String, String>,
    /// Whether it does the same `key` only once: then it is called again where nobody heard how a call ended.
    #[serde(default)]
    pub repeatable: bool,
}

/// A tool of an MCP server.
#[derive(Debug)]
pub struct Tool {
    server: Server,
    tool: String,
    arguments: Vec<(String, Template)>,
    repeatable: bool,
}

impl Tool {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// Permanent: neither a command nor an address, or both; a template that cannot be read.
    pub fn new(config: ToolConfig) -> Result<Self, Failure> {
        let arguments = config
            .arguments
            .iter()
            .map(|(name, source)| {
                let wrong =
                    |failure: Failure| Failure::permanent(format!("arguments.{name}: {}", failure.reason));
                Template::parse(source).map(|template| (name.clone(), template)).map_err(wrong)
            })
            .collect::<Result<_, _>>()?;
        let repeatable = config.repeatable;
        let server = Server::new(config.command, config.environment, config.url, &config.token)?;
        Ok(Self { server, tool: config.tool, arguments, repeatable })
    }

    /// What renders to JSON other than a string is that JSON.
    fn arguments(&self, ask: &Ask) -> Result<Map<String, Value>, Failure> {
        if self.arguments.is_empty() {
            return Ok(ask.input["input"].as_object().cloned().unwrap_or_default());
        }
        let document = json!({
            "input": ask.input["input"], "prompt": ask.prompt, "step": ask.step, "role": ask.role, "key": ask.key,
        });
        let render = |(name, template): &(String, Template)| {
            let text = template.rendered(&document).map_err(|e| {
                Failure::permanent(format!("the template of `{name}` does not fit the step: {e:#}"))
            })?;
            let value = serde_json::from_str::<Value>(&text).ok();
            let value = value.filter(|value| value.is_array() || value.is_object());
            Ok((name.clone(), value.unwrap_or(Value::String(text))))
        };
        self.arguments.iter().map(render).collect()
    }

    async fn call(&self, ask: &Ask) -> Result<Said, Failure> {
        let arguments = self.arguments(ask)?;
        let session = self.server.open().await?;
        if !session.has_tool(&self.tool).await? {
            return Err(Failure::permanent(format!("the server has no tool `{}`", self.tool)));
        }
        match session.call(&self.tool, arguments).await {
            Called::Answered(answer) => {
                let said = answer.structured.map_or(Said::Text(answer.text), Said::Json);
                if said.len() > LONGEST_ANSWER { Err(longer_than(LONGEST_ANSWER)) } else { Ok(said) }
            }
            Called::Refused(reason) => Err(Failure::permanent(format!("the tool refuses: {reason}"))),
            Called::Broken(reason) => Err(Failure::transient(format!("the session broke: {reason}"))),
        }
    }
}

impl Provider for Tool {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let said = self.call(ask).await?;
            Ok(Answer { said, usage: Usage::default(), model: format!("mcp:{}", self.tool) })
        }
        .boxed()
    }

    fn acts_outside(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        self.repeatable
    }
}
