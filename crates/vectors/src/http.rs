//! What the HTTP clients of this crate have in common.

use std::time::Duration;

use reqwest::{Client, ClientBuilder, Response};

use crate::Error;

/// Bytes of an error answer that are passed on.
const EXCERPT: usize = 300;

/// A client for requests that take `timeout` at most, from connecting to the last byte.
pub(crate) fn client(timeout: Duration) -> ClientBuilder {
    Client::builder()
        .timeout(timeout)
        .connect_timeout(timeout.min(Duration::from_secs(5)))
        // A redirect would carry texts or vectors, and perhaps the key, to who was never configured.
        .redirect(reqwest::redirect::Policy::none())
}

/// # Errors
///
/// Permanent.
pub(crate) fn build(client: ClientBuilder) -> Result<Client, Error> {
    client
        .build()
        .map_err(|error| Error::permanent(format!("cannot build an HTTP client: {}", chain(&error))))
}

/// The body of an answer; `None` where it is longer than `limit` bytes.
pub(crate) async fn body(mut answer: Response, limit: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if bytes.len() + chunk.len() > limit {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// The beginning of an error answer, for a message.
pub(crate) fn excerpt(body: &[u8]) -> String {
    crate::hashing::prefix(String::from_utf8_lossy(body).trim(), EXCERPT).to_owned()
}

/// reqwest's own text stops before the cause ("error sending request"), which is what an operator needs.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
