//! Secrets of outlets.

use serde::{Deserialize, Serialize};

/// A secret, or none. `Debug` does not show it; what is shown of a configuration, `fleet::config` decides by its key.
#[derive(Clone, Serialize, Deserialize, Default, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(Option<String>);

impl Secret {
    /// The secret, as it was given; `None` where there is none.
    pub(crate) fn text(&self) -> Option<&str> {
        self.0.as_deref()
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
