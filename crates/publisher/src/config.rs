//! The section `publisher`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where content is published.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Stop before sending and record what would have been sent.
    pub dry_run: bool,
    /// How long an outlet may take for one post.
    #[serde(with = "fleet::config::duration")]
    pub timeout: Duration,
    /// The outlet `files`.
    pub files: outlets::FilesConfig,
}

impl Default for Section {
    fn default() -> Self {
        Self { dry_run: false, timeout: Duration::from_secs(20), files: outlets::FilesConfig::default() }
    }
}
