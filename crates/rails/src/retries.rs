//! Retries: how often, and after how long.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Exponential backoff with full jitter, after "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The bound of the first delay.
    pub initial: Duration,
    /// The bound of every delay.
    pub max: Duration,
}

impl Backoff {
    /// The delay before try `attempt + 1`: `jitter · min(max, initial · 2^(attempt − 1))`, with `jitter` in 0…1 drawn
    /// by the caller. `attempt` counts failures, from 1.
    #[must_use]
    pub fn delay(&self, attempt: i32, jitter: f64) -> Duration {
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(0).min(30);
        let bound = self.initial.saturating_mul(1 << doublings).min(self.max);
        // A microsecond at least: a delay of nothing would mean "not a retry".
        bound.mul_f64(jitter.clamp(0.0, 1.0)).max(Duration::from_micros(1))
    }
}

/// How often a step is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retries {
    /// Handler failures after which the step has failed for good, at least 1.
    pub max_attempts: i32,
    /// The delays between tries.
    pub backoff: Backoff,
}

/// Retries as a document writes them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RetriesDocument {
    #[serde(default = "five")]
    pub(crate) max_attempts: i32,
    #[serde(default)]
    pub(crate) backoff: BackoffDocument,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackoffDocument {
    pub(crate) initial: String,
    pub(crate) max: String,
}

fn five() -> i32 {
    5
}

impl Default for BackoffDocument {
    fn default() -> Self {
        Self { initial: "1s".to_owned(), max: "60s".to_owned() }
    }
}

impl Default for RetriesDocument {
    fn default() -> Self {
        Self { max_attempts: five(), backoff: BackoffDocument::default() }
    }
}

/// Reads a duration with its unit (`ms`, `s`, `m`, `h`, `d`).
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.checked_mul(millis)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_their_bound_and_jitter_takes_from_them() {
        let backoff = Backoff { initial: Duration::from_secs(1), max: Duration::from_secs(10) };
        let full: Vec<u64> = (1..6).map(|attempt| backoff.delay(attempt, 1.0).as_secs()).collect();
        assert_eq!(full, [1, 2, 4, 8, 10]);
        assert_eq!(backoff.delay(3, 0.5), Duration::from_secs(2));
        assert!(backoff.delay(i32::MAX, 0.0) > Duration::ZERO);
    }

    #[test]
    fn a_duration_needs_a_known_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("2h"), Some(Duration::from_secs(7200)));
        assert!(
            [duration("10"), duration("s"), duration("1 s"), duration("99999999999999999999s")]
                .iter()
                .all(Option::is_none)
        );
    }
}
