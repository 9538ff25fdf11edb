//! Why a trend cannot be judged. Permanent: an artifact is missing or of another shape.

use model::Failure;

/// A trend that cannot be judged.
#[derive(Debug, thiserror::Error)]
#[error("cannot be judged: {0}")]
pub(crate) struct JudgeError(#[from] pub(crate) Failure);

impl From<JudgeError> for Failure {
    fn from(error: JudgeError) -> Self {
        Self { reason: error.to_string(), ..error.0 }
    }
}
