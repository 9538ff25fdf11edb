//! What a step's worker is given, for those who ask it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::compile::RESERVED;
use super::{Step, Workflow};
use crate::Facts;

impl Step {
    /// The artifacts that the step's `input` reads, by name.
    #[must_use]
    pub fn input_artifacts(&self) -> Vec<String> {
        let roots = self.input.values().flat_map(super::Expression::roots);
        let mut names: Vec<String> =
            roots.filter(|root| *root == "content" || !RESERVED.contains(root)).map(str::to_owned).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Workflow {
    /// What the step's `input` makes of the part of the blackboard that it may read, and of the artifacts of
    /// [`Step::input_artifacts`].
    ///
    /// # Errors
    /// What is wrong with which key. Permanent for the same blackboard.
    pub fn input_of(
        &self,
        step: &Step,
        board: &Value,
        artifacts: &BTreeMap<String, Value>,
    ) -> Result<Value, String> {
        let facts = Facts::default().to_json();
        let mut variables: BTreeMap<&str, &Value> =
            artifacts.iter().map(|(name, value)| (name.as_str(), value)).collect();
        variables.extend([("values", self.values()), ("facts", &facts)]);
        step.input_from(board, &variables)
    }
}
