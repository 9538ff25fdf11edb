//! What went wrong with an embedder, a store or the model folder, and whether trying again can help.

use std::time::Duration;

use model::Failure;

/// What a failed call wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// May succeed when tried again.
    Transient,
    /// Will fail again however often it is tried.
    Permanent,
    /// May succeed, but not before this time has passed.
    RetryAfter(Duration),
}

/// A failure: its class and, in words that fit "failed to …: {error}", what failed with which input.
///
/// No message contains an API key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Error {
    class: Class,
    outage: bool,
    reason: String,
}

impl Error {
    /// A failure that trying again may cure.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self { class: Class::Transient, outage: false, reason: reason.into() }
    }

    /// A failure that nothing but a change of code, configuration or input cures.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { class: Class::Permanent, outage: false, reason: reason.into() }
    }

    /// A failure that may pass after `delay`.
    pub fn retry_after(delay: Duration, reason: impl Into<String>) -> Self {
        Self { class: Class::RetryAfter(delay), outage: false, reason: reason.into() }
    }

    /// A transient failure of the service itself, which every other text or vector would meet alike.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self { class: Class::Transient, outage: true, reason: reason.into() }
    }

    /// Whether, and when, trying again can help.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Whether every other text or vector would fail alike, so that the failure is not this job's own and opens a breaker
    /// instead of counting an attempt: the service cannot be reached, or refuses our key.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        self.outage
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.outage {
            return Self::outage(error.reason);
        }
        match error.class {
            Class::Transient => Self::transient(error.reason),
            Class::Permanent => Self::permanent(error.reason),
            Class::RetryAfter(delay) => Self::retry_after(delay, error.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use model::RetryClass;

    use super::*;

    #[test]
    fn an_outage_counts_no_attempt_and_other_failures_keep_their_class() {
        let delay = Duration::from_secs(7);
        let class_of = |error: Error| Failure::from(error).class;
        assert_eq!(class_of(Error::outage("x")), RetryClass::Outage);
        assert_eq!(class_of(Error::transient("x")), RetryClass::Transient);
        assert_eq!(class_of(Error::permanent("x")), RetryClass::Permanent);
        assert_eq!(class_of(Error::retry_after(delay, "x")), RetryClass::RetryAfter(delay));
    }
}
