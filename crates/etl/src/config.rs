//! The section `etl`.

use serde::{Deserialize, Serialize};

/// How events are normalised and measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Texts analysed at once; each keeps one core busy.
    pub threads: usize,
    /// The analyses.
    pub text: text::Config,
}

impl Default for Section {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, text: text::Config::default() }
    }
}
