//! Any chat endpoint that speaks Anthropic's `POST /v1/messages`, streamed.
//!
//! Where the answer has a schema, the model is made to call one tool whose input is the answer.

use std::time::Duration;

use calls::Secret;
use eventsource_stream::Eventsource;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use model::{Failure, Usage};
use reqwest::{Request, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::endpoint::{Endpoint, Growing};
use crate::openai::{add_parameters, cut_off};
use crate::{Answer, Ask, Provider, Said, asked_tokens, estimated_tokens};

/// The version of the protocol that is spoken.
const VERSION: &str = "2023-06-01";
/// The tool whose input is the answer.
const TOOL: &str = "answer";

/// Which endpoint, which model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnthropicConfig {
    /// Up to and without `/v1/messages`.
    #[serde(default = "anthropic")]
    pub base_url: String,
    /// The model.
    pub model: String,
    /// The key.
    #[serde(default)]
    pub api_key: Secret,
}

fn anthropic() -> String {
    "https://api.anthropic.com".to_owned()
}

/// A chat endpoint that speaks as Anthropic's does.
#[derive(Debug)]
pub struct Anthropic {
    config: AnthropicConfig,
    url: Url,
    endpoint: Endpoint,
}

/// One event of the stream, as far as it is read.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    MessageStart {
        message: Message,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Stop,
        #[serde(default)]
        usage: Counted,
    },
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(default)]
    model: String,
    #[serde(default)]
    usage: Counted,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    text: String,
    #[serde(default)]
    partial_json: String,
}

#[derive(Debug, Default, Deserialize)]
struct Stop {
    #[serde(default)]
    stop_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Counted {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: u64,
    #[serde(default)]
    cache_read_input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
}

/// What has come of an answer so far.
#[derive(Debug, Default)]
struct Gathered {
    text: Growing,
    json: Growing,
    model: String,
    tokens_in: u64,
    tokens_out: u64,
    stop: Option<String>,
}

impl Anthropic {
    /// Asks nothing yet. `idle` is how long the endpoint may be silent.
    ///
    /// # Errors
    /// Permanent: the address is none.
    pub fn new(config: AnthropicConfig, idle: Duration) -> Result<Self, Failure> {
        let url = format!("{}/v1/messages", config.base_url.trim_end_matches('/'));
        let url = Url::parse(&url).map_err(|e| Failure::permanent(format!("base_url: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::permanent("base_url: it must be http:// or https://"));
        }
        let endpoint = Endpoint::new(idle, config.api_key.clone())?;
        Ok(Self { config, url, endpoint })
    }

    fn request(&self, ask: &Ask) -> Result<Request, Failure> {
        let mut body = json!({
            "model": self.config.model,
            "max_tokens": ask.max_tokens,
            "system": ask.system,
            "messages": [{ "role": "user", "content": ask.prompt }],
            "stream": true,
        });
        if let Value::Object(fields) = &mut body {
            if !ask.output_schema.is_null() {
                let tool = json!([{ "name": TOOL, "input_schema": ask.output_schema }]);
                fields.insert("tools".to_owned(), tool);
                fields.insert("tool_choice".to_owned(), json!({ "type": "tool", "name": TOOL }));
            }
            add_parameters(fields, &ask.parameters);
        }
        self.endpoint
            .client
            .post(self.url.clone())
            .header("x-api-key", self.config.api_key.text().unwrap_or_default())
            .header("anthropic-version", VERSION)
            .json(&body)
            .build()
            .map_err(|e| {
                Failure::permanent(format!("the request cannot be written: {}", calls::http::chain(&e)))
            })
    }

    async fn gather(&self, ask: &Ask, gathered: &mut Gathered) -> Result<(), Failure> {
        let response = self.endpoint.send(self.request(ask)?).await?;
        let mut events = self.endpoint.chunks(response).eventsource();
        while let Some(event) = events.next().await {
            let event = event.map_err(|error| match error {
                eventsource_stream::EventStreamError::Transport(failure) => failure,
                other => Failure::transient(format!("the answer cannot be read: {other}")),
            })?;
            let event: Event = serde_json::from_str(&event.data)
                .map_err(|e| Failure::transient(format!("the answer cannot be read: {e}")))?;
            gathered.add(event)?;
        }
        match gathered.stop {
            Some(_) => Ok(()),
            None => Err(Failure::transient("the answer broke off")),
        }
    }

    fn usage(ask: &Ask, gathered: &Gathered) -> Usage {
        let guess = |counted: u64, guess: u64| if counted == 0 { guess } else { counted };
        let asked = asked_tokens(ask);
        let told = estimated_tokens(&gathered.text.0) + estimated_tokens(&gathered.json.0);
        Usage {
            tokens_in: guess(gathered.tokens_in, asked),
            tokens_out: guess(gathered.tokens_out, told),
            ..Usage::default()
        }
    }
}

impl Gathered {
    fn add(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::MessageStart { message } => {
                self.model = message.model;
                let usage = message.usage;
                self.tokens_in =
                    usage.input_tokens + usage.cache_creation_input_tokens + usage.cache_read_input_tokens;
            }
            Event::ContentBlockDelta { delta } => {
                self.text.push(&delta.text)?;
                self.json.push(&delta.partial_json)?;
            }
            Event::MessageDelta { delta, usage } => {
                self.stop = delta.stop_reason.or_else(|| self.stop.take());
                self.tokens_out = self.tokens_out.max(usage.output_tokens);
            }
            Event::Error { error } => {
                let words: String = error.to_string().chars().take(300).collect();
                return Err(Failure::transient(format!("the endpoint failed: {words}")));
            }
            Event::Other => {}
        }
        Ok(())
    }

    /// The tool's input is the answer where the model called it.
    fn said(&self) -> Result<String, Failure> {
        match self.stop.as_deref() {
            Some("max_tokens") => Err(cut_off()),
            Some("refusal") => Err(Failure::permanent("the model refuses")),
            _ if self.json.0.is_empty() => Ok(self.text.0.clone()),
            _ => Ok(self.json.0.clone()),
        }
    }
}

impl Provider for Anthropic {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let mut gathered = Gathered::default();
            let read = self.gather(ask, &mut gathered).await;
            let said = read.and_then(|()| gathered.said());
            let began = said.is_ok() || gathered.tokens_in > 0;
            let usage = if began { Self::usage(ask, &gathered) } else { Usage::default() };
            let key = &self.endpoint.key;
            match said {
                Ok(text) => {
                    let model = Some(gathered.model).filter(|model| !model.is_empty());
                    let model = model.unwrap_or_else(|| self.config.model.clone());
                    Ok(Answer { said: Said::Text(key.scrubbed(&text)), usage, model })
                }
                Err(failure) => {
                    let reason = key.scrubbed(&failure.reason);
                    Err(Failure { reason, ..failure }.having_spent(usage))
                }
            }
        }
        .boxed()
    }

    /// Of an answer that was given up the endpoint charges the prompt at least.
    fn charged_unheard(&self, ask: &Ask) -> Usage {
        Usage { tokens_in: asked_tokens(ask), ..Usage::default() }
    }
}
