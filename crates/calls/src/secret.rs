//! Secrets of those who are called.

use serde::{Deserialize, Serialize};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// A secret shorter than this, in bytes, would be found in any text.
const SHORTEST_SCRUBBED: usize = 6;

/// A secret, or none. `Debug` does not show it; what is shown of a configuration, `fleet::config` decides by its key.
#[derive(Clone, Serialize, Deserialize, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(Option<String>);

impl Secret {
    /// The secret, as it was given; `None` where there is none.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// A text of somebody else's in which the secret, should it be there, is not.
    #[must_use]
    pub fn scrubbed(&self, text: &str) -> String {
        match self.text().filter(|secret| secret.len() >= SHORTEST_SCRUBBED) {
            Some(secret) => text.replace(secret, HIDDEN),
            None => text.to_owned(),
        }
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(Some(text.to_owned()))
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "…" } else { "none" })
    }
}
