//! What can go wrong, and that trying again never helps.

use model::Failure;

/// Why a text was not analysed, or an analyser not made. Every kind is permanent: the same input fails again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing readable is left once markup, control characters and white space are gone.
    #[error("the text is empty: of {bytes} bytes nothing readable is left after normalising")]
    Empty {
        /// How long title and body were together, in bytes.
        bytes: usize,
    },
    /// A language of the allow-list is not one that can be detected.
    #[error("`languages` has `{code}`, which is no ISO 639-1 code of a language that can be detected")]
    UnknownLanguage {
        /// The code as configured.
        code: String,
    },
    /// A limit is too small to work with.
    #[error("`{key}` must be at least {least}")]
    TooSmall {
        /// The configuration key.
        key: &'static str,
        /// The smallest value.
        least: usize,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::permanent(error.to_string())
    }
}
