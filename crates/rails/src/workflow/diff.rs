//! How two workflows differ, in words.

use serde_json::Value;

use super::differences::{Difference, differences};
use super::{Faults, Workflow};

/// Longer values are cut.
const LONGEST_VALUE: usize = 60;

impl Workflow {
    /// What became of another workflow in this one, a line each: steps added, removed and changed, values, the rest. Empty
    /// where they are the same version.
    ///
    /// # Errors
    /// [`Faults`] where a build of another version wrote one of the documents.
    pub fn diff_from(&self, old: &Self) -> Result<Vec<String>, Faults> {
        let (before, after) = (old.written()?, self.written()?);
        let mut lines = Vec::new();
        if old.version != self.version {
            lines.push(format!("version: {} → {}", old.version, self.version));
        }
        let (old_steps, new_steps) = (steps(&before), steps(&after));
        for (id, _) in old_steps.iter().filter(|(id, _)| !new_steps.iter().any(|(new, _)| new == id)) {
            lines.push(format!("step {id}: removed"));
        }
        for (id, step) in &new_steps {
            match old_steps.iter().find(|(old, _)| old == id) {
                None => lines.push(format!("step {id}: added")),
                Some((_, old)) => {
                    lines.extend(
                        differences(old, step).iter().map(|one| format!("step {id}: {}", in_words(one))),
                    );
                }
            }
        }
        let kept = |steps: &[(String, Value)], others: &[(String, Value)]| -> Vec<String> {
            let both = steps.iter().filter(|(id, _)| others.iter().any(|(other, _)| other == id));
            both.map(|(id, _)| id.clone()).collect()
        };
        if kept(&old_steps, &new_steps) != kept(&new_steps, &old_steps) {
            lines.push("steps: in another order".to_owned());
        }
        if old.first != self.first {
            lines.push(format!("runs begin at {}, not at {}", self.first, old.first));
        }
        let rest = differences(&without_steps(before), &without_steps(after));
        lines.extend(rest.iter().map(in_words));
        Ok(lines)
    }

    fn written(&self) -> Result<Value, Faults> {
        serde_json::from_str(&self.document)
            .map_err(|e| super::document::fault("the stored document", e.to_string()))
    }
}

fn steps(document: &Value) -> Vec<(String, Value)> {
    let steps = document["steps"].as_array().into_iter().flatten();
    steps.map(|step| (step["id"].as_str().unwrap_or_default().to_owned(), step.clone())).collect()
}

/// Name and version stand in the version's line.
fn without_steps(mut document: Value) -> Value {
    if let Some(map) = document.as_object_mut() {
        for key in ["steps", "name", "version"] {
            map.remove(key);
        }
    }
    document
}

fn in_words(one: &Difference) -> String {
    let path = one.path.trim_start_matches('/').replace('/', ".");
    match (&one.before, &one.after) {
        (None, Some(new)) => format!("{path}: added, {}", cut(new)),
        (Some(old), None) => format!("{path}: removed, it was {}", cut(old)),
        (Some(old), Some(new)) => format!("{path}: {} → {}", cut(old), cut(new)),
        (None, None) => path,
    }
}

fn cut(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST_VALUE {
        return text;
    }
    text.chars().take(LONGEST_VALUE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::*;

    #[test]
    fn a_diff_names_steps_keys_and_values() {
        let catalog = Catalog { workers: &["etl", "judge"], ..Catalog::default() };
        let register = |text: &str| Workflow::register(text, &BTreeMap::new(), &catalog).unwrap();
        let old = register(
            "name: t\nversion: 1\nvalues: { max: 0.5 }\nsteps:\n  - { id: a, worker: etl, on_success: b }\n  - { id: b, worker: judge, on_success: { end: done } }",
        );
        let new = register(
            "name: t\nversion: 2\nvalues: { max: 0.7 }\ngoal: g\nsteps:\n  - { id: a, worker: etl, deadline: 5s, max_visits: 2, on_success: c }\n  - { id: c, worker: judge, on_success: { end: done } }",
        );
        let lines = new.diff_from(&old).unwrap();
        assert!(lines[0].starts_with("version: t@1-") && lines[0].contains(" → t@2-"), "{lines:?}");
        assert_eq!(
            lines[1..],
            [
                "step b: removed",
                "step a: deadline: \"60s\" → \"5s\"",
                "step a: max_visits: added, 2",
                "step a: on_success: \"b\" → \"c\"",
                "step c: added",
                "goal: \"\" → \"g\"",
                "values.max: 0.5 → 0.7",
            ]
        );
        assert!(new.diff_from(&new).unwrap().is_empty());
    }
}
