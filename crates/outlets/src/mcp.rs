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
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure, Known, Withdrawal};
use rmcp::model::{CallToolRequestParams, CallToolResult};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::secret::Secret;
use crate::template::Template;
use crate::{Outlet, Post, http, irrevocable};

/// Bytes that a server may say over stdio in one session.
const LONGEST_SESSION: u64 = 4 << 20;
/// Characters of a server's words that are kept.
const EXCERPT: usize = 300;
/// Variables that a program is given beside its own `environment`.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ"];
/// Pages of a server's list of tools that are read.
const TOOL_PAGES: usize = 20;

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
    config: McpConfig,
    token: Option<String>,
    arguments: Vec<(String, Template)>,
    client: reqwest::Client,
    /// How long the server may take before the call.
    greeting: Duration,
}

/// A session, and the program that it is with.
struct Session {
    service: RunningService<RoleClient, ()>,
    _program: Option<Child>,
}

impl Mcp {
    /// Starts nothing yet. Of `timeout`, which a whole post may take, half is for what comes before the call.
    ///
    /// # Errors
    /// Permanent: neither a command nor an address, or both; a template that cannot be read.
    pub fn new(config: McpConfig, timeout: Duration) -> Result<Self, Failure> {
        if config.command.is_empty() == config.url.is_none() {
            return Err(Failure::permanent("give either `command` or `url`"));
        }
        let arguments = config
            .arguments
            .iter()
            .map(|(name, source)| {
                let wrong =
                    |failure: Failure| Failure::permanent(format!("arguments.{name}: {}", failure.reason));
                Template::parse(source).map(|template| (name.clone(), template)).map_err(wrong)
            })
            .collect::<Result<_, _>>()?;
        let token = config.token.text().map(str::to_owned);
        Ok(Self { token, arguments, client: http::client()?, greeting: timeout / 2, config })
    }

    /// The arguments of a call. What renders to JSON other than a string is that JSON.
    fn arguments(&self, post: &Post<'_>) -> Result<Map<String, Value>, Failure> {
        self.arguments
            .iter()
            .map(|(name, template)| {
                let text = template.render(post)?;
                let value = serde_json::from_str::<Value>(&text)
                    .ok()
                    .filter(|value| value.is_array() || value.is_object());
                Ok((name.clone(), value.unwrap_or(Value::String(text))))
            })
            .collect()
    }

    async fn open(&self) -> Result<Session, Failure> {
        let unavailable =
            |e: &dyn std::fmt::Display| Failure::unavailable(format!("no session with the server: {e}"));
        if let Some(url) = &self.config.url {
            let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
            if let Some(token) = &self.token {
                config = config.auth_header(token);
            }
            let transport = StreamableHttpClientTransport::with_client(self.client.clone(), config);
            let service = rmcp::serve_client((), transport).await.map_err(|e| unavailable(&e))?;
            return Ok(Session { service, _program: None });
        }
        let [program, arguments @ ..] = self.config.command.as_slice() else {
            return Err(Failure::permanent("no command is configured"));
        };
        let mut child = Command::new(program)
            .args(arguments)
            // The fleet's own variables may hold secrets, and are none of the program's business.
            .env_clear()
            .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs(&self.config.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| Failure::unavailable(format!("{program} cannot be started: {e}")))?;
        let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(Failure::unavailable(format!("{program} has no standard streams")));
        };
        let service = rmcp::serve_client((), (output.take(LONGEST_SESSION), input))
            .await
            .map_err(|e| unavailable(&e))?;
        Ok(Session { service, _program: Some(child) })
    }

    /// Whether the server has the tool; it need not list one that it has, but then nobody can know.
    async fn has_tool(&self, session: &Session) -> Result<bool, Failure> {
        let mut cursor = None;
        for _ in 0..TOOL_PAGES {
            let request =
                cursor.map(|cursor| rmcp::model::PaginatedRequestParams::default().with_cursor(Some(cursor)));
            let page = session
                .service
                .list_tools(request)
                .await
                .map_err(|e| Failure::unavailable(format!("the server does not list its tools: {e}")))?;
            if page.tools.iter().any(|tool| tool.name == self.config.tool) {
                return Ok(true);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    async fn prepare(&self, post: &Post<'_>) -> Result<(Session, CallToolRequestParams), Failure> {
        let arguments = self.arguments(post)?;
        let session = self.open().await?;
        if !self.has_tool(&session).await? {
            return Err(Failure::permanent(format!("the server has no tool `{}`", self.config.tool)));
        }
        Ok((session, CallToolRequestParams::new(self.config.tool.clone()).with_arguments(arguments)))
    }
}

/// What a tool said, as an excerpt.
fn said(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str());
    let all = texts.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ");
    all.chars().filter(|c| !c.is_control()).take(EXCERPT).collect()
}

impl Outlet for Mcp {
    fn deduplicates(&self) -> bool {
        self.config.deduplicates
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            // Before the call nothing can have happened: a server that is silent then is out, and no post is unknown.
            let prepared = tokio::time::timeout(self.greeting, self.prepare(post)).await;
            let silent =
                || Failure::unavailable(format!("the server did not answer within {:?}", self.greeting));
            let (session, call) = match prepared.unwrap_or_else(|_| Err(silent())) {
                Ok(prepared) => prepared,
                Err(failure) => return EffectResult::NotSent(failure),
            };
            match session.service.peer().call_tool(call).await {
                Ok(result) if result.is_error == Some(true) => {
                    EffectResult::Rejected { reason: format!("the tool failed: {}", said(&result)) }
                }
                Ok(result) => {
                    EffectResult::Confirmed { reference: format!("{}: {}", self.config.tool, said(&result)) }
                }
                Err(ServiceError::McpError(error)) => {
                    let reason: String = error.to_string().chars().take(EXCERPT).collect();
                    EffectResult::Rejected { reason }
                }
                Err(error) => EffectResult::Unsettled { reason: error.to_string() },
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        let known = if self.config.deduplicates { Known::Repeatable } else { Known::CannotTell };
        async { Ok(known) }.boxed()
    }

    fn revoke<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        irrevocable("a tool that was called cannot be told to undo it: look at its server")
    }

    fn preview(&self, post: &Post<'_>) -> Value {
        match self.arguments(post) {
            Ok(arguments) => json!({ "tool": self.config.tool, "arguments": arguments }),
            Err(failure) => json!({ "error": failure.reason }),
        }
    }
}
