//! What branches side by side may spend of the run's budget.

use std::collections::BTreeSet;

use super::Checker;
use crate::workflow::compile::budget;
use crate::workflow::document::StepDocument;

impl Checker<'_> {
    /// A step without a budget of its own has nothing set aside for it, and may spend all that the run has left. Where steps of
    /// another branch spend at the same time, both might be handed the same.
    pub(super) fn shares(&mut self) {
        let flow = self.flow;
        for fork in (0..flow.len()).filter(|at| flow.is_fork(*at)) {
            let branches = flow.branches.iter().filter(|branch| branch.fork == fork);
            let spending: Vec<Vec<usize>> = branches
                .map(|branch| branch.steps.iter().copied().filter(|at| flow.step(*at).spends()).collect())
                .filter(|steps: &Vec<usize>| !steps.is_empty())
                .collect();
            if spending.len() < 2 {
                continue;
            }
            for at in spending.into_iter().flatten().collect::<BTreeSet<usize>>() {
                if let Some(kinds) = self.shared(flow.step(at)) {
                    let message = format!(
                        "it needs a budget of its own of {kinds}: the run's is bounded, and other branches of `{}` spend of it at the \
                         same time",
                        flow.id(fork)
                    );
                    self.step_fault(at, "budget", message);
                }
            }
        }
    }

    /// What the run's budget bounds and the step's own does not.
    fn shared(&self, step: &StepDocument) -> Option<String> {
        let run = budget(self.document.budget.as_ref()).ok()?;
        let own = budget(step.budget.as_ref()).ok()?;
        let kinds = [
            ("tokens", run.tokens.is_some() && own.tokens.is_none()),
            ("cost", run.cost_micros.is_some() && own.cost_micros.is_none()),
            ("time", run.time.is_some() && own.time.is_none()),
        ];
        let lacking: Vec<&str> =
            kinds.into_iter().filter_map(|(kind, lacks)| lacks.then_some(kind)).collect();
        (!lacking.is_empty()).then(|| lacking.join(", "))
    }
}
