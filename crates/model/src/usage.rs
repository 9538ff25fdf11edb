//! What a try cost.

use std::ops::Add;

use serde::{Deserialize, Serialize};

/// What was spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens of the prompts.
    #[serde(default)]
    pub tokens_in: u64,
    /// Tokens of the answers.
    #[serde(default)]
    pub tokens_out: u64,
    /// Millionths of the configured currency.
    #[serde(default)]
    pub cost_micros: u64,
    /// Milliseconds that a worker took; a person's time is not counted.
    #[serde(default)]
    pub millis: u64,
}

impl Usage {
    /// Tokens of prompts and answers.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens_in.saturating_add(self.tokens_out)
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            tokens_in: self.tokens_in.saturating_add(other.tokens_in),
            tokens_out: self.tokens_out.saturating_add(other.tokens_out),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
            millis: self.millis.saturating_add(other.millis),
        }
    }
}
