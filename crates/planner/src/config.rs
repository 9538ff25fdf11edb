//! The section `planner`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::triggers::config::Trigger;

/// What is wanted of each source, and how the clock work is paced.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// What is wanted of each source; the first that matches serves it.
    pub intents: Vec<Intent>,
    /// Workflow documents beside the built-in `trend`.
    pub workflows: Vec<PathBuf>,
    /// Thresholds of workflows: workflow name → value name → value.
    pub values: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    /// Feeds that are polled.
    pub sources: Vec<Source>,
    /// What makes the planner act beside events that come in.
    pub triggers: Vec<Trigger>,
    /// What happens, told to outsiders on `dataset:events`.
    pub relay: Relay,
    /// A running run whose job has been due for this long is looked for in the streams.
    #[serde(with = "fleet::config::period")]
    pub reconcile_after: Duration,
}

/// What is wanted of a source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// Glob over source names.
    pub source: String,
    /// In words; logged with every run as `planner_intent`.
    pub purpose: String,
    /// The workflow that serves it.
    #[serde(default = "trend")]
    pub workflow: String,
    /// The tenant, `*` for any.
    #[serde(default = "any")]
    pub tenant: String,
    /// The region of its runs.
    #[serde(default = "region")]
    pub region: String,
}

/// What happens, told to outsiders.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Relay {
    /// Whether it is told.
    pub enabled: bool,
    /// Events that the stream keeps, about.
    pub length: usize,
}

impl Default for Relay {
    fn default() -> Self {
        Self { enabled: true, length: 100_000 }
    }
}

/// A feed that is polled.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The events' source.
    pub name: String,
    /// `http://`, `https://` or `file:`.
    pub url: String,
    /// When: five fields of cron, or six with seconds before them.
    #[serde(default = "quarterly")]
    pub cron: String,
    /// The time zone that the cron is meant in, by its IANA name.
    #[serde(default = "utc")]
    pub timezone: String,
    /// The tenant of its events.
    #[serde(default = "default_tenant")]
    pub tenant: String,
    /// How long a poll may take.
    #[serde(default = "half_a_minute", with = "fleet::config::duration")]
    pub timeout: Duration,
    /// The longest document.
    #[serde(default = "few_mebibytes", with = "fleet::config::size")]
    pub max_size: u64,
    /// Whether private addresses may be asked.
    #[serde(default)]
    pub allow_private: bool,
}

fn quarterly() -> String {
    "*/15 * * * *".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}

fn default_tenant() -> String {
    model::DEFAULT_TENANT.to_owned()
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn few_mebibytes() -> u64 {
    8 << 20
}

fn trend() -> String {
    "trend".to_owned()
}

fn any() -> String {
    "*".to_owned()
}

fn region() -> String {
    model::DEFAULT_REGION.to_owned()
}

impl Default for Section {
    fn default() -> Self {
        Self {
            intents: vec![Intent {
                source: "*".to_owned(),
                purpose: "detect emerging trends, summarise them, embed them for recall".to_owned(),
                workflow: trend(),
                tenant: any(),
                region: region(),
            }],
            workflows: vec![],
            values: BTreeMap::new(),
            sources: vec![],
            triggers: vec![],
            relay: Relay::default(),
            reconcile_after: Duration::from_secs(60),
        }
    }
}
