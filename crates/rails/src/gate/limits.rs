//! What may be spent beyond a run: by a tenant in a day, for an intent, by a tenant at all.

use serde::Deserialize;

use crate::budget::micros;
use crate::retries::duration;
use crate::{Budget, glob_matches};

/// What spending is counted by, beyond the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BudgetScope {
    /// All runs of an intent.
    Intent,
    /// All runs of a tenant.
    Tenant,
    /// All runs of a tenant, anew each day (UTC).
    Day,
}

impl BudgetScope {
    /// The name that documents and tables use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Tenant => "tenant",
            Self::Day => "day",
        }
    }
}

/// A bound of spending.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct Limit {
    tenant: String,
    per: BudgetScope,
    budget: Budget,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// A glob.
    #[serde(default = "every")]
    tenant: String,
    per: BudgetScope,
    tokens: Option<u64>,
    cost: Option<f64>,
    time: Option<String>,
}

fn every() -> String {
    "*".to_owned()
}

impl TryFrom<Document> for Limit {
    type Error = String;

    fn try_from(Document { tenant, per, tokens, cost, time }: Document) -> Result<Self, String> {
        if tokens.is_none() && cost.is_none() && time.is_none() {
            return Err("a budget needs tokens, cost or time".to_owned());
        }
        if let Some(cost) = cost.filter(|cost| !cost.is_finite() || *cost < 0.0) {
            return Err(format!("cost is {cost}: write an amount of the configured currency"));
        }
        let time = time.map(|text| {
            duration(&text)
                .ok_or_else(|| format!("time is `{text}`: write a whole number with a unit, such as 4h"))
        });
        let budget = Budget { tokens, cost_micros: cost.map(micros), time: time.transpose()? };
        Ok(Self { tenant, per, budget })
    }
}

impl Limit {
    /// The bound, where it is one of this tenant's.
    pub(super) fn of(&self, tenant: &str) -> Option<(BudgetScope, Budget)> {
        glob_matches(&self.tenant, tenant).then_some((self.per, self.budget))
    }
}
