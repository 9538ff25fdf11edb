//! Cases of transformers, kept in a file beside a document: what a step is given of a blackboard, and what patch its output
//! becomes. Nothing else runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::differences::differences;
use super::document::fault;
use super::{Faults, Workflow};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[serde(default)]
    name: String,
    step: String,
    #[serde(default)]
    given: Given,
    input: Option<Value>,
    patch: Option<Value>,
    /// Text that an error must contain, of the input or else of the patch.
    error: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    board: Map<String, Value>,
    inputs: Option<Value>,
    output: Option<Value>,
    artifacts: BTreeMap<String, Value>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CaseResult {
    /// The case's name, or its number and step.
    pub name: String,
    /// What differs from what was expected, in words; empty where nothing does.
    pub differences: Vec<String>,
}

/// Runs the cases of a YAML file `NAME.cases.yaml` on a workflow's transformers.
///
/// # Errors
/// [`Faults`] where the file cannot be read.
pub fn run_cases(workflow: &Workflow, yaml: &str) -> Result<Vec<CaseResult>, Faults> {
    let file: Cases =
        serde_saphyr::from_str(yaml).map_err(|e| Faults(vec![super::document::of_text("the cases", &e)]))?;
    if file.cases.is_empty() {
        return Err(fault("cases", "there are none".to_owned()));
    }
    let results = file.cases.iter().enumerate().map(|(number, case)| {
        let name = if case.name.is_empty() {
            format!("case {} ({})", number + 1, case.step)
        } else {
            case.name.clone()
        };
        CaseResult { name, differences: case.run(workflow) }
    });
    Ok(results.collect())
}

impl Case {
    fn run(&self, workflow: &Workflow) -> Vec<String> {
        let Some(step) = workflow.step(&self.step) else {
            return vec![format!("the workflow has no step `{}` with a worker", self.step)];
        };
        if self.input.is_none() && self.patch.is_none() && self.error.is_none() {
            return vec!["it expects neither an input nor a patch nor an error".to_owned()];
        }
        if self.patch.is_some() && self.given.output.is_none() {
            return vec!["it expects a patch and gives no output".to_owned()];
        }
        let mut board = Value::Object(self.given.board.clone());
        if let Some(inputs) = &self.given.inputs {
            board["inputs"] = inputs.clone();
        }
        let absent = json!({});
        let inputs = board.get("inputs").unwrap_or(&absent);
        let artifacts = self.given.artifacts.iter().map(|(name, value)| (name.as_str(), value));
        let mut variables: BTreeMap<&str, &Value> = artifacts.collect();
        variables.insert("values", workflow.values());
        let reads = step.capability.as_ref().map_or(&[][..], |capability| capability.reads.as_slice());
        let shown = crate::view(&board, reads);
        let mut found = Vec::new();
        let mut errors = Vec::new();
        // Where neither is expected, the error of either may be.
        if self.input.is_some() || self.error.is_some() {
            let made = step.input_from(&shown, &variables);
            compare("input", made, self.input.as_ref(), &mut found, &mut errors);
        }
        variables.extend([("board", &board), ("inputs", inputs)]);
        if let Some(output) = &self.given.output
            && (self.patch.is_some() || self.error.is_some())
        {
            let made = step.patch_from(output, &variables);
            compare("patch", made, self.patch.as_ref(), &mut found, &mut errors);
        }
        match &self.error {
            Some(expected) if errors.iter().any(|error| error.contains(expected)) => {}
            Some(expected) if errors.is_empty() => {
                found.push(format!("error: expected `{expected}`, got none"))
            }
            Some(expected) => found.push(format!("error: expected `{expected}`, got {}", errors.join("; "))),
            None => found.extend(errors),
        }
        found
    }
}

fn compare(
    what: &str,
    made: Result<Value, String>,
    expected: Option<&Value>,
    found: &mut Vec<String>,
    errors: &mut Vec<String>,
) {
    match (made, expected) {
        (Err(error), _) => errors.push(error),
        (Ok(made), Some(expected)) => {
            let differing = differences(expected, &made).into_iter();
            found.extend(differing.map(|one| {
                let shown = |value: Option<Value>| {
                    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
                };
                format!("{what}{}: expected {}, got {}", one.path, shown(one.before), shown(one.after))
            }));
        }
        (Ok(_), None) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn an_input_is_made_of_what_the_cluster_may_read() {
        let yaml = "
name: t
version: 1
clusters: { desk: { allowed_reads: [/inputs/goal, /note], allowed_writes: [/note] } }
steps:
  - { id: write, worker: agent, cluster: desk, input: { all: board }, patch: [{ op: add, path: /note, value: inputs.more }], on_success: { end: done } }
";
        let catalog = Catalog { workers: &["agent"], ..Catalog::default() };
        let workflow = Workflow::register(yaml, &BTreeMap::new(), &catalog).unwrap();
        let given = "given: { inputs: { goal: g, more: m }, board: { note: n, secret: s }, output: {} }";
        let seen = "input: { all: { inputs: { goal: g }, note: n } }";
        let written = "patch: [{ op: add, path: /note, value: m }]";
        let run = run_cases(&workflow, &format!("cases: [{{ step: write, {given}, {seen}, {written} }}]"));
        assert_eq!(run.unwrap()[0].differences, Vec::<String>::new());
    }

    #[test]
    fn a_case_says_what_differs() {
        let document = builtin("build_website").unwrap().document;
        let catalog = Catalog { workers: &["agent"], ..Catalog::default() };
        let workflow = Workflow::register(document, &BTreeMap::new(), &catalog).unwrap();
        let run = |case: &str| run_cases(&workflow, &format!("cases:\n  - {{ {case} }}")).unwrap().remove(0);
        let right = "step: create_specs, given: { inputs: { goal: x } }, input: { goal: x, audience: null }";
        assert_eq!(run(right).differences, Vec::<String>::new());
        let wrong = run("step: create_specs, given: { inputs: { goal: x } }, input: { goal: z }");
        let expected =
            ["input/audience: expected nothing, got null", "input/goal: expected \"z\", got \"x\""];
        assert_eq!(wrong.differences, expected);
        assert_eq!(wrong.name, "case 1 (create_specs)");
        let lacks = "step: create_specs, given: { output: { pages: [] } }";
        assert!(run(&format!("{lacks}, patch: []")).differences[0].contains("`output.acceptance` is absent"));
        assert_eq!(run(&format!("{lacks}, error: output.acceptance")).differences, Vec::<String>::new());
        assert!(run("step: create_specs, error: x").differences[0].contains("got none"));
        assert!(run("step: nothing, input: {}").differences[0].contains("no step `nothing`"));
        assert!(run("step: create_specs").differences[0].contains("neither"));
        assert!(
            run_cases(&workflow, "cases: [{ step: a, inptu: {} }]")
                .unwrap_err()
                .to_string()
                .contains("inptu")
        );
        assert!(run_cases(&workflow, "cases: []").is_err());
    }
}
