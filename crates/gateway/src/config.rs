//! The section `gateway`.

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
}

impl Default for Section {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:8080".to_owned(),
            max_event: 1 << 20,
            high_water: 100_000,
            retry_after: Duration::from_secs(2),
        }
    }
}
