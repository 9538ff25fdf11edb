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
    pub(crate) fn of(gateway: &Gateway) -> Result<Self, Fault> {
        let local = LocalFleet::read(&gateway.folder);
        let url = gateway.url.clone().or_else(|| local.map(|fleet| fleet.gateway)).ok_or_else(|| {
            Fault::unavailable(format!(
                "no gateway is known: start a local fleet with `tidemill up` (looked in {}), or pass --url",
                gateway.folder.display()
            ))
        })?;
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
            .timeout(Duration::from_secs(120))
            .build()
            .map_err(|e| Fault::bug(format!("no HTTP client: {e}")))?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned(), token: token.trim().to_owned() })
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Fault> {
        self.answer(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Fault> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// Sends NDJSON.
    pub(crate) async fn send_lines(&self, lines: &str) -> Result<Value, Fault> {
        let request = self.request(Method::POST, "/v1/events").header("content-type", "application/x-ndjson");
        self.answer(request.body(lines.to_owned())).await
    }

    /// Follows server-sent events from after the id `after`, or from now on.
    pub(crate) async fn follow(&self, path: &str, after: Option<&str>) -> Result<Following, Fault> {
        let mut request = self.request(Method::GET, path).timeout(FOLLOWED);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        if !response.status().is_success() {
            return Err(Self::read(response).await.err().unwrap_or_else(|| Fault::bug("no answer")));
        }
        Ok(Following { response, unread: Vec::new() })
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token)
    }

    fn unreachable(&self, error: &reqwest::Error) -> Fault {
        Fault::unavailable(format!("the gateway {} does not answer: {error}; is the fleet up?", self.url))
    }

    /// Asks; waits and asks again while the gateway says that it is too much.
    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value, Fault> {
        loop {
            let again = request.try_clone().ok_or_else(|| Fault::bug("a request that cannot be repeated"))?;
            let response = again.send().await.map_err(|e| self.unreachable(&e))?;
            if response.status() != StatusCode::TOO_MANY_REQUESTS {
                return Self::read(response).await;
            }
            let after = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
            tokio::time::sleep(Duration::from_secs(after.unwrap_or(1))).await;
        }
    }

    async fn read(response: reqwest::Response) -> Result<Value, Fault> {
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        if status.is_success() {
            return Ok(body);
        }
        let word = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        let mut message = format!("{} ({}): {}", word("title"), status.as_u16(), word("detail"));
        if let Some(violations) = body["violations"].as_array() {
            for violation in violations {
                message.push_str(&format!("\n  {}: {}", violation["rule"], violation["detail"]));
            }
        }
        Err(if status.is_server_error() { Fault::unavailable(message) } else { Fault::usage(message) })
    }
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
