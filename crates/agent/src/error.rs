//! Why a step cannot be done.

use model::Failure;

/// A step that cannot be done.
#[derive(Debug, thiserror::Error)]
#[error("cannot be done: {0}")]
pub(crate) struct AgentError(#[from] pub(crate) Failure);

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        Self { reason: error.to_string(), ..error.0 }
    }
}
