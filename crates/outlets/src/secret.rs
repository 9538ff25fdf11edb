//! Secrets of outlets: given in the configuration, or in a file beside it.

use std::path::PathBuf;

use model::Failure;
use serde::{Deserialize, Serialize};

/// A secret, or the file that holds it. Never shown.
#[derive(Clone, Serialize, Deserialize, Default, PartialEq, Eq)]
#[serde(untagged)]
pub enum Secret {
    /// None.
    #[default]
    None,
    /// The secret itself.
    Plain(String),
    /// A file that holds it, such as a mounted secret.
    File {
        /// The file's path.
        file: PathBuf,
    },
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Plain(_) => f.write_str("…"),
            Self::File { file } => write!(f, "in {}", file.display()),
        }
    }
}

impl Secret {
    /// The secret, without white space around it; `None` where there is none.
    ///
    /// # Errors
    /// Permanent: its file cannot be read.
    pub(crate) fn read(&self) -> Result<Option<String>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::Plain(text) => Ok(Some(text.trim().to_owned())),
            Self::File { file } => std::fs::read_to_string(file)
                .map(|text| Some(text.trim().to_owned()))
                .map_err(|e| Failure::permanent(format!("{} cannot be read: {e}", file.display()))),
        }
    }
}
