//! What can be set.

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::language;

/// The smallest useful `max_chars`.
const LEAST_CHARS: usize = 100;

/// How texts are analysed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Languages to choose from, ISO 639-1; empty means every language that can be detected. A shorter list makes
    /// short texts more certain, since fewer neighbours compete for them.
    pub languages: Vec<String>,
    /// The longest text kept, in characters; what is beyond is cut, and the analysis says so. At least 100.
    pub max_chars: usize,
    /// How many topics at most.
    pub topics: usize,
    /// How many sentences a summary has at most. At least 1.
    pub summary_sentences: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            languages: language::USUAL.iter().map(|code| (*code).to_owned()).collect(),
            max_chars: 50_000,
            topics: 6,
            summary_sentences: 2,
        }
    }
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), Error> {
        if self.max_chars < LEAST_CHARS {
            return Err(Error::TooSmall { key: "max_chars", least: LEAST_CHARS });
        }
        if self.summary_sentences == 0 {
            return Err(Error::TooSmall { key: "summary_sentences", least: 1 });
        }
        Ok(())
    }
}
