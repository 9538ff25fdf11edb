//! Fetching: conditional, bounded in time, size and redirects, and not from private addresses unless allowed.
//!
//! What has come when a bound is reached, or a connection ends early, is handed over with the reason. An address may carry
//! a secret (a user, a password, a query), so a reason names its host alone.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::Failure;
use nix::fcntl::OFlag;
use reqwest::header::{
    ACCEPT, ETAG, HeaderMap, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
};
use reqwest::{Client, Response, StatusCode, Url};
use tokio::fs::OpenOptions;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

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
    /// The beginning of a document, and why no more of it was read.
    Beginning(Vec<u8>, Failure),
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
    /// Permanent: another scheme, a private address, a 4xx, what is no regular file. After a time: 429 and 503 that say so.
    /// Transient otherwise.
    pub async fn fetch(&self, url: &str, known: &Validators) -> Result<Fetched, Failure> {
        if let Some(path) = url.strip_prefix("file:") {
            return self.file(PathBuf::from(path.strip_prefix("//").unwrap_or(path))).await;
        }
        let url = Url::parse(url).map_err(|e| Failure::permanent(format!("its url is no address: {e}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Failure::permanent(format!(
                "only http, https and file are read, not {}",
                url.scheme()
            )));
        }
        if !self.limits.allow_private && names_private(&url) {
            return Err(Failure::permanent(format!(
                "{} is a private address; allow_private would let it be read",
                host(&url)
            )));
        }
        self.http(url, known).await
    }

    async fn http(&self, url: Url, known: &Validators) -> Result<Fetched, Failure> {
        let asked = host(&url);
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
        let response =
            request.send().await.map_err(|e| Failure::transient(format!("{asked}: {}", chain(e))))?;
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
        self.body(response).await
    }

    async fn body(&self, mut response: Response) -> Result<Fetched, Failure> {
        let validators = Validators {
            etag: header(response.headers(), ETAG.as_str()),
            last_modified: header(response.headers(), LAST_MODIFIED.as_str()),
        };
        let size = self.size();
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if chunk.len() > size - bytes.len() => {
                    bytes.extend_from_slice(&chunk[..size - bytes.len()]);
                    return beginning(bytes, self.too_long());
                }
                Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
                Ok(None) => return Ok(Fetched::Document(bytes, validators)),
                Err(error) if error.is_timeout() => return beginning(bytes, self.too_slow()),
                Err(error) => {
                    return beginning(
                        bytes,
                        Failure::transient(format!("its answer broke off: {}", chain(error))),
                    );
                }
            }
        }
    }

    async fn file(&self, path: PathBuf) -> Result<Fetched, Failure> {
        let wrong = |e: std::io::Error| Failure::permanent(format!("{} cannot be read: {e}", path.display()));
        let mut bytes = Vec::new();
        let read = async {
            // Without this flag the opening of a FIFO waits for a writer, in a thread that nothing can end.
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let file =
                OpenOptions::new().read(true).custom_flags(flags.bits()).open(&path).await.map_err(wrong)?;
            if !file.metadata().await.map_err(wrong)?.is_file() {
                return Err(Failure::permanent(format!("{} is no regular file", path.display())));
            }
            file.take(self.limits.size.saturating_add(1)).read_to_end(&mut bytes).await.map_err(wrong)
        };
        match timeout(self.limits.timeout, read).await {
            Ok(Ok(_)) if bytes.len() > self.size() => {
                bytes.truncate(self.size());
                beginning(bytes, self.too_long())
            }
            Ok(Ok(_)) => Ok(Fetched::Document(bytes, Validators::default())),
            Ok(Err(failure)) => beginning(bytes, failure),
            Err(_) => beginning(bytes, self.too_slow()),
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.limits.size).unwrap_or(usize::MAX)
    }

    fn too_long(&self) -> Failure {
        Failure::permanent(format!("it is longer than {} bytes", self.limits.size))
    }

    fn too_slow(&self) -> Failure {
        Failure::transient(format!("it was not there as a whole after {:?}", self.limits.timeout))
    }
}

/// What came before a failure, which is all there is where nothing came.
fn beginning(bytes: Vec<u8>, failure: Failure) -> Result<Fetched, Failure> {
    if bytes.is_empty() { Err(failure) } else { Ok(Fetched::Beginning(bytes, failure)) }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn host(url: &Url) -> String {
    url.host_str().unwrap_or_default().to_owned()
}

/// What went wrong, with its causes and without the address.
fn chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next = std::error::Error::source(&error);
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
