//! What a run of a workflow is asked for with.

use serde_json::{Value, json};

use super::{Fault, Workflow};

/// Faults told of one request, at most.
const TOLD: usize = 100;

impl Workflow {
    /// JSON Schema of the inputs; null where any are taken.
    #[must_use]
    pub fn inputs(&self) -> Value {
        serde_json::from_str::<Value>(&self.document)
            .map(|mut document| document["inputs"].take())
            .unwrap_or_default()
    }

    /// The inputs of a run that is asked for by a goal: those that are given, or else the goal as the one text that the workflow
    /// needs.
    #[must_use]
    pub fn inputs_for(&self, goal: &Value, given: &Value) -> Value {
        if !given.is_null() {
            return given.clone();
        }
        let schema = self.inputs();
        let required: Vec<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let is_text = |name: &str| schema["properties"][name]["type"] == "string";
        match required.as_slice() {
            [only] if is_text(only) => json!({ *only: goal }),
            _ => json!({}),
        }
    }

    /// What is wrong with inputs: each place by its JSON Pointer.
    #[must_use]
    pub fn input_faults(&self, inputs: &Value) -> Vec<Fault> {
        let schema = self.inputs();
        if schema.is_null() {
            return vec![];
        }
        let validator = match jsonschema::validator_for(&schema) {
            Ok(validator) => validator,
            Err(error) => {
                let message = format!("the workflow's schema of its inputs is none: {error}");
                return vec![Fault::new("inputs", message)];
            }
        };
        let fault = |error: jsonschema::ValidationError<'_>| {
            Fault::new(&format!("inputs{}", error.instance_path()), error.to_string())
        };
        validator.iter_errors(inputs).take(TOLD).map(fault).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::super::*;

    #[test]
    fn inputs_are_held_against_the_schema_and_each_fault_is_told_with_its_place() {
        let yaml = "name: t\nversion: 1\ngoal: try\ninputs:\n  type: object\n  required: [topic]\n  properties:\n    \
                    topic: { type: string }\n    words: { type: integer, minimum: 1 }\nsteps:\n  \
                    - { id: a, worker: etl, on_success: { end: done } }";
        let workflow =
            Workflow::register(yaml, &BTreeMap::new(), &Catalog { workers: &["etl"], ..Catalog::default() })
                .unwrap();
        assert_eq!(workflow.input_faults(&json!({ "topic": "ferries", "words": 5 })), []);
        let faults = workflow.input_faults(&json!({ "words": 0 }));
        let places: Vec<&str> = faults.iter().map(|fault| fault.place.as_str()).collect();
        assert_eq!(places.iter().collect::<std::collections::BTreeSet<_>>().len(), 2, "{faults:?}");
        assert!(places.contains(&"inputs") && places.contains(&"inputs/words"), "{faults:?}");
        let free = Workflow::register(
            "name: t\nversion: 1\nsteps:\n  - { id: a, worker: etl, on_success: { end: done } }",
            &BTreeMap::new(),
            &Catalog { workers: &["etl"], ..Catalog::default() },
        );
        assert_eq!(free.unwrap().input_faults(&json!([1])), []);
    }
}
