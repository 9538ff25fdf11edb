//! Any endpoint that speaks OpenAI's `POST /embeddings`.
//!
//! reqwest rather than an OpenAI client: those retry on their own, and here the rails decide when and how often.

mod answer;

use std::time::Duration;

use futures::future::BoxFuture;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde::Serialize;

use crate::{Embedder, Error, http};

/// The longest pause that a server may ask for; a mistaken year must not park a run for one.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// When a 429 does not say how long to wait.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(5);

/// Where and how to ask.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// Up to and without `/embeddings`, such as `http://127.0.0.1:8080/v1`.
    pub base_url: String,
    /// The name sent with each request and stored with each vector.
    pub model: String,
    /// The length of its vectors; an answer of another length is refused.
    pub dimensions: usize,
    /// Sent as a bearer token. Never shown, also not by `Debug`.
    pub api_key: Option<String>,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Texts in one request at most, 1 or more. More are sent in several requests, one after another.
    pub max_batch: usize,
    /// Whether to ask for vectors of `dimensions`, which only some models can shorten to.
    pub request_dimensions: bool,
}

impl std::fmt::Debug for OpenAiConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("base_url", &self.base_url)
            .field("model", &self.model)
            .field("dimensions", &self.dimensions)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("timeout", &self.timeout)
            .field("max_batch", &self.max_batch)
            .field("request_dimensions", &self.request_dimensions)
            .finish()
    }
}

/// An embedder behind HTTP.
///
/// | answer                                              | class                                        |
/// | --------------------------------------------------- | -------------------------------------------- |
/// | no connection; 401, 403 (our key, not the text)     | transient, an outage: every text fails alike |
/// | timeout, broken off, not JSON, 408, 5xx             | transient                                    |
/// | 429, 503 with `Retry-After`                         | after that time, at most an hour             |
/// | 429 without                                         | after 5 s                                    |
/// | any other 4xx; vectors of another number or length  | permanent                                    |
#[derive(Debug)]
pub struct OpenAi {
    config: OpenAiConfig,
    url: String,
    client: reqwest::Client,
}

#[derive(Serialize)]
struct Ask<'a> {
    model: &'a str,
    input: Vec<&'a str>,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<usize>,
}

impl OpenAi {
    /// Sends nothing yet.
    ///
    /// # Errors
    ///
    /// Permanent: the URL is none, or `dimensions` or `max_batch` is 0.
    pub fn new(config: OpenAiConfig) -> Result<Self, Error> {
        let url = format!("{}/embeddings", config.base_url.trim_end_matches('/'));
        reqwest::Url::parse(&url).map_err(|error| {
            Error::permanent(format!("embedding endpoint `{}`: {error}", config.base_url))
        })?;
        if config.dimensions == 0 || config.max_batch == 0 {
            return Err(Error::permanent("the embedder's dimensions and max_batch must be 1 or more"));
        }
        let client = http::build(http::client(config.timeout))?;
        Ok(Self { config, url, client })
    }

    async fn ask(&self, texts: &[String]) -> Result<Vec<Vec<f32>>, Error> {
        let ask = Ask {
            model: &self.config.model,
            // OpenAI refuses the empty text, and one such would take its neighbours down.
            input: texts.iter().map(|text| if text.is_empty() { " " } else { text.as_str() }).collect(),
            encoding_format: "float",
            dimensions: self.config.request_dimensions.then_some(self.config.dimensions),
        };
        let mut request = self.client.post(&self.url).json(&ask);
        if let Some(key) = &self.config.api_key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        if !answer.status().is_success() {
            return Err(self.refused(answer).await);
        }
        let limit = answer::max_bytes(texts.len(), self.config.dimensions);
        let body = http::body(answer, limit).await.map_err(|error| self.unreachable(&error))?;
        let too_long = || Error::permanent(format!("{}: answered more than {limit} bytes", self.url));
        answer::vectors(&body.ok_or_else(too_long)?, texts.len(), self.config.dimensions)
            .map_err(|error| error.at(&self.url))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        // reqwest's text repeats the URL, which may carry a password.
        let reason = format!("embedding endpoint {}: {}", self.config.model, http::chain(error));
        if error.is_connect() { Error::outage(reason) } else { Error::transient(reason) }
    }

    async fn refused(&self, answer: Response) -> Error {
        let status = answer.status();
        let pause = retry_after(&answer);
        let said = http::body(answer, 64 * 1024).await.ok().flatten().unwrap_or_default();
        let reason = format!("{} answered {status}: {}", self.url, http::excerpt(&said));
        match (status, pause) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Error::outage(reason),
            (StatusCode::TOO_MANY_REQUESTS, pause) => {
                Error::retry_after(pause.unwrap_or(DEFAULT_RETRY_AFTER), reason)
            }
            (StatusCode::SERVICE_UNAVAILABLE, Some(pause)) => Error::retry_after(pause, reason),
            (StatusCode::REQUEST_TIMEOUT, _) => Error::transient(reason),
            (status, _) if status.is_server_error() => Error::transient(reason),
            _ => Error::permanent(reason),
        }
    }
}

impl Embedder for OpenAi {
    fn model(&self) -> &str {
        &self.config.model
    }

    fn dimensions(&self) -> usize {
        self.config.dimensions
    }

    fn embed<'a>(&'a self, texts: &'a [String]) -> BoxFuture<'a, Result<Vec<Vec<f32>>, Error>> {
        Box::pin(async move {
            let mut vectors = Vec::with_capacity(texts.len());
            for batch in texts.chunks(self.config.max_batch) {
                vectors.extend(self.ask(batch).await?);
            }
            Ok(vectors)
        })
    }
}

/// `Retry-After` in seconds or as an HTTP date (RFC 9110 §10.2.3).
fn retry_after(answer: &Response) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            (at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(pause.min(MAX_RETRY_AFTER))
}
