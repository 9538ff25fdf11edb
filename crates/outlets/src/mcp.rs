//! The outlet `mcp`: calls one tool of an MCP server, over stdio or streamable HTTP.
//!
//! Each post has a session of its own: what a server does in one cannot reach into another. A server's words are kept as
//! an excerpt and never obeyed.
//!
//! | the server                                       | result                              |
//! | ------------------------------------------------ | ----------------------------------- |
//! | cannot be started or reached, or does not greet  | not sent: unavailable               |
//! | has no such tool                                 | not sent: permanent                 |
//! | answers with an error, or an error result        | rejected                            |
//! | dies or falls silent after the call              | unsettled; it cannot be asked       |

use std::collections::BTreeMap;
use std::time::Duration;

use calls::mcp::{Called, Server, Session};
use calls::{Secret, Template};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure, Known, Withdrawal};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::template::render;
use crate::{Outlet, Post, irrevocable};

/// Which server, which tool, with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct McpConfig {
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
    /// The tool's arguments: argument → template. The key belongs among them, for a tool that de-duplicates.
    pub arguments: BTreeMap<String, String>,
    /// Whether the tool takes the same key only once.
    #[serde(default)]
    pub deduplicates: bool,
}

/// The outlet `mcp`.
#[derive(Debug)]
pub struct Mcp {
    server: Server,
    tool: String,
    arguments: Vec<(String, Template)>,
    deduplicates: bool,
    /// How long the server may take before the call.
    greeting: Duration,
}

impl Mcp {
    /// Starts nothing yet. Of `timeout`, which a whole post may take, half is for what comes before the call.
    ///
    /// # Errors
    /// Permanent: neither a command nor an address, or both; a template that cannot be read.
    pub fn new(config: McpConfig, timeout: Duration) -> Result<Self, Failure> {
        let server = Server::new(config.command, config.environment, config.url, &config.token)?;
        let arguments = config
            .arguments
            .iter()
            .map(|(name, source)| {
                let wrong =
                    |failure: Failure| Failure::permanent(format!("arguments.{name}: {}", failure.reason));
                Template::parse(source).map(|template| (name.clone(), template)).map_err(wrong)
            })
            .collect::<Result<_, _>>()?;
        let (tool, deduplicates) = (config.tool, config.deduplicates);
        Ok(Self { server, tool, arguments, deduplicates, greeting: timeout / 2 })
    }

    /// The arguments of a call. What renders to JSON other than a string is that JSON.
    fn arguments(&self, post: &Post<'_>) -> Result<Map<String, Value>, Failure> {
        self.arguments
            .iter()
            .map(|(name, template)| {
                let text = render(template, post)?;
                let value = serde_json::from_str::<Value>(&text)
                    .ok()
                    .filter(|value| value.is_array() || value.is_object());
                Ok((name.clone(), value.unwrap_or(Value::String(text))))
            })
            .collect()
    }

    async fn prepare(&self, post: &Post<'_>) -> Result<(Session, Map<String, Value>), Failure> {
        let arguments = self.arguments(post)?;
        let session = self.server.open().await?;
        if !session.has_tool(&self.tool).await? {
            return Err(Failure::permanent(format!("the server has no tool `{}`", self.tool)));
        }
        Ok((session, arguments))
    }
}

impl Outlet for Mcp {
    fn deduplicates(&self) -> bool {
        self.deduplicates
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            // Before the call nothing can have happened: a server that is silent then is out, and no post is unknown.
            let prepared = tokio::time::timeout(self.greeting, self.prepare(post)).await;
            let silent =
                || Failure::unavailable(format!("the server did not answer within {:?}", self.greeting));
            let (session, arguments) = match prepared.unwrap_or_else(|_| Err(silent())) {
                Ok(prepared) => prepared,
                Err(failure) => return EffectResult::NotSent(failure),
            };
            match session.call(&self.tool, arguments).await {
                Called::Answered(answer) => {
                    EffectResult::Confirmed { reference: format!("{}: {}", self.tool, answer.excerpt()) }
                }
                Called::Refused(reason) => EffectResult::Rejected { reason },
                Called::Broken(reason) => EffectResult::Unsettled { reason },
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        let known = if self.deduplicates { Known::Repeatable } else { Known::CannotTell };
        async { Ok(known) }.boxed()
    }

    fn revoke<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        irrevocable("a tool that was called cannot be told to undo it: look at its server")
    }

    fn preview(&self, post: &Post<'_>) -> Value {
        match self.arguments(post) {
            Ok(arguments) => json!({ "tool": self.tool, "arguments": arguments }),
            Err(failure) => json!({ "error": failure.reason }),
        }
    }
}
