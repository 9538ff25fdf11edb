//! What Redis refused.

use model::RetryClass;

/// A command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Redis, or the connection to it.
    #[error("Redis failed {doing}: {source}")]
    Redis {
        /// What was being done.
        doing: &'static str,
        /// What came back.
        source: redis::RedisError,
    },
    /// No connection could be had.
    #[error("no connection to Redis for {doing}: {why}")]
    Connection {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        why: String,
    },
    /// The URL is none.
    #[error("redis.url cannot be used: {0}; write it as redis://host:6379")]
    Url(String),
    /// No first connection could be made, or the server refused the first command.
    #[error("Redis cannot be reached: {why}; {remedy}")]
    Unreachable {
        /// Why not.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The configured certificates cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The server is not fit for use: too old, or it evicts. Permanent: a person must act.
    #[error("{0}")]
    Unfit(String),
    /// A script answered what this build does not understand. A bug.
    #[error("Redis answered {doing} with {answer}")]
    Answer {
        /// What was being done.
        doing: &'static str,
        /// The answer.
        answer: String,
    },
    /// No work stream belongs to this worker type.
    #[error("no stream belongs to the worker type `{0}`")]
    UnknownWorker(String),
}

impl Error {
    pub(crate) fn redis(doing: &'static str) -> impl FnOnce(redis::RedisError) -> Self {
        move |source| Self::Redis { doing, source }
    }

    /// The retry class.
    #[must_use]
    pub fn class(&self) -> RetryClass {
        match self {
            Self::Redis { .. } | Self::Connection { .. } | Self::Unreachable { .. } => {
                RetryClass::Unavailable
            }
            Self::Url(_) | Self::Tls(_) | Self::Unfit(_) | Self::Answer { .. } | Self::UnknownWorker(_) => {
                RetryClass::Permanent
            }
        }
    }

    pub(crate) fn is_no_group(&self) -> bool {
        matches!(self, Self::Redis { source, .. } if source.code() == Some("NOGROUP"))
    }
}
