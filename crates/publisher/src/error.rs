//! Why content cannot be published.

use model::Failure;

/// Content that cannot be published.
#[derive(Debug, thiserror::Error)]
#[error("cannot be published: {0}")]
pub(crate) struct PublisherError(#[from] pub(crate) Failure);

impl From<PublisherError> for Failure {
    fn from(error: PublisherError) -> Self {
        Self { reason: error.to_string(), ..error.0 }
    }
}
