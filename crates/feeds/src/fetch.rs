//! Fetching: conditional, bounded in time, size and redirects, and not from private addresses unless allowed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Failure;
use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use reqwest::{Client, StatusCode, Url};
use tokio::io::AsyncReadExt;

use crate::private::{PublicOnly, names_private};

/// Redirects that are followed.
const REDIRECTS: usize = 5;

/// Bounds of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From connecting to the last byte.
    pub timeout: Duration,
    /// The longest document, in bytes after decompression.
    pub size: u64,
    /// Whether private addresses may be asked.
    pub allow_private: bool,
}

/// What a server said of the document it sent, to be told when it is asked again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validators {
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
}

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// The document is what it was.
    Unchanged,
    /// A document.
    Document(Vec<u8>, Validators),
}

/// Fetches documents.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    limits: Limits,
}

impl Fetcher {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// Permanent: no HTTP client can be made.
    pub fn new(limits: Limits) -> Result<Self, Failure> {
        let checked = reqwest::redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > REDIRECTS {
                return attempt.error(format!("more than {REDIRECTS} redirects"));
            }
            if !limits.allow_private && names_private(attempt.url()) {
                return attempt.error("it redirects to a private address");
            }
            attempt.follow()
        });
        let mut builder = Client::builder()
            .redirect(checked)
            .timeout(limits.timeout)
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")));
        if !limits.allow_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly)).no_proxy();
        }
        let client =
            builder.build().map_err(|e| Failure::permanent(format!("no HTTP client could be made: {e}")))?;
        Ok(Self { client, limits })
    }

    /// Fetches `http://`, `https://` or `file:`.
    ///
    /// # Errors
    /// Permanent: another scheme, a private address, a 4xx, a document that is too long. After a time: 429 and 503 that
    /// say so. Transient otherwise.
    pub async fn fetch(&self, url: &str, known: &Validators) -> Result<Fetched, Failure> {
        if let Some(path) = url.strip_prefix("file:") {
            return self.file(PathBuf::from(path.strip_prefix("//").unwrap_or(path))).await;
        }
        let url = Url::parse(url).map_err(|e| Failure::permanent(format!("`{url}` is no address: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::permanent(format!("{url}: only http, https and file are read")));
        }
        if !self.limits.allow_private && names_private(&url) {
            return Err(Failure::permanent(format!(
                "{url} is a private address; allow_private would let it be read"
            )));
        }
        self.http(url, known).await
    }

    async fn http(&self, url: Url, known: &Validators) -> Result<Fetched, Failure> {
        let transient = |e: reqwest::Error| Failure::transient(chain(&e));
        let mut request = self.client.get(url).header(
            ACCEPT,
            "application/atom+xml, application/rss+xml, application/feed+json, application/xml;q=0.9, */*;q=0.5",
        );
        if let Some(etag) = &known.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        if let Some(date) = &known.last_modified {
            request = request.header(IF_MODIFIED_SINCE, date);
        }
        let mut response = request.send().await.map_err(transient)?;
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            return Ok(Fetched::Unchanged);
        }
        if !status.is_success() {
            let wait = header(response.headers(), RETRY_AFTER.as_str()).and_then(|text| text.parse().ok());
            let reason = format!("it answered {status}");
            return Err(match wait {
                Some(seconds) => Failure::retry_after(Duration::from_secs(seconds), reason),
                None if status.is_client_error() => Failure::permanent(reason),
                None => Failure::transient(reason),
            });
        }
        let validators = Validators {
            etag: header(response.headers(), ETAG.as_str()),
            last_modified: header(response.headers(), LAST_MODIFIED.as_str()),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transient)? {
            bytes.extend_from_slice(&chunk);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.limits.size {
                return Err(self.too_long());
            }
        }
        Ok(Fetched::Document(bytes, validators))
    }

    async fn file(&self, path: PathBuf) -> Result<Fetched, Failure> {
        let wrong = |e: std::io::Error| Failure::permanent(format!("{} cannot be read: {e}", path.display()));
        let file = tokio::fs::File::open(&path).await.map_err(wrong)?;
        let mut bytes = Vec::new();
        file.take(self.limits.size + 1).read_to_end(&mut bytes).await.map_err(wrong)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > self.limits.size {
            return Err(self.too_long());
        }
        Ok(Fetched::Document(bytes, Validators::default()))
    }

    fn too_long(&self) -> Failure {
        Failure::permanent(format!("it is longer than {} bytes", self.limits.size))
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
