//! What PostgreSQL refused, and what to do about it.

use model::RetryClass;

/// What a failed statement wants, by SQLSTATE class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// 22, 23, 54, P0 (a trigger refused it), and stored rows that cannot be read: one row of the group is at fault;
    /// commit one by one, the culprit fails for good.
    Culprit,
    /// 08, 40, 53, 57, 25006 and lost connections: retry the whole group, counting no attempt.
    RetryGroup,
    /// Anything else: a fault of the program or of the schema.
    Bug,
}

/// A statement failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL or the connection to it.
    #[error("the record refused {doing}: {source}")]
    Sql {
        /// What was being done.
        doing: &'static str,
        /// What came back.
        source: sqlx::Error,
    },
    /// The URL is none.
    #[error("database.url cannot be used: {0}; write it as postgres://user@host/database")]
    Url(String),
    /// No first connection could be made.
    #[error("PostgreSQL cannot be reached: {why}; {remedy}")]
    Unreachable {
        /// Why not.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The configured certificates cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A migration failed or the schema is of another version.
    #[error("{0}")]
    Schema(String),
    /// The server is not fit for use.
    #[error("{0}")]
    Unfit(String),
    /// A stored row cannot be read: another version wrote it, or a hand did.
    #[error("the record holds {what} that cannot be read: {why}")]
    Unreadable {
        /// Which row.
        what: String,
        /// Why not.
        why: String,
    },
    /// Versions are named by a part of their document's hash, and another document has that part.
    #[error("another document is registered as {version}: raise this document's `version`")]
    Taken {
        /// The version.
        version: String,
    },
}

impl Error {
    pub(crate) fn sql(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Sql { doing, source }
    }

    pub(crate) fn unreadable(what: impl std::fmt::Display, why: impl std::fmt::Display) -> Self {
        Self::Unreadable { what: what.to_string(), why: why.to_string() }
    }

    /// What the failure wants. Classes from the PostgreSQL manual, appendix A.
    #[must_use]
    pub fn handling(&self) -> Handling {
        let source = match self {
            Self::Sql { source, .. } => source,
            Self::Unreachable { .. } => return Handling::RetryGroup,
            Self::Unreadable { .. } | Self::Taken { .. } => return Handling::Culprit,
            Self::Url(_) | Self::Tls(_) | Self::Schema(_) | Self::Unfit(_) => return Handling::Bug,
        };
        match source {
            sqlx::Error::Database(error) => match error.code().as_deref() {
                Some("25006") => Handling::RetryGroup,
                Some(code) => match code.get(..2) {
                    Some("22" | "23" | "54" | "P0") => Handling::Culprit,
                    Some("08" | "40" | "53" | "57") => Handling::RetryGroup,
                    _ => Handling::Bug,
                },
                None => Handling::Bug,
            },
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Handling::RetryGroup,
            // A value that cannot even be sent, such as text with a NUL.
            sqlx::Error::Encode(_) => Handling::Culprit,
            _ => Handling::Bug,
        }
    }

    /// The retry class for whoever ran a single statement.
    #[must_use]
    pub fn class(&self) -> RetryClass {
        match self.handling() {
            Handling::RetryGroup => RetryClass::Unavailable,
            Handling::Culprit | Handling::Bug => RetryClass::Permanent,
        }
    }
}
