//! Why a process ends, and with which exit code.

/// The kind of a fault; its value is the process's exit code (after BSD `sysexits`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// Bad usage or configuration: a person must change it.
    Usage = 64,
    /// A service is missing or unfit.
    Unavailable = 69,
    /// A bug.
    Bug = 70,
}

/// A fault that ends a process: what failed, with which input, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// Its kind.
    pub kind: FaultKind,
    /// What failed and what to do.
    pub message: String,
}

impl Fault {
    /// Bad usage or configuration.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Usage, message: message.into() }
    }

    /// A service is missing or unfit.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unavailable, message: message.into() }
    }

    /// A bug.
    pub fn bug(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Bug, message: message.into() }
    }
}

impl From<record::Error> for Fault {
    fn from(error: record::Error) -> Self {
        match &error {
            record::Error::Unreadable { .. } => Self::bug(error.to_string()),
            record::Error::Url(_) | record::Error::Tls(_) | record::Error::Taken { .. } => {
                Self::usage(error.to_string())
            }
            _ => Self::unavailable(error.to_string()),
        }
    }
}

impl From<streams::Error> for Fault {
    fn from(error: streams::Error) -> Self {
        match &error {
            streams::Error::Url(_) | streams::Error::Tls(_) => Self::usage(error.to_string()),
            _ => Self::unavailable(error.to_string()),
        }
    }
}
