//! What those who speak HTTP have in common: a client that follows no redirect, and what an answer means.
//!
//! | answer                                    | result                                                   |
//! | ----------------------------------------- | -------------------------------------------------------- |
//! | no connection                             | not sent: unavailable                                    |
//! | 408; 429                                  | not sent: unavailable; after `Retry-After`, where given  |
//! | any other 4xx, 3xx                        | rejected                                                 |
//! | 5xx, a timeout, an answer that breaks off | unsettled: it may have gone out                          |

use std::time::Duration;

use model::{EffectResult, Failure};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response, StatusCode};

/// Bytes of an answer that are read, at most.
pub const LONGEST_ANSWER: usize = 1 << 20;
/// Characters of an answer that are passed on.
const EXCERPT: usize = 300;
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// How long connecting may take.
const CONNECTING: Duration = Duration::from_secs(10);

/// A client that follows no redirect: one would carry what is sent, and perhaps a secret, to who was never configured.
///
/// # Errors
/// Permanent: there is no TLS.
pub fn client() -> Result<Client, Failure> {
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECTING)
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| Failure::permanent(format!("no HTTP client could be made: {e}")))
}

/// The body of a successful answer to a request that publishes, or what the answer means.
///
/// # Errors
/// What the answer means, as the table has it.
pub async fn published(
    sent: Result<Response, reqwest::Error>,
) -> Result<(StatusCode, Vec<u8>), EffectResult> {
    let response = sent.map_err(|error| {
        if error.is_connect() || error.is_builder() {
            EffectResult::NotSent(Failure::unavailable(chain(&error)))
        } else {
            EffectResult::Unsettled { reason: chain(&error) }
        }
    })?;
    let (status, pause) = (response.status(), pause(&response));
    let body = body(response).await;
    if status.is_success() {
        return body.map(|body| (status, body)).map_err(|reason| EffectResult::Unsettled { reason });
    }
    let reason = told(status, &body.unwrap_or_default());
    Err(match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => EffectResult::NotSent(match pause {
            Some(pause) => Failure::retry_after(pause, reason),
            None => Failure::unavailable(reason),
        }),
        _ if status.is_server_error() => EffectResult::Unsettled { reason },
        _ => EffectResult::Rejected { reason },
    })
}

/// The body of a successful answer to a request that changes nothing.
///
/// # Errors
/// Permanent for a 4xx but 408 and 429; unavailable otherwise.
pub async fn asked(sent: Result<Response, reqwest::Error>) -> Result<Vec<u8>, Failure> {
    let response = sent.map_err(|error| Failure::unavailable(chain(&error)))?;
    let (status, pause) = (response.status(), pause(&response));
    let body = body(response).await.map_err(Failure::unavailable)?;
    let reason = || told(status, &body);
    match status {
        _ if status.is_success() => Ok(body),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(match pause {
            Some(pause) => Failure::retry_after(pause, reason()),
            None => Failure::unavailable(reason()),
        }),
        _ if status.is_client_error() => Err(Failure::permanent(reason())),
        _ => Err(Failure::unavailable(reason())),
    }
}

/// How long the answer asks to be left alone, at most an hour: `Retry-After`, in seconds or as a date.
#[must_use]
pub fn pause(response: &Response) -> Option<Duration> {
    let value = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = match value.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            (at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

/// The whole answer, if it is not longer than [`LONGEST_ANSWER`].
///
/// # Errors
/// In words: it is longer, or breaks off.
pub async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= LONGEST_ANSWER => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(format!("the answer is longer than {LONGEST_ANSWER} bytes")),
            Ok(None) => return Ok(body),
            Err(error) => return Err(chain(&error)),
        }
    }
}

/// A status with an excerpt of what came with it.
#[must_use]
pub fn told(status: StatusCode, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let excerpt: String =
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EXCERPT).collect();
    if excerpt.is_empty() {
        format!("it answered {status}")
    } else {
        format!("it answered {status}: {excerpt}")
    }
}

/// An error with its causes, without the URL, which may hold a secret.
#[must_use]
pub fn chain(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    let kind = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the exchange broke off"
    };
    format!("{kind}{text}")
}
