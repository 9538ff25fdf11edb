//! Worker types, by name.

use serde::{Deserialize, Serialize};

/// The name of a worker type, such as `etl`. The stream table says which exist.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerType(pub String);

impl WorkerType {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for WorkerType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for WorkerType {
    fn from(name: &str) -> Self {
        Self(name.to_owned())
    }
}
