//! Budgets: what may be spent, in tokens, money and time.

use std::time::Duration;

use model::Usage;
use serde::{Deserialize, Serialize};

/// What may be spent; what is absent is not bounded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// Tokens in and out.
    pub tokens: Option<u64>,
    /// Millionths of the configured currency.
    pub cost_micros: Option<u64>,
    /// Time that workers take; a person's is not charged.
    pub time: Option<Duration>,
}

/// An amount of what budgets count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Allowance {
    /// Tokens in and out.
    pub tokens: u64,
    /// Millionths of the configured currency.
    pub cost_micros: u64,
    /// Milliseconds that workers take.
    pub millis: u64,
}

impl From<Usage> for Allowance {
    fn from(usage: Usage) -> Self {
        Self { tokens: usage.tokens(), cost_micros: usage.cost_micros, millis: usage.millis }
    }
}

impl From<Budget> for Allowance {
    fn from(budget: Budget) -> Self {
        Self {
            tokens: budget.tokens.unwrap_or(0),
            cost_micros: budget.cost_micros.unwrap_or(0),
            millis: budget.time.map_or(0, millis),
        }
    }
}

impl std::ops::Add for Allowance {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.saturating_add(other.tokens),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
            millis: self.millis.saturating_add(other.millis),
        }
    }
}

impl Budget {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }

    /// What is left of it where this much was granted beyond it and that much is gone.
    pub(crate) fn left(&self, granted: Allowance, gone: Allowance) -> Self {
        let left = |limit: u64, granted: u64, gone: u64| limit.saturating_add(granted).saturating_sub(gone);
        Self {
            tokens: self.tokens.map(|limit| left(limit, granted.tokens, gone.tokens)),
            cost_micros: self.cost_micros.map(|limit| left(limit, granted.cost_micros, gone.cost_micros)),
            time: self
                .time
                .map(|limit| Duration::from_millis(left(millis(limit), granted.millis, gone.millis))),
        }
    }

    /// What both leave.
    pub(crate) fn both(&self, other: &Self) -> Self {
        fn lesser<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (one, other) => one.or(other),
            }
        }
        Self {
            tokens: lesser(self.tokens, other.tokens),
            cost_micros: lesser(self.cost_micros, other.cost_micros),
            time: lesser(self.time, other.time),
        }
    }

    /// Of this, what the other counts.
    pub(crate) fn of_what(&self, other: &Self) -> Self {
        Self {
            tokens: self.tokens.filter(|_| other.tokens.is_some()),
            cost_micros: self.cost_micros.filter(|_| other.cost_micros.is_some()),
            time: self.time.filter(|_| other.time.is_some()),
        }
    }

    /// The first of what it counts of which there is nothing, or less than is wanted.
    pub(crate) fn short(&self, wanted: Allowance) -> Option<&'static str> {
        let less = |left: Option<u64>, wanted: u64| left.is_some_and(|left| left < wanted);
        self.exhausted().or_else(|| {
            [
                ("tokens", less(self.tokens, wanted.tokens)),
                ("money", less(self.cost_micros, wanted.cost_micros)),
                ("time", less(self.time.map(millis), wanted.millis)),
            ]
            .into_iter()
            .find_map(|(what, short)| short.then_some(what))
        })
    }

    /// The first of what it counts of which there is nothing.
    pub(crate) fn exhausted(&self) -> Option<&'static str> {
        [
            ("tokens", self.tokens == Some(0)),
            ("money", self.cost_micros == Some(0)),
            ("time", self.time.is_some_and(|time| time.is_zero())),
        ]
        .into_iter()
        .find_map(|(what, gone)| gone.then_some(what))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Money as it is counted: in millionths.
pub(crate) fn micros(cost: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    let micros = (cost * 1e6).round() as u64;
    micros
}
