//! What gates, and budgets beyond the run, look at: the policies of the process and what the record knows. The record hands
//! over what a transition wants, in the transaction that commits it and under the locks that counting needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{Allowance, Answer, BudgetScope, CorridorFacts, GatePolicies};

/// What stands around a run. What is not there was not asked for yet.
#[derive(Debug, Clone, Default)]
pub struct Around {
    /// The gates, and the bounds of spending.
    pub policies: Arc<GatePolicies>,
    /// The run's tenant.
    pub tenant: String,
    /// The run's region.
    pub region: String,
    /// Where the event came from.
    pub source: String,
    /// Artifacts by name, `content` among them; null where the run has none of that name.
    pub artifacts: BTreeMap<String, Value>,
    /// What people answered to the run's gates, and the time as the record has it.
    pub answers: Option<(Vec<Answer>, DateTime<Utc>)>,
    /// What corridors count, by the step that would publish.
    pub counts: BTreeMap<String, CorridorFacts>,
    /// What was spent beyond the run.
    pub spending: Option<BTreeMap<BudgetScope, Spending>>,
}

/// What was spent in a scope beyond the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spending {
    /// What was settled.
    pub spent: Allowance,
    /// What tries under way may still spend, without the run or branch that is looked at.
    pub reserved: Allowance,
    /// What people granted beyond the bound.
    pub granted: Allowance,
}

/// What a transition lacked: it holds the run back, and is to be asked for again with that. Empty where it lacked nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wants {
    /// Artifacts by name.
    pub artifacts: BTreeSet<String>,
    /// The run's answers, and the time.
    pub answers: bool,
    /// How many days of counts, today among them.
    pub days: u32,
    /// For which steps that would publish.
    pub places: BTreeSet<String>,
    /// What was spent beyond the run.
    pub spending: bool,
}

impl Wants {
    /// Whether it lacked nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether what it lacked is counted under locks.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.spending || !self.places.is_empty()
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.artifacts.extend(other.artifacts);
        self.answers |= other.answers;
        self.days = self.days.max(other.days);
        self.places.extend(other.places);
        self.spending |= other.spending;
    }
}
