//! Asking the server: every answer is bounded, and what is no answer of Weaviate's is an outage.

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::WeaviateConfig;
use crate::{Error, http};

/// The longest answer that carries no vectors.
pub(super) const SHORT: usize = 256 * 1024;
/// Requests under way at once: a worker holds hundreds of jobs, and each is faster where fewer compete.
const AT_ONCE: usize = 32;

/// The connection to one server.
#[derive(Debug)]
pub(super) struct Http {
    url: Url,
    /// The server in words: without what a URL may have of a password.
    name: String,
    api_key: Option<String>,
    client: reqwest::Client,
    places: Semaphore,
}

/// What was answered, before anybody looked at its body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    body: Vec<u8>,
}

impl Http {
    pub(super) fn new(config: &WeaviateConfig) -> Result<Self, Error> {
        let wrong =
            |why: &str| Error::permanent(format!("`{}` is no address of Weaviate: {why}", config.url));
        let mut url = Url::parse(&config.url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("write it as http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::permanent("the address of Weaviate has a user or password: use its API key"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let client = http::build(http::client(config.timeout).pool_max_idle_per_host(AT_ONCE))?;
        let name = format!("Weaviate at {}", url.as_str().trim_end_matches('/'));
        Ok(Self { url, name, api_key: config.api_key.clone(), client, places: Semaphore::new(AT_ONCE) })
    }

    /// The server in words, for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Asks, and reads at most `limit` bytes of answer.
    pub(super) async fn ask<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
        limit: usize,
    ) -> Result<Answer, Error> {
        // The semaphore is never closed; were it, one more request would do no harm.
        let _place = self.places.acquire().await.ok();
        let url = self.url.join(path).map_err(|error| Error::permanent(format!("{path}: {error}")))?;
        let mut request = self.client.request(method, url);
        if let Some(key) = &self.api_key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.away(&error))?;
        let status = answer.status();
        let body = http::body(answer, limit).await.map_err(|error| self.away(&error))?;
        let too_long = || Error::outage(format!("{} answered more than {limit} bytes", self.name));
        Ok(Answer { status, body: body.ok_or_else(too_long)? })
    }

    fn away(&self, error: &reqwest::Error) -> Error {
        // reqwest's own text repeats the URL.
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), http::chain);
        let what = if error.is_timeout() { "did not answer in time" } else { "cannot be reached" };
        Error::outage(format!("{} {what}: {cause}", self.name))
    }

    /// The body of a good answer, as JSON of this shape. A server that answers in another shape is not the one that was
    /// configured: whatever it is asked next, it will answer alike.
    pub(super) fn read<T: DeserializeOwned>(&self, answer: &Answer) -> Result<T, Error> {
        if !answer.status.is_success() {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error::outage(format!("{} answered what cannot be read: {error}", self.name)))
    }

    /// The error of an answer that is none of 2xx: this request's own where Weaviate complains of what it was sent, else
    /// the service's.
    pub(super) fn refused(&self, answer: &Answer) -> Error {
        let reason = format!("{} answered {}: {}", self.name, answer.status, http::excerpt(&answer.body));
        match answer.status {
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Error::transient(reason)
            }
            _ => Error::outage(reason),
        }
    }
}
