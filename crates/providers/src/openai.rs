//! Any chat endpoint that speaks OpenAI's `POST /chat/completions`, through async-openai.
//!
//! The crate's own transport retries and reads without bounds; here one call is one request, the rails decide how often it is
//! made, and its transport is ours. Answers are read as leniently as the many endpoints that resemble OpenAI's need.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::{
    ChatCompletionRequestMessage, ChatCompletionRequestSystemMessage, ChatCompletionRequestUserMessage,
    ChatCompletionStreamOptions, CreateChatCompletionRequest, ResponseFormat, ResponseFormatJsonSchema,
};
use calls::Secret;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use model::{Failure, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::endpoint::{Endpoint, Growing, too_long};
use crate::{Answer, Ask, Provider, Said, asked_tokens, estimated_tokens};

/// Which endpoint, which model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenAiConfig {
    /// Up to and without `/chat/completions`, such as `http://127.0.0.1:11434/v1`.
    #[serde(default = "openai")]
    pub base_url: String,
    /// The model.
    pub model: String,
    /// The bearer token.
    #[serde(default)]
    pub api_key: Secret,
    /// Whether the answer is asked for as a stream, so that a silent endpoint is told from a slow one.
    #[serde(default = "yes")]
    pub stream: bool,
    /// Whether the endpoint is to hold its answers strictly to the schema, which only some schemas allow.
    #[serde(default)]
    pub strict: bool,
    /// Whether the limit of tokens is called `max_tokens`, as older endpoints have it.
    #[serde(default)]
    pub max_tokens_by_old_name: bool,
}

fn openai() -> String {
    "https://api.openai.com/v1".to_owned()
}

fn yes() -> bool {
    true
}

/// A chat endpoint that speaks as OpenAI's does.
#[derive(Debug)]
pub struct OpenAi {
    config: OpenAiConfig,
    endpoint: Endpoint,
}

/// A chunk of a stream, or a whole answer.
#[derive(Debug, Default, Deserialize)]
struct Piece {
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Counted>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Choice {
    #[serde(default, alias = "message")]
    delta: Option<Delta>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Counted {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

/// What has come of an answer so far.
#[derive(Debug, Default)]
struct Gathered {
    text: Growing,
    refusal: Growing,
    model: Option<String>,
    usage: Option<Counted>,
    finish: Option<String>,
}

/// A failure that async-openai's own error could not carry.
type Slot = Arc<Mutex<Option<Failure>>>;

impl OpenAi {
    /// Asks nothing yet. `idle` is how long the endpoint may be silent.
    ///
    /// # Errors
    /// Permanent: the address is none.
    pub fn new(config: OpenAiConfig, idle: Duration) -> Result<Self, Failure> {
        let url = reqwest::Url::parse(&config.base_url)
            .map_err(|e| Failure::permanent(format!("base_url: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::permanent("base_url: it must be http:// or https://"));
        }
        let endpoint = Endpoint::new(idle, config.api_key.clone())?;
        Ok(Self { config, endpoint })
    }

    fn body(&self, ask: &Ask) -> Result<Value, Failure> {
        let message = |content: &str| ChatCompletionRequestUserMessage::from(content);
        let messages: Vec<ChatCompletionRequestMessage> = vec![
            ChatCompletionRequestSystemMessage::from(ask.system.as_str()).into(),
            message(&ask.prompt).into(),
        ];
        let stream = self.config.stream;
        let request = CreateChatCompletionRequest {
            messages,
            model: self.config.model.clone(),
            response_format: self.format(ask),
            max_completion_tokens: Some(ask.max_tokens),
            stream: Some(stream),
            stream_options: stream.then_some(ChatCompletionStreamOptions {
                include_usage: Some(true),
                include_obfuscation: None,
            }),
            ..CreateChatCompletionRequest::default()
        };
        let mut body = serde_json::to_value(request)
            .map_err(|e| Failure::permanent(format!("the request cannot be written: {e}")))?;
        if let Value::Object(fields) = &mut body {
            if self.config.max_tokens_by_old_name
                && let Some(limit) = fields.remove("max_completion_tokens")
            {
                fields.insert("max_tokens".to_owned(), limit);
            }
            add_parameters(fields, &ask.parameters);
        }
        Ok(body)
    }

    fn format(&self, ask: &Ask) -> Option<ResponseFormat> {
        (!ask.output_schema.is_null()).then(|| ResponseFormat::JsonSchema {
            json_schema: ResponseFormatJsonSchema {
                description: None,
                name: "answer".to_owned(),
                schema: ask.output_schema.clone(),
                strict: Some(self.config.strict),
            },
        })
    }

    /// A client whose requests are sent by us. What went wrong is put into `slot`.
    fn client(&self, slot: &Slot) -> Client<OpenAIConfig> {
        let config = OpenAIConfig::new()
            .with_api_base(self.config.base_url.trim_end_matches('/'))
            .with_api_key(self.config.api_key.text().unwrap_or_default())
            .with_org_id("")
            .with_project_id("");
        let (endpoint, slot) = (self.endpoint.clone(), Arc::clone(slot));
        let service = tower::service_fn(move |factory: HttpRequestFactory| {
            let (endpoint, slot) = (endpoint.clone(), Arc::clone(&slot));
            async move {
                let mut request = factory.build().await?;
                if endpoint.key.text().is_none() {
                    request.headers_mut().remove(reqwest::header::AUTHORIZATION);
                }
                match endpoint.send(request).await {
                    Ok(response) => Ok(bounded(&endpoint, response, slot)),
                    Err(failure) => Err(noted(&slot, failure)),
                }
            }
        });
        Client::build(self.endpoint.client.clone(), config).with_http_service(service)
    }

    async fn gather(&self, ask: &Ask, gathered: &mut Gathered) -> Result<(), Failure> {
        let slot = Slot::default();
        let client = self.client(&slot);
        let chat = client.chat();
        let body = self.body(ask)?;
        let failed = |error: OpenAIError| self.failed(&slot, &error);
        if !self.config.stream {
            let whole: Piece = chat.create_byot(body).await.map_err(failed)?;
            return gathered.add(whole);
        }
        let mut pieces = chat.create_stream_byot::<_, Piece>(body).await.map_err(failed)?;
        while let Some(piece) = pieces.next().await {
            gathered.add(piece.map_err(failed)?)?;
        }
        if gathered.finish.is_none() {
            return Err(Failure::transient("the answer broke off"));
        }
        Ok(())
    }

    /// What an error of async-openai's stands for: our own, or an answer that cannot be read.
    fn failed(&self, slot: &Slot, error: &OpenAIError) -> Failure {
        let noted = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        noted.unwrap_or_else(|| match error {
            OpenAIError::JSONDeserialize(error, _) => {
                Failure::transient(format!("the answer cannot be read: {error}"))
            }
            other => {
                let words: String = other.to_string().chars().take(300).collect();
                Failure::transient(format!(
                    "the answer cannot be read: {}",
                    self.endpoint.key.scrubbed(&words)
                ))
            }
        })
    }

    fn usage(&self, ask: &Ask, gathered: &Gathered) -> Usage {
        let counted = gathered.usage.unwrap_or_else(|| Counted {
            prompt_tokens: asked_tokens(ask),
            completion_tokens: estimated_tokens(&gathered.text.0),
        });
        Usage { tokens_in: counted.prompt_tokens, tokens_out: counted.completion_tokens, ..Usage::default() }
    }
}

/// Parameters of the role; what the ask itself says, they do not override.
pub(crate) fn add_parameters(fields: &mut Map<String, Value>, parameters: &Map<String, Value>) {
    for (name, value) in parameters {
        fields.entry(name.clone()).or_insert_with(|| value.clone());
    }
}

fn noted(slot: &Slot, failure: Failure) -> OpenAIError {
    let words = failure.reason.clone();
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    OpenAIError::InvalidArgument(words)
}

/// The same answer, its body read within our bounds.
fn bounded(endpoint: &Endpoint, response: reqwest::Response, slot: Slot) -> reqwest::Response {
    let chunks =
        endpoint.chunks(response).map_err(move |failure| std::io::Error::other(noted(&slot, failure)));
    reqwest::Response::from(http::Response::new(reqwest::Body::wrap_stream(chunks)))
}

impl Gathered {
    fn add(&mut self, piece: Piece) -> Result<(), Failure> {
        if let Some(error) = piece.error {
            return Err(said_error(&error));
        }
        self.model = piece.model.or_else(|| self.model.take());
        self.usage = piece.usage.or(self.usage);
        if let Some(choice) = piece.choices.into_iter().next() {
            let delta = choice.delta.unwrap_or_default();
            self.text.push(&delta.content.unwrap_or_default())?;
            self.refusal.push(&delta.refusal.unwrap_or_default())?;
            self.finish = choice.finish_reason.or_else(|| self.finish.take());
        }
        Ok(())
    }

    fn said(&self) -> Result<String, Failure> {
        if !self.refusal.0.is_empty() {
            let words: String = self.refusal.0.chars().take(300).collect();
            return Err(Failure::permanent(format!("the model refuses: {words}")));
        }
        match self.finish.as_deref() {
            Some("length") => Err(cut_off()),
            Some("content_filter") => Err(Failure::permanent("the endpoint's filter holds the answer back")),
            _ => Ok(self.text.0.clone()),
        }
    }
}

/// An answer that had no room.
pub(crate) fn cut_off() -> Failure {
    Failure::permanent("the answer does not fit into `max_tokens`")
}

/// An error in the place of an answer.
fn said_error(error: &Value) -> Failure {
    let words: String = error.to_string().chars().take(300).collect();
    match error["code"].as_str() {
        Some("context_length_exceeded") => too_long(&words),
        _ => Failure::transient(format!("the endpoint failed: {words}")),
    }
}

impl Provider for OpenAi {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let mut gathered = Gathered::default();
            let read = self.gather(ask, &mut gathered).await;
            let said = read.and_then(|()| gathered.said());
            // A request that was refused cost nothing; an answer that began did.
            let began = said.is_ok() || gathered.usage.is_some() || !gathered.text.0.is_empty();
            let usage = if began { self.usage(ask, &gathered) } else { Usage::default() };
            match said {
                Ok(text) => Ok(Answer {
                    said: Said::Text(self.endpoint.key.scrubbed(&text)),
                    usage,
                    model: gathered.model.unwrap_or_else(|| self.config.model.clone()),
                }),
                Err(failure) => {
                    let reason = self.endpoint.key.scrubbed(&failure.reason);
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
