//! The section `gateway`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How events are taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Where HTTP is served; port 0 takes a free one.
    pub address: String,
    /// The longest event, and the longest body that is not NDJSON.
    #[serde(with = "fleet::config::size")]
    pub max_event: u64,
    /// Over this backlog of the ingest stream events are answered 429.
    pub high_water: u64,
    /// What a 429 tells the sender to wait.
    #[serde(with = "fleet::config::duration")]
    pub retry_after: Duration,
    /// Connections held at once; over this the one that has waited longest for a request makes room.
    #[serde(deserialize_with = "fleet::config::positive")]
    pub max_connections: u32,
    /// How long the headers of a request may take, from their first byte.
    #[serde(with = "fleet::config::period")]
    pub header_timeout: Duration,
    /// How long a request may wait for its sender; each KiB of body earns a second more, up to this.
    #[serde(with = "fleet::config::period")]
    pub body_timeout: Duration,
    /// How long a client may read nothing of its answer.
    #[serde(with = "fleet::config::period")]
    pub write_timeout: Duration,
    /// How long a connection without a request is held.
    #[serde(with = "fleet::config::period")]
    pub idle_timeout: Duration,
    /// Requests of each token; of each address, where the token is missing or wrong.
    pub rate: Rate,
}

/// How many requests are taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            max_event: 1 << 20,
            high_water: 100_000,
            retry_after: Duration::from_secs(2),
            max_connections: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(120),
            rate: Rate::default(),
        }
    }
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            per_second: NonZeroU32::MIN.saturating_add(4_999),
            burst: NonZeroU32::MIN.saturating_add(9_999),
        }
    }
}
