//! The corridor of what publishing costs a day.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Finding, GateInput, Kind, Verdict};
use crate::budget::micros;

/// The incident's kind.
const INCIDENT: &str = "budget_corridor";

#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct BudgetCorridor {
    cost_per_day: f64,
    #[serde(skip)]
    max_micros: u64,
    overridable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    cost_per_day: Most,
    #[serde(default)]
    overridable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Most {
    max: f64,
}

impl TryFrom<Document> for BudgetCorridor {
    type Error = String;

    fn try_from(Document { cost_per_day: Most { max }, overridable }: Document) -> Result<Self, String> {
        if !(max.is_finite() && max >= 0.0) {
            return Err(format!("cost_per_day.max is {max}: write an amount of the configured currency"));
        }
        Ok(Self { cost_per_day: max, max_micros: micros(max), overridable })
    }
}

impl Kind for BudgetCorridor {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let thresholds = json!(self);
        let Some(facts) = input.facts else {
            return Finding::errs("the record counted nothing", thresholds);
        };
        #[expect(clippy::cast_precision_loss, reason = "for people to read; what decides are the millionths")]
        let cost = facts.cost_micros as f64 / 1e6;
        let values = json!({ "cost_today": cost });
        if facts.cost_micros <= self.max_micros {
            return Finding::of(Verdict::Pass, values, thresholds);
        }
        let todo = format!(
            "Publishing of tenant {} stops: {cost} was spent today, and {} may be. Approve tomorrow, or reject.",
            input.tenant, self.cost_per_day
        );
        Finding::of(Verdict::Block { incident: INCIDENT, todo }, values, thresholds)
    }

    fn days(&self) -> Option<u32> {
        Some(1)
    }

    fn overridable(&self) -> bool {
        self.overridable
    }
}

#[cfg(test)]
mod tests {
    use super::super::Ruling;
    use super::super::testing::{block, content, errs, facts, gate, input, ruling};

    const GATE: &str = "budget_corridor: { cost_per_day: { max: 2.5 } }";

    #[test]
    fn what_a_day_may_cost_is_not_exceeded() {
        let content = content("x");
        for (cost, passes) in [(0, true), (2_500_000, true), (2_500_001, false), (u64::MAX, false)] {
            let facts = facts(&[(0, 0)], cost);
            let found = ruling(GATE, &input(&content).with(&facts));
            assert_eq!(found == Ruling::Pass, passes, "{cost}: {found:?}");
            if !passes {
                assert_eq!(block(found), "budget_corridor");
            }
        }
        errs(&gate(GATE).evaluate(&input(&content)), "counted nothing");
    }
}
