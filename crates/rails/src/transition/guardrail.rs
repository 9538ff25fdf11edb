//! What was refused: a call that may not be made, a patch that its worker may not make. Nothing happened; it is told in the chain
//! and counted over all visits of the step, and a person is asked where it happens again and again.

use model::Question;
use serde_json::{Value, json};

use super::GateDecision;
use super::heading::{self, Course};
use super::journey::Journey;
use crate::workflow::Step;

/// The issue type of an escalation over calls and patches that were refused again and again.
pub(crate) const GUARDRAIL: &str = "guardrail";
/// Refused at one step before a person is asked.
pub(crate) const MOST_REFUSED: u32 = 3;

impl Journey<'_> {
    /// Tells and counts a refusal; `Some` where it was one too many. Whoever lets the step go on lets it begin anew.
    pub(super) fn count_refusal(&mut self, step: &Step, mut values: Value, why: &str) -> Option<Course> {
        let refused = self.beyond.memory.refusals.get(&step.id).copied().unwrap_or(0).saturating_add(1);
        values["reason"] = json!(why);
        values["refused"] = json!(refused);
        self.told(step, Some(false), values);
        if refused < MOST_REFUSED {
            self.memory().refusals.insert(step.id.clone(), refused);
            return None;
        }
        self.memory().refusals.remove(&step.id);
        let question = Question {
            issue_type: GUARDRAIL.to_owned(),
            question: format!("`{}` was refused {refused} times, last: {why}. Shall it go on?", step.id),
        };
        Some(Course::stay(heading::escalated(step, &self.at, &question)))
    }

    pub(super) fn told(&mut self, step: &Step, held: Option<bool>, values: Value) {
        self.gates.push(GateDecision { rule: format!("guardrail of {}", step.id), held, values });
    }
}
