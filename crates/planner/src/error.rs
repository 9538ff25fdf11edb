//! Trouble of one round of clock work. All of it is tried again with the next round.

/// A round of clock work failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error("{0}")]
    Record(#[from] record::Error),
    #[error("{0}")]
    Streams(#[from] streams::Error),
}
