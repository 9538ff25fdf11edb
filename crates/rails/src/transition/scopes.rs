//! Budgets beyond the run: what a tenant spends in a day, for an intent, and at all. The record counts, under locks; what is
//! reserved here it writes with the transition.

use serde_json::json;

use super::journey::Journey;
use super::spending::BUDGET_OVERRUN;
use super::{Escalation, spending};
use crate::workflow::Step;
use crate::{Allowance, Budget, BudgetScope, Spending};

impl Journey<'_> {
    /// Reserves beyond the run what was set aside for the step; fails closed. Where it is `permitted` no bound stops it.
    pub(super) fn reserve_beyond(
        &mut self,
        lane: i32,
        step: &Step,
        permitted: bool,
    ) -> Result<(), Box<Escalation>> {
        let around = self.around;
        if !around.policies.counts_spending(&around.tenant) {
            return Ok(());
        }
        if around.spending.is_none() {
            self.beyond.wants.spending = true;
            return Err(Box::new(unknown(step)));
        }
        let wanted = self.beyond.memory.reserved.get(&step.id).copied().unwrap_or_default();
        if let Some((scope, limit, what)) = self.short_of(wanted).filter(|_| !permitted) {
            return Err(Box::new(self.overrun_beyond(step, scope, &limit, what)));
        }
        self.beyond.reserves.push((lane, wanted));
        Ok(())
    }

    /// The first bound that the wanted would break, and by what.
    fn short_of(&self, wanted: Allowance) -> Option<(BudgetScope, Budget, &'static str)> {
        let around = self.around;
        around.policies.limits(&around.tenant).into_iter().find_map(|(scope, limit)| {
            let what = self.left_to(scope, &limit).short(wanted)?;
            Some((scope, limit, what))
        })
    }

    fn left_to(&self, scope: BudgetScope, limit: &Budget) -> Budget {
        let counted = self.counted(scope);
        let pending = self.beyond.reserves.iter().fold(Allowance::default(), |sum, (_, one)| sum + *one);
        let grants = self.beyond.grants.iter().filter(|(of, _)| *of == scope);
        let granted = grants.fold(counted.granted, |sum, (_, one)| sum + *one);
        limit.left(granted, counted.spent + counted.reserved + pending)
    }

    fn counted(&self, scope: BudgetScope) -> Spending {
        let counted = self.around.spending.as_ref().and_then(|counted| counted.get(&scope));
        counted.copied().unwrap_or_default()
    }

    /// A person grants more to each bound that stops these steps, as much again where nothing is said.
    pub(super) fn grant_beyond(&mut self, steps: &[&str], more: Option<Budget>) {
        let around = self.around;
        let limits = around.policies.limits(&around.tenant);
        if limits.is_empty() {
            return;
        }
        if around.spending.is_none() {
            self.beyond.wants.spending = true;
            return;
        }
        let workflow = self.workflow;
        for step in steps.iter().filter_map(|id| workflow.step(id)) {
            let left = self.beyond.memory.left(workflow, step);
            let wanted = Allowance::from(left.of_what(&step.budget));
            for (scope, limit) in &limits {
                let again = self.beyond.grants.iter().any(|(of, _)| of == scope);
                if !again && self.left_to(*scope, limit).short(wanted).is_some() {
                    self.beyond.grants.push((*scope, more.unwrap_or(*limit).into()));
                }
            }
        }
    }

    fn overrun_beyond(&self, step: &Step, scope: BudgetScope, limit: &Budget, what: &str) -> Escalation {
        let counted = self.counted(scope);
        let whose = match scope {
            BudgetScope::Day => "tenant for this day",
            BudgetScope::Intent => "intent",
            BudgetScope::Tenant => "tenant",
        };
        Escalation {
            question: format!(
                "Before `{}` the budget of {what} of the {whose} does not suffice any more. Shall it be topped up, go on \
                 topped up with a cheaper model, finish with what is there, or stop?",
                step.id
            ),
            rule: Some(format!("budget of the {whose}")),
            values: json!({
                "spent": counted.spent,
                "reserved": counted.reserved,
                "granted": counted.granted,
                "wanted": self.beyond.memory.reserved.get(&step.id),
            }),
            threshold: Some(json!({ "per": scope.as_str(), "limit": spending::limits(limit) })),
            ..unknown(step)
        }
    }
}

/// What is asked while nothing is known.
fn unknown(step: &Step) -> Escalation {
    Escalation {
        issue_type: BUDGET_OVERRUN.to_owned(),
        question: format!("What may be spent on `{}` could not be counted. What shall be done?", step.id),
        rule: None,
        values: json!({}),
        threshold: None,
        due: step.escalation_due,
    }
}
