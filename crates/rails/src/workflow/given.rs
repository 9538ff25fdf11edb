//! What a step's worker is given, for those who ask it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::compile::RESERVED;
use super::{Expression, Step, Workflow};
use crate::Facts;

impl Step {
    /// The artifacts that the step's `input` reads, by name.
    #[must_use]
    pub fn input_artifacts(&self) -> Vec<String> {
        artifacts_of(self.input.values()).into_iter().collect()
    }
}

/// The artifacts that expressions read, by name.
fn artifacts_of<'e>(expressions: impl Iterator<Item = &'e Expression>) -> BTreeSet<String> {
    let roots = expressions.flat_map(Expression::roots);
    roots.filter(|root| *root == "content" || !RESERVED.contains(root)).map(str::to_owned).collect()
}

impl Workflow {
    /// The artifacts that its content is made of, by name.
    pub(crate) fn content_artifacts(&self) -> BTreeSet<String> {
        artifacts_of(self.content().values())
    }

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
