//! Transformers: from the blackboard to a worker's input, and from its output to a patch.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Expression, Operation, PatchOp, Step};

impl Step {
    /// What the worker is given: an object with a member for each key of the step's `input`. A JSON Pointer to a place that
    /// is absent gives null, since a loop's first round has nothing to look back at; a CEL expression that reads what is
    /// absent errs. `board` is the part of the blackboard that the step may read; it is the variable `board`, and its
    /// `/inputs` the variable `inputs`. `variables` are the artifacts by step id, `values`, `facts` and `content`.
    ///
    /// # Errors
    /// What is wrong with which key. Permanent for the same blackboard.
    pub fn input_from(&self, board: &Value, variables: &BTreeMap<&str, &Value>) -> Result<Value, String> {
        let mut variables = variables.clone();
        variables.insert("board", board);
        if let Some(inputs) = board.get("inputs") {
            variables.entry("inputs").or_insert(inputs);
        }
        let members = self.input.iter().map(|(key, expression)| {
            let value = match expression {
                Expression::Pointer(pointer) => board.pointer(pointer).cloned().unwrap_or_default(),
                Expression::Cel(_) => {
                    expression.value(board, &variables).map_err(|e| format!("input.{key}: {e}"))?
                }
            };
            Ok((key.clone(), value))
        });
        members.collect::<Result<Map<_, _>, String>>().map(Value::Object)
    }

    /// The patch of the blackboard, an RFC 6902 array, that the step's `patch` makes of its output; empty where it has none.
    /// The output is the variable `output` and the artifact of the step's own id. `variables` are as for
    /// [`Step::input_from`], with `board` and `inputs`.
    ///
    /// # Errors
    /// What is wrong with which operation: the output lacks what it reads. Another try of the worker may mend it.
    pub fn patch_from(&self, output: &Value, variables: &BTreeMap<&str, &Value>) -> Result<Value, String> {
        let mut variables = variables.clone();
        variables.extend([("output", output), (self.id.as_str(), output)]);
        let operations = self.patch.iter().map(|operation| {
            operation
                .applied_to(output, &variables)
                .map_err(|e| format!("patch: {} {}: {e}", operation.op, operation.path))
        });
        operations.collect::<Result<Vec<_>, String>>().map(Value::Array)
    }
}

impl Operation {
    fn applied_to(&self, output: &Value, variables: &BTreeMap<&str, &Value>) -> Result<Value, String> {
        let mut operation = json!({ "op": self.op, "path": self.path });
        if let Some(expression) = &self.value {
            operation["value"] = expression.value(output, variables)?;
        }
        if let Some(from) = &self.from {
            operation["from"] = json!(from);
        }
        Ok(operation)
    }
}

impl std::fmt::Display for PatchOp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
            Self::Move => "move",
            Self::Copy => "copy",
            Self::Test => "test",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use serde_json::json;

    const DOCUMENT: &str = "
name: t
version: 1
blackboard: { type: object }
clusters: { desk: { allowed_reads: ['/**'], allowed_writes: ['/**'], allowed_ops: [add, test, move, remove] } }
steps:
  - id: write
    worker: agent
    cluster: desk
    input: { goal: /inputs/goal, before: /review/notes, length: size(inputs.goal), last: 'has(board.review) ? board.review.notes : \"none\"' }
    patch:
      - { op: test, path: /draft, value: /seen }
      - { op: move, from: /draft, path: /old }
      - { op: add, path: /draft, value: 'output.text + \"!\"' }
    on_success: { end: done }
";

    fn step() -> Workflow {
        let stored = document::Document::read(DOCUMENT).unwrap().document.unwrap();
        compile::compile(stored).unwrap()
    }

    #[test]
    fn an_input_is_made_of_the_blackboard_and_what_is_absent_is_null_or_errs() {
        let workflow = step();
        let write = workflow.step("write").unwrap();
        let board = json!({ "inputs": { "goal": "sell" } });
        let input = write.input_from(&board, &BTreeMap::new()).unwrap();
        assert_eq!(input, json!({ "goal": "sell", "before": null, "length": 4, "last": "none" }));
        let reviewed = json!({ "inputs": { "goal": "sell" }, "review": { "notes": "shorter" } });
        let input = write.input_from(&reviewed, &BTreeMap::new()).unwrap();
        assert_eq!((&input["before"], &input["last"]), (&json!("shorter"), &json!("shorter")));
        let error = write.input_from(&json!({}), &BTreeMap::new()).unwrap_err();
        assert!(error.contains("input.length") && error.contains("inputs.goal"), "{error}");
    }

    #[test]
    fn a_patch_is_made_of_the_output_and_refused_where_that_lacks_something() {
        let workflow = step();
        let write = workflow.step("write").unwrap();
        let output = json!({ "seen": "old", "text": "new" });
        let patch = write.patch_from(&output, &BTreeMap::new()).unwrap();
        let expected = json!([
            { "op": "test", "path": "/draft", "value": "old" },
            { "op": "move", "path": "/old", "from": "/draft" },
            { "op": "add", "path": "/draft", "value": "new!" },
        ]);
        assert_eq!(patch, expected);
        let error = write.patch_from(&json!({ "seen": "old" }), &BTreeMap::new()).unwrap_err();
        assert!(error.contains("patch: add /draft") && error.contains("output.text"), "{error}");
    }
}
