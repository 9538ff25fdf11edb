//! Errors that say what to do about them.

use std::time::Duration;

use crate::Usage;

/// What a failed piece of work wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryClass {
    /// May succeed when tried again.
    Transient,
    /// Will fail again however often it is tried.
    Permanent,
    /// As `Permanent`, but it was done: what came of it cannot be read.
    Unreadable,
    /// May succeed, but not before this time has passed.
    RetryAfter(Duration),
    /// What this job needs is out, not the job's fault: tried again later, counting no attempt.
    Unavailable,
    /// What every job of its worker type needs is out: as `Unavailable`, and reading pauses until it is back.
    Outage,
    /// It is not the job's turn yet: tried again after this time, counting no attempt.
    Later(Duration),
    /// Somebody has it under way: looked at again after this time, counting no attempt.
    UnderWay(Duration),
    /// What its budget leaves does not suffice, and a person is asked: going on takes this much at least, beside what was spent.
    OverBudget(Usage),
}

/// A handler's failure: its class and, in words, what failed with which input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    /// What to do about it.
    pub class: RetryClass,
    /// What failed, with which input.
    pub reason: String,
    /// What was spent before it failed.
    pub usage: Usage,
}

impl Failure {
    /// A failure that trying again may cure.
    pub fn transient(reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Transient, reason: reason.into(), usage: Usage::default() }
    }

    /// A failure that nothing but a change of code, configuration or input cures.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Permanent, reason: reason.into(), usage: Usage::default() }
    }

    /// It was done, and what came of it cannot be read.
    pub fn unreadable(reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Unreadable, reason: reason.into(), usage: Usage::default() }
    }

    /// A failure that may pass after `delay`.
    pub fn retry_after(delay: Duration, reason: impl Into<String>) -> Self {
        Self { class: RetryClass::RetryAfter(delay), reason: reason.into(), usage: Usage::default() }
    }

    /// Nothing failed: the job's turn comes after `delay`.
    pub fn later(delay: Duration, reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Later(delay), reason: reason.into(), usage: Usage::default() }
    }

    /// Nothing failed: somebody has the job under way, and is asked for it again after `delay`.
    pub fn under_way(delay: Duration, reason: impl Into<String>) -> Self {
        Self { class: RetryClass::UnderWay(delay), reason: reason.into(), usage: Usage::default() }
    }

    /// The outage of something this job needs.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Unavailable, reason: reason.into(), usage: Usage::default() }
    }

    /// A budget does not suffice: going on takes `wanted` at least.
    pub fn over_budget(wanted: Usage, reason: impl Into<String>) -> Self {
        Self { class: RetryClass::OverBudget(wanted), reason: reason.into(), usage: Usage::default() }
    }

    /// The same failure, after this was spent.
    #[must_use]
    pub fn having_spent(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// The outage of something that every job of this worker type needs.
    pub fn outage(reason: impl Into<String>) -> Self {
        Self { class: RetryClass::Outage, reason: reason.into(), usage: Usage::default() }
    }
}
