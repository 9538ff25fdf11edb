//! What chat endpoints have in common: one request, an answer that is read bounded in size and silence, and what refusals mean.
//!
//! | answer                                              | failure                                            |
//! | --------------------------------------------------- | -------------------------------------------------- |
//! | no connection; 401, 403; a quota that is used up    | unavailable: it is not this job's fault            |
//! | 429, and 503 or 529 with `Retry-After`              | after that time, at most an hour; 5 s where unsaid |
//! | 408, any other 5xx, silence, an answer that breaks  | transient                                          |
//! | a prompt that is too long for the model             | permanent                                          |
//! | any other 4xx, 3xx                                  | permanent                                          |

use std::time::Duration;

use bytes::Bytes;
use calls::{Secret, http};
use futures::stream::{self, BoxStream, StreamExt};
use model::Failure;
use reqwest::{Client, Request, Response, StatusCode};

/// Bytes that an endpoint may send for one answer, framing included.
const LONGEST_STREAM: usize = 16 << 20;
/// When a 429 does not say how long to wait.
const DEFAULT_PAUSE: Duration = Duration::from_secs(5);
/// The status of Anthropic's when it has too much to do.
const OVERLOADED: u16 = 529;
/// What endpoints say of a prompt that does not fit.
const TOO_LONG: [&str; 5] = [
    "context_length_exceeded",
    "maximum context length",
    "prompt is too long",
    "context window",
    "exceeds the available context",
];

/// How an endpoint is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) client: Client,
    /// How long it may be silent.
    pub(crate) idle: Duration,
    pub(crate) key: Secret,
}

impl Endpoint {
    pub(crate) fn new(idle: Duration, key: Secret) -> Result<Self, Failure> {
        Ok(Self { client: http::client()?, idle, key })
    }

    /// Sends a request; the answer if it is a success.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let sent = tokio::time::timeout(self.idle, self.client.execute(request));
        let response = sent.await.map_err(|_| self.silent())?.map_err(|error| self.broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, pause) = (response.status(), http::pause(&response));
        let body = tokio::time::timeout(self.idle, http::body(response)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        Err(self.refused(status, pause, &body))
    }

    /// What an answer sends, until it is silent for too long or longer than anyone reads.
    pub(crate) fn chunks(&self, response: Response) -> BoxStream<'static, Result<Bytes, Failure>> {
        let read = Reading { endpoint: self.clone(), response, bytes: 0, over: false };
        stream::unfold(read, Reading::next).boxed()
    }

    fn silent(&self) -> Failure {
        Failure::transient(format!("the endpoint was silent for {:?}", self.idle))
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let reason = self.key.scrubbed(&http::chain(error));
        match error.is_connect() {
            true => Failure::unavailable(reason),
            false => Failure::transient(reason),
        }
    }

    fn refused(&self, status: StatusCode, pause: Option<Duration>, body: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(body);
        let reason = self.key.scrubbed(&http::told(status, body));
        let quota = text.contains("insufficient_quota") || text.contains("billing");
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::unavailable(format!("the endpoint refuses the key, see its `api_key`: {reason}"))
            }
            StatusCode::PAYMENT_REQUIRED => Failure::unavailable(reason),
            StatusCode::TOO_MANY_REQUESTS if quota && pause.is_none() => Failure::unavailable(reason),
            StatusCode::TOO_MANY_REQUESTS => Failure::retry_after(pause.unwrap_or(DEFAULT_PAUSE), reason),
            _ if status.as_u16() == OVERLOADED => {
                Failure::retry_after(pause.unwrap_or(DEFAULT_PAUSE), reason)
            }
            _ if status.is_server_error() => match pause {
                Some(pause) => Failure::retry_after(pause, reason),
                None => Failure::transient(reason),
            },
            StatusCode::REQUEST_TIMEOUT => Failure::transient(reason),
            _ if TOO_LONG.iter().any(|words| text.contains(words)) => too_long(&reason),
            _ => Failure::permanent(format!("the endpoint refuses the request: {reason}")),
        }
    }
}

/// A prompt that no try makes shorter.
pub(crate) fn too_long(reason: &str) -> Failure {
    Failure::permanent(format!("the prompt is too long for the model: {reason}"))
}

struct Reading {
    endpoint: Endpoint,
    response: Response,
    bytes: usize,
    over: bool,
}

impl Reading {
    async fn next(mut self) -> Option<(Result<Bytes, Failure>, Self)> {
        if self.over {
            return None;
        }
        let read = tokio::time::timeout(self.endpoint.idle, self.response.chunk()).await;
        let chunk = match read {
            Ok(Ok(Some(chunk))) if self.bytes + chunk.len() <= LONGEST_STREAM => {
                self.bytes += chunk.len();
                Ok(chunk)
            }
            Ok(Ok(Some(_))) => Err(longer_than(LONGEST_STREAM)),
            Ok(Ok(None)) => return None,
            Ok(Err(error)) => Err(self.endpoint.broken(&error)),
            Err(_) => Err(self.endpoint.silent()),
        };
        self.over = chunk.is_err();
        Some((chunk, self))
    }
}

/// An answer that nobody keeps; who gave it did what was asked.
pub(crate) fn longer_than(limit: usize) -> Failure {
    Failure::unreadable(format!("the answer is longer than {limit} bytes"))
}

/// Text that grows up to the longest answer.
#[derive(Debug, Default)]
pub(crate) struct Growing(pub(crate) String);

impl Growing {
    pub(crate) fn push(&mut self, piece: &str) -> Result<(), Failure> {
        if self.0.len() + piece.len() > crate::LONGEST_ANSWER {
            return Err(longer_than(crate::LONGEST_ANSWER));
        }
        self.0.push_str(piece);
        Ok(())
    }
}
