//! What a step needs is out. That counts no attempt, so it is bounded by time: past it the step goes the way of any that failed
//! for good, but asks a person before the run would die of it.

use std::time::Duration;

use model::{Question, RetryClass};

use super::Signal;
use super::heading::{self, Course, Heading};
use super::journey::Journey;
use crate::workflow::Step;

/// The issue type of an escalation over something that was out for too long.
pub(crate) const UNAVAILABLE: &str = "unavailable";

/// How long a step waits for what is out, unless its own `ttl.running` bounds it.
const LONGEST: Duration = Duration::from_hours(24);

impl Journey<'_> {
    /// Remembers since when the step has waited; `None` while it may.
    pub(super) fn out_of_reach(&mut self, step: &Step, signal: &Signal<'_>) -> Option<Course> {
        let failure = match signal {
            Signal::Failed { failure } => failure,
            Signal::Postponed { .. } => return None,
            _ => return self.has_again(step),
        };
        let (RetryClass::Unavailable | RetryClass::Outage | RetryClass::Later(_)) = failure.class else {
            return self.has_again(step);
        };
        let now = self.beyond.memory.now?;
        let since = *self.memory().waits_since.entry(step.id.clone()).or_insert(now);
        let waited = (now - since).to_std().unwrap_or_default();
        if waited < LONGEST || step.ttl.running.is_some() {
            return None;
        }
        self.has_again(step);
        let reason = format!("waited a day for what is out: {}", failure.reason);
        if let Some(target) = &step.on_failure {
            return Some(Course::Go(Heading { reason: Some(reason), failed: true, ..Heading::to(target) }));
        }
        let question = Question {
            issue_type: UNAVAILABLE.to_owned(),
            question: format!("`{}` {reason}. Shall it be tried again?", step.id),
        };
        Some(Course::stay(heading::escalated(step, &self.at, &question)))
    }

    fn has_again(&mut self, step: &Step) -> Option<Course> {
        self.memory().waits_since.remove(&step.id);
        None
    }
}
