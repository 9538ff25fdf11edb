//! The section `planner`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

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
    /// A running run whose job has been due for this long is looked for in the streams.
    #[serde(with = "fleet::config::duration")]
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
            reconcile_after: Duration::from_secs(60),
        }
    }
}
