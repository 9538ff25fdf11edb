//! What is published: the fields of the content that the blackboard makes.

use super::{Checker, member};
use crate::transition::{CONTENT_FIELDS, CONTENT_NEEDS};
use crate::workflow::compile::{AGENT, ETL};
use crate::workflow::document::StepDocument;

impl Checker<'_> {
    pub(super) fn contents(&mut self) {
        let projected = &self.document.content;
        if projected.is_empty() {
            return;
        }
        for field in projected.keys().filter(|field| !CONTENT_FIELDS.contains(&field.as_str())) {
            let known = CONTENT_FIELDS.join(", ");
            let message = format!("content has no field `{field}`; known are {known}");
            self.fault(&member("content", field), message);
        }
        for field in CONTENT_NEEDS.into_iter().filter(|field| !projected.contains_key(*field)) {
            self.fault("content", format!("without `{field}` the blackboard never makes content"));
        }
    }

    /// Whether there is ever content: the blackboard's, what a worker drafts, or the call of one that acts outside.
    pub(super) fn makes_content(&self) -> bool {
        let makes = |step: &StepDocument| {
            let calls = step.orchestrate.as_ref().is_some_and(|it| !it.acting_tools.is_empty());
            calls || step.worker == ETL || (step.worker == AGENT && step.side_effect)
        };
        !self.document.content.is_empty() || self.document.steps.iter().any(makes)
    }
}
