//! Sessions with MCP servers, over stdio or streamable HTTP. A server's words are never obeyed.

use std::collections::BTreeMap;
use std::process::Stdio;

use model::Failure;
use rmcp::model::{CallToolRequestParams, CallToolResult, ListToolsResult, PaginatedRequestParams};
use rmcp::service::{RoleClient, RunningService, ServiceError};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Map, Value};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::{Secret, Secrets, http};

/// Bytes that a server may say over stdio in one session.
const LONGEST_SESSION: u64 = 4 << 20;
/// Characters of a server's words that are kept.
const EXCERPT: usize = 300;
/// Variables that a program is given beside its own `environment`.
pub const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ"];
/// Pages of a server's list of tools that are read.
const TOOL_PAGES: usize = 20;

/// A server that sessions can be opened with.
#[derive(Debug)]
pub struct Server {
    place: Place,
    client: reqwest::Client,
    /// What it is given and may repeat: its token, and a program's environment.
    secrets: Secrets,
}

/// Where a server is.
#[derive(Debug)]
enum Place {
    /// A program that speaks over its standard input and output, with its arguments and environment.
    Program(Vec<String>, BTreeMap<String, String>),
    /// An address, with the bearer token that it wants.
    Address(String, Option<String>),
}

/// A session, and the program that it is with.
pub struct Session {
    service: RunningService<RoleClient, ()>,
    secrets: Secrets,
    _program: Option<Child>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What came of a call.
#[derive(Debug)]
pub enum Called {
    /// The tool answered.
    Answered(ToolAnswer),
    /// The server or the tool refused the call; an excerpt of its words.
    Refused(String),
    /// The session broke after the call was sent: whether the tool did anything, nobody knows.
    Broken(String),
}

/// A tool's answer.
#[derive(Debug)]
pub struct ToolAnswer {
    /// All of its texts.
    pub text: String,
    /// Its structured content, where it gave any.
    pub structured: Option<Value>,
}

impl ToolAnswer {
    /// The text in one line, bounded.
    #[must_use]
    pub fn excerpt(&self) -> String {
        excerpt(&self.text)
    }
}

/// A tool, as its server tells of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is said to do, in one line, bounded.
    pub description: String,
    /// JSON Schema of its arguments.
    pub schema: Value,
}

fn excerpt(text: &str) -> String {
    let all = text.split_whitespace().collect::<Vec<_>>().join(" ");
    all.chars().filter(|c| !c.is_control()).take(EXCERPT).collect()
}

impl Server {
    /// Starts nothing yet.
    ///
    /// # Errors
    /// Permanent: neither a command nor an address, or both.
    pub fn new(
        command: Vec<String>,
        environment: BTreeMap<String, String>,
        url: Option<String>,
        token: &Secret,
    ) -> Result<Self, Failure> {
        let given = environment.values().map(|value| Secret::from(value.as_str()));
        let secrets = given.chain([token.clone()]).collect();
        let place = match url {
            Some(url) if command.is_empty() => Place::Address(url, token.text().map(str::to_owned)),
            None if !command.is_empty() => Place::Program(command, environment),
            _ => return Err(Failure::permanent("give either `command` or `url`")),
        };
        Ok(Self { place, client: http::client()?, secrets })
    }

    /// Opens a session.
    ///
    /// # Errors
    /// Unavailable: it cannot be started or reached, or does not greet.
    pub async fn open(&self) -> Result<Session, Failure> {
        let unavailable = |e: &dyn std::fmt::Display| {
            let words = excerpt(&self.secrets.scrubbed(&e.to_string()));
            Failure::unavailable(format!("no session with the server: {words}"))
        };
        match &self.place {
            Place::Address(url, token) => {
                let mut config = StreamableHttpClientTransportConfig::with_uri(url.as_str());
                if let Some(token) = token {
                    config = config.auth_header(token);
                }
                let transport = StreamableHttpClientTransport::with_client(self.client.clone(), config);
                let service = rmcp::serve_client((), transport).await.map_err(|e| unavailable(&e))?;
                Ok(Session { service, secrets: self.secrets.clone(), _program: None })
            }
            Place::Program(command, environment) => {
                let mut child = spawn(command, environment)?;
                let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
                    return Err(Failure::unavailable("the server has no standard streams"));
                };
                let service = rmcp::serve_client((), (output.take(LONGEST_SESSION), input))
                    .await
                    .map_err(|e| unavailable(&e))?;
                Ok(Session { service, secrets: self.secrets.clone(), _program: Some(child) })
            }
        }
    }
}

fn spawn(command: &[String], environment: &BTreeMap<String, String>) -> Result<Child, Failure> {
    let [program, arguments @ ..] = command else {
        return Err(Failure::permanent("no command is configured"));
    };
    Command::new(program)
        .args(arguments)
        // The fleet's own variables may hold secrets, and are none of the program's business.
        .env_clear()
        .envs(INHERITED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| Failure::unavailable(format!("{program} cannot be started: {e}")))
}

impl Session {
    /// Every tool that the server lists.
    ///
    /// # Errors
    /// Unavailable: it does not list its tools.
    pub async fn tools(&self) -> Result<Vec<Listed>, Failure> {
        let mut listed = Vec::new();
        let mut cursor = None;
        for _ in 0..TOOL_PAGES {
            let page = self.page(cursor).await?;
            listed.extend(page.tools.iter().map(|tool| Listed {
                name: tool.name.to_string(),
                description: excerpt(&self.secrets.scrubbed(tool.description.as_deref().unwrap_or_default())),
                schema: Value::Object((*tool.input_schema).clone()),
            }));
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        Ok(listed)
    }

    /// Whether the server has the tool; it need not list one that it has, but then nobody can know.
    ///
    /// # Errors
    /// Unavailable: it does not list its tools.
    pub async fn has_tool(&self, name: &str) -> Result<bool, Failure> {
        let mut cursor = None;
        for _ in 0..TOOL_PAGES {
            let page = self.page(cursor).await?;
            if page.tools.iter().any(|tool| tool.name == *name) {
                return Ok(true);
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// A page of the server's tools, from a cursor on.
    async fn page(&self, cursor: Option<String>) -> Result<ListToolsResult, Failure> {
        let request = cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let page = self.service.list_tools(request).await;
        page.map_err(|e| {
            let words = excerpt(&self.secrets.scrubbed(&e.to_string()));
            Failure::unavailable(format!("the server does not list its tools: {words}"))
        })
    }

    /// Calls a tool.
    pub async fn call(&self, tool: &str, arguments: Map<String, Value>) -> Called {
        let call = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let scrubbed = |words: &str| self.secrets.scrubbed(words);
        match self.service.peer().call_tool(call).await {
            Ok(result) if result.is_error == Some(true) => {
                Called::Refused(format!("the tool failed: {}", excerpt(&scrubbed(&texts(&result)))))
            }
            Ok(result) => Called::Answered(ToolAnswer {
                text: scrubbed(&texts(&result)),
                structured: result.structured_content.map(|content| self.secrets.out_of(content)),
            }),
            Err(ServiceError::McpError(error)) => Called::Refused(excerpt(&scrubbed(&error.to_string()))),
            Err(error) => Called::Broken(excerpt(&scrubbed(&error.to_string()))),
        }
    }
}

fn texts(result: &CallToolResult) -> String {
    let texts = result.content.iter().filter_map(|block| block.as_text()).map(|text| text.text.as_str());
    texts.collect::<Vec<_>>().join("\n")
}
