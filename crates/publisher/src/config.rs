//! The section `publisher`.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{FILES_OUTLET, StageBounds};
use outlets::{EmailConfig, FilesConfig, McpConfig, WebhookConfig, WordpressConfig};
use serde::{Deserialize, Serialize};

/// Where content is published.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// End each run before its first post, with a record of what would have been sent.
    pub dry_run: bool,
    /// How long the outlet `files` may take for one post.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
    /// The outlet of steps that name none (`with: { outlet: … }`).
    pub outlet: String,
    /// The outlet `files`.
    pub files: FilesConfig,
    /// Outlets by name, beside `files`.
    pub outlets: BTreeMap<String, OutletSection>,
    /// When an outlet is left alone, and for how long.
    pub breaker: Breaker,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            dry_run: false,
            timeout: Duration::from_secs(20),
            outlet: FILES_OUTLET.to_owned(),
            files: FilesConfig::default(),
            outlets: BTreeMap::new(),
            breaker: Breaker::default(),
        }
    }
}

/// One outlet: how it is sent to, and exactly one of its kinds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutletSection {
    /// How long it may take for one post.
    #[serde(with = "fleet::config::period")]
    pub timeout: Duration,
    /// Posts a minute of one publisher process, at most; 0 for as fast as it goes.
    pub per_minute: u32,
    /// How long content that is meant for it may stay at each stage. Planner and gateway read it where they register workflows.
    pub lifecycle: StageBounds,
    /// A folder of files.
    pub files: Option<FilesConfig>,
    /// An address that is called.
    pub webhook: Option<WebhookConfig>,
    /// A WordPress site.
    pub wordpress: Option<WordpressConfig>,
    /// Mail.
    pub email: Option<EmailConfig>,
    /// A tool of an MCP server.
    pub mcp: Option<McpConfig>,
}

impl Default for OutletSection {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(20),
            per_minute: 0,
            lifecycle: StageBounds::default(),
            files: None,
            webhook: None,
            wordpress: None,
            email: None,
            mcp: None,
        }
    }
}

/// When an outlet that is out is left alone, and for how long.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// Failures in a row that open it.
    pub failures: u32,
    /// The first pause; each further failure doubles it.
    #[serde(with = "fleet::config::duration")]
    pub pause: Duration,
    /// The longest pause.
    #[serde(with = "fleet::config::duration")]
    pub longest_pause: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 3, pause: Duration::from_secs(5), longest_pause: Duration::from_secs(300) }
    }
}
