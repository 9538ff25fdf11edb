//! The gateway's API as the commands use it.

use std::path::Path;
use std::time::Duration;

use fleet::Fault;
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::Gateway;

/// What a running local fleet leaves in its folder for the commands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LocalFleet {
    pub(crate) gateway: String,
    pub(crate) redis_url: String,
    pub(crate) database_url: String,
    pub(crate) pid: u32,
    /// Whom connections trust; the URLs stand above.
    #[serde(default)]
    pub(crate) redis: fleet::config::Redis,
    #[serde(default)]
    pub(crate) database: fleet::config::Database,
}

impl LocalFleet {
    pub(crate) fn redis(&self) -> streams::Endpoint {
        self.redis.endpoint_at(self.redis_url.clone())
    }

    pub(crate) fn database(&self) -> record::Endpoint {
        self.database.endpoint_at(self.database_url.clone())
    }

    pub(crate) const FILE: &str = "fleet.json";
    pub(crate) const TOKEN: &str = "token";

    pub(crate) fn read(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder.join(Self::FILE)).ok()?).ok()
    }
}

/// How long a connection to the gateway may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take. The gateway gives up PostgreSQL after 10 s by itself, where it can notice.
const ANSWER: Duration = Duration::from_secs(30);
/// The longest that one connection is followed.
const FOLLOWED: Duration = Duration::from_secs(24 * 3600);

/// A client of one gateway.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Client {
    /// A client, where a gateway is named or a local fleet runs.
    pub(crate) fn known(gateway: &Gateway) -> Result<Option<Self>, Fault> {
        let known = gateway.url.is_some() || LocalFleet::read(&gateway.folder).is_some();
        known.then(|| Self::of(gateway)).transpose()
    }

    pub(crate) fn of(gateway: &Gateway) -> Result<Self, Fault> {
        let local = LocalFleet::read(&gateway.folder);
        let url = gateway.url.clone().or_else(|| local.map(|fleet| fleet.gateway)).ok_or_else(|| {
            Fault::unavailable(format!(
                "no gateway is known: start a local fleet with `tidemill up` (looked in {}), or pass --url",
                gateway.folder.display()
            ))
        })?;
        let url = address(&url)?;
        let kept = || std::fs::read_to_string(gateway.folder.join(LocalFleet::TOKEN)).ok();
        let given = match (&gateway.token, &gateway.token_file) {
            (Some(_), Some(_)) => {
                let message = "--token (TIDEMILL_TOKEN) and --token-file (TIDEMILL_TOKEN_FILE) are both given: keep one";
                return Err(Fault::usage(message));
            }
            (None, Some(file)) => Some(fleet::config::read_secret("--token-file", file)?),
            (token, None) => token.clone(),
        };
        let token = given.or_else(kept).ok_or_else(|| {
            Fault::usage("no access token is known: pass --token or set TIDEMILL_TOKEN; `tidemill tokens add` makes one")
        })?;
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .map_err(|e| Fault::bug(format!("no HTTP client: {e}")))?;
        Ok(Self { http, url, token: token.trim().to_owned() })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.answer(self.request(Method::GET, path)).await
    }

    /// Asks for what is no JSON.
    pub(crate) async fn get_text(&self, path: &str) -> Result<String, Fault> {
        let response = self.taken(self.request(Method::GET, path)).await?;
        response.text().await.map_err(|e| self.unreachable(&e))
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a text of another kind than JSON.
    pub(crate) async fn send_text(&self, path: &str, kind: &str, text: String) -> Result<Value, Fault> {
        self.answer(self.request(Method::POST, path).header("content-type", kind).body(text)).await
    }

    /// Sends NDJSON.
    pub(crate) async fn send_lines(&self, lines: &str) -> Result<Value, Fault> {
        self.answer(self.lines(lines)).await
    }

    fn lines(&self, lines: &str) -> reqwest::RequestBuilder {
        let request = self.request(Method::POST, "/v1/events").header("content-type", "application/x-ndjson");
        request.body(lines.to_owned())
    }

    /// Offers NDJSON once: the answer, whatever it is.
    pub(crate) async fn offer(&self, lines: &str) -> Result<(StatusCode, Value), Fault> {
        let response = self.lines(lines).send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        let answer = response.json().await;
        answer.map(|answer| (status, answer)).map_err(|e| self.unreachable(&e))
    }

    /// Follows server-sent events from after the id `after`, or from now on.
    pub(crate) async fn follow(&self, path: &str, after: Option<&str>) -> Result<Following, Fault> {
        let mut request = self.request(Method::GET, path).timeout(FOLLOWED);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = Self::granted(request.send().await.map_err(|e| self.unreachable(&e))?).await?;
        Ok(Following { response, unread: Vec::new() })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        let url = &self.url;
        Fault::unavailable(if error.is_connect() {
            format!("the gateway {url} cannot be reached: {}; is the fleet up?", cause(error))
        } else if error.is_timeout() {
            format!(
                "the gateway {url} has not answered within {} s: PostgreSQL or Redis may be out; `tidemill doctor` tells. \
                 What was asked for may have been done: look before you ask again",
                ANSWER.as_secs()
            )
        } else {
            format!("the gateway {url} broke off: {}; its log says why", cause(error))
        })
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Fault> {
        Ok(self.taken(request).await?.json().await.unwrap_or_default())
    }

    /// Asks; waits and asks again while the gateway says that it is too much, which is told once.
    async fn taken(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response, Fault> {
        let mut told = false;
        loop {
            let again = request.try_clone().ok_or_else(|| Fault::bug("a request that cannot be repeated"))?;
            let response = again.send().await.map_err(|e| self.unreachable(&e))?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return Self::granted(response).await;
            }
            let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
            if !std::mem::replace(&mut told, true) {
                let body: Value = response.json().await.unwrap_or_default();
                eprintln!(
                    "The gateway asks to wait: {}. Waiting until it takes more; Ctrl-C ends it.",
                    body["detail"].as_str().unwrap_or("too many requests")
                );
            }
            tokio::time::sleep(Duration::from_secs(after.unwrap_or(1))).await;
        }
    }

    /// The answer, unless it is a refusal.
    async fn granted(response: reqwest::Response) -> Result<reqwest::Response, Fault> {
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, address) = (response.status(), response.url().origin().ascii_serialization());
        let body: Value = response.json().await.unwrap_or_default();
        let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let mut message = if body["title"].is_string() {
            format!("{} ({}): {}", word("title"), status.as_u16(), word("detail"))
        } else {
            format!("{address} answers {status}, and not as a gateway does: is the address right?")
        };
        if let Some(violations) = body["violations"].as_array() {
            for violation in violations {
                message.push_str(&format!("\n  {}: {}", violation["rule"], violation["detail"]));
            }
        }
        Err(if status.is_server_error() { Fault::unavailable(message) } else { Fault::usage(message) })
    }
}

/// The address without its last slash.
fn address(text: &str) -> Result<String, Fault> {
    let known = reqwest::Url::parse(text).is_ok_and(|url| ["http", "https"].contains(&url.scheme()));
    if known {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    let meant = text.rsplit("://").next().unwrap_or(text);
    Err(Fault::usage(format!("`{text}` is no address of a gateway: write it like http://{meant}")))
}

/// What lies below an error of the HTTP client, whose own words only repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut deepest: &dyn std::error::Error = error;
    while let Some(below) = deepest.source() {
        deepest = below;
    }
    deepest.to_string()
}

/// Events that come as they happen.
#[derive(Debug)]
pub(crate) struct Following {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl Following {
    /// The next event with its id; `None` where the connection ended.
    pub(crate) async fn next(&mut self) -> Option<(Option<String>, Value)> {
        let (mut id, mut data) = (None, String::new());
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&self.unread[..end]).trim_end().to_owned();
                self.unread.drain(..=end);
                if let Some(value) = line.strip_prefix("id:") {
                    id = Some(value.trim().to_owned());
                } else if let Some(value) = line.strip_prefix("data:") {
                    data.push_str(value);
                } else if line.is_empty() && !data.is_empty() {
                    if let Ok(event) = serde_json::from_str(&data) {
                        return Some((id, event));
                    }
                    data.clear();
                }
            }
            match self.response.chunk().await {
                Ok(Some(more)) => self.unread.extend_from_slice(&more),
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// Percent-encodes what is not plainly safe in a query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use fleet::FaultKind;

    use super::*;

    fn at(url: &str) -> Gateway {
        Gateway { url: Some(url.to_owned()), token: Some("t".to_owned()), ..Gateway::default() }
    }

    #[test]
    fn an_address_without_http_is_refused_with_the_one_that_is_meant() {
        rustls::crypto::ring::default_provider().install_default().ok();
        for wrong in ["127.0.0.1:18480", "localhost:18480", "redis://127.0.0.1:18480", ""] {
            let fault = Client::of(&at(wrong)).unwrap_err();
            assert!(fault.kind == FaultKind::Usage && fault.message.contains("http://"), "{fault}");
        }
        assert_eq!(Client::of(&at("http://127.0.0.1:1/")).unwrap().url, "http://127.0.0.1:1");
    }

    #[tokio::test]
    async fn a_gateway_that_is_not_there_and_one_that_keeps_silent_are_told_apart() {
        rustls::crypto::ring::default_provider().install_default().ok();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = format!("http://{}", listener.local_addr().unwrap());
        let mut client = Client::of(&at(&silent)).unwrap();
        client.http = reqwest::Client::builder().timeout(Duration::from_millis(50)).build().unwrap();
        let fault = client.get("/v1/runs").await.unwrap_err();
        assert!(fault.message.contains("has not answered") && fault.message.contains("doctor"), "{fault}");
        drop(listener);
        let fault = client.get("/v1/runs").await.unwrap_err();
        assert!(fault.message.contains("cannot be reached: Connection refused"), "{fault}");
    }
}
