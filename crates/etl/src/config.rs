//! The section `etl`.

use serde::{Deserialize, Serialize};

/// How events are normalised and measured.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Section {
    /// Texts analysed at once, each of which keeps a core busy; 0 takes one for each core.
    pub threads: usize,
    /// The analyses.
    pub text: text::Config,
}
