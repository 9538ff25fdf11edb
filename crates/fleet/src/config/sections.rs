//! The sections that every process has.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Fault;

/// The shared sections that hold no secret.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What the streams are called.
    pub streams: streams::StreamNames,
    /// How a worker works.
    pub worker: Worker,
    /// Health and metrics.
    pub admin: Admin,
    /// Logs.
    pub log: Log,
    /// What must never be published.
    pub policy: PolicyFile,
    /// What must hold before a run goes on.
    pub gates: GateFiles,
}

/// Where Redis is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://`, `rediss://` or `redis+unix://`.
    pub url: Option<String>,
    /// The authorities that are trusted over TLS in place of the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// The certificate by which the server knows its client, in PEM.
    pub certificate_file: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub key_file: Option<PathBuf>,
}

/// Where PostgreSQL is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://`.
    pub url: Option<String>,
    /// Authorities that are trusted over TLS beside the system's, in PEM; the server's certificate is checked then.
    pub ca_file: Option<PathBuf>,
    /// Connections of one process, at most.
    #[serde(deserialize_with = "super::units::positive")]
    pub connections: u32,
}

impl Default for Database {
    fn default() -> Self {
        Self { url: None, ca_file: None, connections: 6 }
    }
}

impl Redis {
    /// Whether a URL is configured.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.url.is_some()
    }

    /// The URL.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where there is none.
    pub fn url(&self) -> Result<String, Fault> {
        url("redis.url", self.url.as_ref())
    }

    /// The URL, and whom a connection to it trusts.
    ///
    /// # Errors
    /// As [`Redis::url`].
    pub fn endpoint(&self) -> Result<streams::Endpoint, Fault> {
        Ok(self.endpoint_at(self.url()?))
    }

    /// Another URL, and whom a connection trusts.
    #[must_use]
    pub fn endpoint_at(&self, url: String) -> streams::Endpoint {
        streams::Endpoint {
            url,
            ca_file: self.ca_file.clone(),
            certificate_file: self.certificate_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

impl Database {
    /// Whether a URL is configured.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.url.is_some()
    }

    /// The URL.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where there is none.
    pub fn url(&self) -> Result<String, Fault> {
        url("database.url", self.url.as_ref())
    }

    /// The URL, and whom a connection to it trusts.
    ///
    /// # Errors
    /// As [`Database::url`].
    pub fn endpoint(&self) -> Result<record::Endpoint, Fault> {
        Ok(self.endpoint_at(self.url()?))
    }

    /// Another URL, and whom a connection trusts.
    #[must_use]
    pub fn endpoint_at(&self, url: String) -> record::Endpoint {
        record::Endpoint { url, ca_file: self.ca_file.clone() }
    }
}

fn url(key: &str, value: Option<&String>) -> Result<String, Fault> {
    value.cloned().ok_or_else(|| {
        let flag = key.replace('.', "-");
        Fault::usage(format!(
            "{key} is not configured: set it in tidemill.yaml or pass --{flag}, or run `tidemill up`, which brings its own servers"
        ))
    })
}

/// How a worker works.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Jobs held at once.
    #[serde(deserialize_with = "super::units::positive")]
    pub concurrency: usize,
    /// Jobs committed, or handed over, at once.
    #[serde(deserialize_with = "super::units::positive")]
    pub group: usize,
    /// An entry whose holder has not renewed it for this long is taken over.
    #[serde(with = "super::units::period")]
    pub takeover_after: Duration,
    /// Deliveries after which an entry without an outcome is a dead letter. The first two are shared with others,
    /// the rest are solitary.
    #[serde(deserialize_with = "super::units::positive")]
    pub max_deliveries: i64,
    /// Reading pauses while a stream that a step leads to holds more entries than this, and no trigger begins a run in it.
    pub high_water: u64,
    /// How long a stopping process may finish what it holds.
    #[serde(with = "super::units::duration")]
    pub grace: Duration,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 512,
            group: 256,
            takeover_after: Duration::from_secs(30),
            max_deliveries: 5,
            high_water: 100_000,
            grace: Duration::from_secs(20),
        }
    }
}

/// Health and metrics.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Address of `/healthz`, `/readyz` and `/metrics`; port 0 takes a free one.
    pub address: String,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: "127.0.0.1:0".to_owned() }
    }
}

/// Logs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// What is logged, such as `info` or `info,tidemill_fleet=debug`.
    pub filter: String,
    /// How it is written, to standard error.
    pub format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Json }
    }
}

/// What must never be published.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyFile {
    /// The policy document; without one nothing is forbidden.
    pub file: Option<PathBuf>,
}

impl PolicyFile {
    /// Reads the policy.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file and line.
    pub fn read(&self) -> Result<rails::Policy, Fault> {
        let Some(file) = &self.file else { return Ok(rails::Policy::default()) };
        let text = std::fs::read_to_string(file)
            .map_err(|e| Fault::usage(format!("policy.file: {} cannot be read: {e}", file.display())))?;
        rails::Policy::parse(&text).map_err(|e| Fault::usage(format!("{}: {e}", file.display())))
    }
}

/// What must hold before a run goes on.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateFiles {
    /// The policy documents of gates; a gate's name stands in one of them.
    pub files: Vec<PathBuf>,
}

impl GateFiles {
    /// Reads the gates.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file, line and column.
    pub fn read(&self) -> Result<rails::GatePolicies, Fault> {
        let mut documents = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let text = std::fs::read_to_string(file)
                .map_err(|e| Fault::usage(format!("gates.files: {} cannot be read: {e}", file.display())))?;
            documents.push((file.display().to_string(), text));
        }
        let documents = documents.iter().map(|(file, text)| (file.as_str(), text.as_str()));
        rails::GatePolicies::parse(documents).map_err(|e| Fault::usage(e.to_string()))
    }
}
