//! The tools that orchestrators may call: configured ones, those of MCP servers, and `recall`.

pub mod config;
mod rate;
mod recollection;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use calls::mcp::Server;
use calls::{Secret, Secrets};
use fleet::{Fault, Process};
use jsonschema::Validator;
use model::{Failure, RetryClass};
use providers::{Ask, BreakerPolicy, Guarded, HttpWorker, Price, Program, Provider, Said, Tool, ToolConfig};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use crate::config::Breaker;
use crate::output;
use config::{Section, ServerSection, ToolSection};
use rate::Rate;
use recollection::Recollection;

/// How long a server may take to say which tools it has.
const DISCOVERY: Duration = Duration::from_secs(20);
/// How long a configured `http` tool's answer may be under way.
const PATIENCE: Duration = Duration::from_secs(600);
/// The longest result that is kept, as JSON in bytes.
const LONGEST_RESULT: usize = 64 << 10;

/// Every tool of this process.
#[derive(Debug)]
pub struct Toolbox {
    known: BTreeMap<String, Arc<Known>>,
    servers: BTreeMap<String, Served>,
    recollection: Option<Recollection>,
    secrets: Secrets,
}

/// A server, and its tools once it was asked.
#[derive(Debug)]
struct Served {
    section: ServerSection,
    breaker: BreakerPolicy,
    tools: OnceCell<BTreeMap<String, Arc<Known>>>,
}

/// One tool behind its guards.
#[derive(Debug)]
pub(crate) struct Known {
    name: String,
    description: String,
    schema: Value,
    arguments: Option<Validator>,
    pub(crate) side_effect: bool,
    pub(crate) timeout: Duration,
    provider: Guarded,
    rate: Rate,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Used {
    /// It answered.
    Answered(Value),
    /// It may not be called so; nothing was called.
    Refused(String),
    /// It was called, and failed for good.
    Failed(Failure),
}

impl Used {
    pub(crate) fn failed(reason: impl Into<String>) -> Self {
        Self::Failed(Failure::permanent(reason))
    }
}

impl Toolbox {
    /// Opens what is configured; asks nobody.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming the tool.
    pub fn new(section: &Section, breaker: Breaker) -> Result<Self, Fault> {
        section.check()?;
        let policy = BreakerPolicy {
            failures: breaker.failures,
            pause: breaker.pause,
            longest_pause: breaker.longest_pause,
        };
        let known = section.registry.iter().map(|(name, tool)| {
            let wrong = |words: String| Fault::usage(format!("tools.registry.{name}: {words}"));
            let provider = kind(tool).map_err(wrong)?;
            let known = Known::new(
                name,
                &tool.description,
                &tool.arguments,
                tool.side_effect,
                provider,
                policy,
                (tool.timeout, tool.calls_per_minute),
            );
            Ok((name.clone(), Arc::new(known.map_err(wrong)?)))
        });
        let known = known.collect::<Result<_, Fault>>()?;
        let served = |section: &ServerSection| Served {
            section: section.clone(),
            breaker: policy,
            tools: OnceCell::new(),
        };
        Ok(Self {
            known,
            servers: section.servers.iter().map(|(name, one)| (name.clone(), served(one))).collect(),
            recollection: None,
            secrets: secrets(section),
        })
    }

    /// With `recall`, which looks into the record.
    #[must_use]
    pub fn recalling(self, process: &Process) -> Self {
        Self { recollection: Some(Recollection::new(process)), ..self }
    }

    /// A tool by its name; its server is asked where it was not yet.
    ///
    /// # Errors
    /// Unavailable: the server is away.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Arc<Known>>, Failure> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some((server, _)) = name.split_once('.') else { return Ok(None) };
        let Some(served) = self.servers.get(server) else { return Ok(None) };
        Ok(served.tools(server).await?.get(name).map(Arc::clone))
    }

    /// What whoever may call these is told of them. Of a server that is away only the name is known.
    pub(crate) async fn described(&self, names: &[String]) -> Value {
        let mut described = Vec::new();
        for name in names {
            if name == rails::RECALL {
                described.push(json!({ "name": name, "description": recollection::DESCRIPTION, "arguments": recollection::schema() }));
                continue;
            }
            described.push(match self.find(name).await {
                Ok(Some(known)) => json!({
                    "name": name, "description": known.description, "arguments": known.schema,
                    "needs_leave": known.side_effect,
                }),
                Ok(None) | Err(_) => json!({ "name": name, "description": "not available now" }),
            });
        }
        Value::Array(described)
    }

    /// Calls a tool that does not act outside, or one whose call is claimed.
    ///
    /// # Errors
    /// Transient, or later: another try may find otherwise.
    pub(crate) async fn call(
        &self,
        known: &Known,
        arguments: &Value,
        call: &Call<'_>,
    ) -> Result<Used, Failure> {
        if let Err(why) = known.fits(arguments) {
            return Ok(Used::Refused(why));
        }
        known.rate.take()?;
        let ask = Ask {
            key: call.key.clone(),
            step: call.step.to_owned(),
            visit: call.turn,
            role: known.name.clone(),
            system: String::new(),
            prompt: String::new(),
            input: json!({ "input": arguments }),
            output_schema: Value::Null,
            parameters: Map::new(),
            max_tokens: 1,
            timeout: call.timeout.min(known.timeout),
        };
        match known.provider.complete(&ask).await {
            Ok(answer) => Ok(Used::Answered(self.kept(&answer.said))),
            Err(failure) => {
                let failure = Failure { reason: self.secrets.scrubbed(&failure.reason), ..failure };
                match failure.class {
                    RetryClass::Permanent | RetryClass::Unreadable => Ok(Used::Failed(failure)),
                    _ => Err(failure),
                }
            }
        }
    }

    /// Searches what was embedded, of this tenant alone.
    pub(crate) async fn recall(&self, tenant: &str, arguments: &Value) -> Result<Used, Failure> {
        match &self.recollection {
            Some(recollection) => recollection.answer(tenant, arguments).await,
            None => Ok(Used::failed("nothing can be recalled here")),
        }
    }

    /// What was answered, bounded and without our secrets.
    fn kept(&self, said: &Said) -> Value {
        let text = match said {
            Said::Json(value) => value.to_string(),
            Said::Text(text) => text.clone(),
        };
        let text = self.secrets.scrubbed(&text);
        match serde_json::from_str(&text) {
            Ok(value) if text.len() <= LONGEST_RESULT => value,
            _ => Value::String(text.chars().take(LONGEST_RESULT / 4).collect()),
        }
    }
}

/// For whom a tool is called.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// The same for every try of the same call.
    pub(crate) key: String,
    pub(crate) step: &'a str,
    pub(crate) turn: u32,
    pub(crate) timeout: Duration,
}

impl Known {
    fn new(
        name: &str,
        description: &str,
        schema: &Value,
        side_effect: bool,
        provider: Box<dyn Provider>,
        policy: BreakerPolicy,
        (timeout, calls_per_minute): (Duration, u32),
    ) -> Result<Self, String> {
        let arguments = if schema.is_null() { None } else { Some(output::validator(schema)?) };
        Ok(Self {
            name: name.to_owned(),
            description: description.to_owned(),
            schema: schema.clone(),
            arguments,
            side_effect,
            timeout,
            provider: Guarded::new(name, provider, Price::default(), timeout, policy),
            rate: Rate::new(calls_per_minute),
        })
    }

    /// Whether it said that it has the call of this key under way.
    pub(crate) fn has_under_way(&self, key: &str) -> bool {
        self.provider.has_under_way(key)
    }

    /// Whether it makes the call of one key once, however often it is asked for.
    pub(crate) fn repeats(&self) -> bool {
        self.provider.repeats()
    }

    /// # Errors
    /// Which argument does not fit.
    pub(crate) fn fits(&self, arguments: &Value) -> Result<(), String> {
        let given = if arguments.is_null() { &json!({}) } else { arguments };
        match self.arguments.as_ref().map(|schema| schema.validate(given)) {
            Some(Err(error)) => {
                let words: String = error.to_string().chars().take(300).collect();
                Err(format!(
                    "the arguments of `{}` do not fit at `{}`: {words}",
                    self.name,
                    error.instance_path()
                ))
            }
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Served {
    async fn tools(&self, server: &str) -> Result<&BTreeMap<String, Arc<Known>>, Failure> {
        self.tools.get_or_try_init(|| self.discover(server)).await
    }

    async fn discover(&self, server: &str) -> Result<BTreeMap<String, Arc<Known>>, Failure> {
        let section = &self.section;
        let open = Server::new(
            section.command.clone(),
            section.environment.clone(),
            section.url.clone(),
            &section.token,
        )?;
        let listed = tokio::time::timeout(DISCOVERY, async { open.open().await?.tools().await });
        let listed = listed
            .await
            .map_err(|_| Failure::unavailable(format!("{server} does not say which tools it has")))??;
        let mut found = BTreeMap::new();
        for tool in listed {
            let name = format!("{server}.{}", tool.name);
            let provider = Tool::new(ToolConfig {
                command: section.command.clone(),
                environment: section.environment.clone(),
                url: section.url.clone(),
                token: section.token.clone(),
                tool: tool.name.clone(),
                arguments: BTreeMap::new(),
                repeatable: false,
            })?;
            let side_effect = !section.harmless.contains_key(&tool.name);
            let bounds = (section.timeout, section.calls_per_minute);
            let known = Known::new(
                &name,
                &tool.description,
                &tool.schema,
                side_effect,
                Box::new(provider),
                self.breaker,
                bounds,
            );
            match known {
                Ok(known) => drop(found.insert(name, Arc::new(known))),
                Err(why) => {
                    tracing::warn!(tool = name, why, "a tool whose schema cannot be used is left out")
                }
            }
        }
        tracing::info!(server, tools = found.len(), "a server told its tools");
        Ok(found)
    }
}

fn kind(tool: &ToolSection) -> Result<Box<dyn Provider>, String> {
    let ToolSection { mcp, http, command, .. } = tool.clone();
    let mut kinds: Vec<Result<Box<dyn Provider>, Failure>> = Vec::new();
    kinds.extend(mcp.map(|config| Tool::new(config).map(boxed)));
    kinds.extend(http.map(|config| HttpWorker::new(&config, PATIENCE).map(boxed)));
    kinds.extend(command.map(|config| Program::new(config).map(boxed)));
    match (kinds.pop(), kinds.pop()) {
        (Some(kind), None) => kind.map_err(|failure| failure.reason),
        _ => Err("it needs exactly one of mcp, http, command".to_owned()),
    }
}

fn boxed(provider: impl Provider + 'static) -> Box<dyn Provider> {
    Box::new(provider)
}

fn secrets(section: &Section) -> Secrets {
    let mut secrets: Vec<Secret> = section.servers.values().map(|server| server.token.clone()).collect();
    for tool in section.registry.values() {
        secrets.extend(tool.mcp.iter().map(|kind| kind.token.clone()));
        secrets.extend(tool.http.iter().map(|kind| kind.secret.clone()));
    }
    let of_tools = section.registry.values().flat_map(|tool| {
        let mcp = tool.mcp.iter().map(|kind| &kind.environment);
        mcp.chain(tool.command.iter().map(|kind| &kind.environment))
    });
    let environments = of_tools.chain(section.servers.values().map(|server| &server.environment));
    secrets.extend(environments.flat_map(|values| values.values()).map(|value| Secret::from(value.as_str())));
    secrets.into_iter().collect()
}
