//! The content that a blackboard makes.

use std::collections::{BTreeMap, BTreeSet};

use model::{Content, Lifecycle, StoredContent, sha256};
use serde_json::{Map, Value, json};

use super::journey::Journey;
use crate::Facts;
use crate::workflow::{AGENT, Expression, Step, Workflow};

/// How much of each side of a difference is told, in characters.
const TOLD: usize = 2000;
/// The fields of content.
pub(crate) const CONTENT_FIELDS: [&str; 6] = ["title", "summary", "body", "url", "language", "tags"];
/// Those without which a blackboard makes none.
pub(crate) const CONTENT_NEEDS: [&str; 2] = ["title", "body"];
/// Characters of a call that are shown to whoever approves it.
const LONGEST_CALL: usize = 20_000;

impl Journey<'_> {
    /// The content that a blackboard makes by the workflow's projections; `None` while something that they read is not there,
    /// or the title or the body is empty.
    ///
    /// # Errors
    /// Everything is there, and it is no content: a title that is a number, or of two lines.
    pub(super) fn projected<'v>(
        &self,
        board: &'v Value,
        variables: BTreeMap<&'v str, &'v Value>,
    ) -> Result<Option<StoredContent>, String> {
        let null = Value::Null;
        let mut variables: BTreeMap<&str, &Value> = variables;
        variables.insert("board", board);
        variables.insert("inputs", board.get("inputs").unwrap_or(&null));
        let mut fields =
            Map::from_iter([("summary".to_owned(), json!("")), ("language".to_owned(), json!("und"))]);
        for (field, expression) in self.workflow.content() {
            match expression.value(board, &variables) {
                Ok(Value::Null) => {}
                Ok(value) => {
                    fields.insert(field.clone(), value);
                }
                Err(_) => return Ok(None),
            }
        }
        let is_empty = |field: &str| {
            fields.get(field).is_none_or(|text| text.as_str().is_some_and(|text| text.trim().is_empty()))
        };
        if CONTENT_NEEDS.into_iter().any(is_empty) {
            return Ok(None);
        }
        let content: Content = serde_json::from_value(Value::Object(fields))
            .map_err(|error| format!("the blackboard makes no content: {error}"))?;
        content.check().map_err(|error| format!("the blackboard makes no content: {error}"))?;
        content.seal().map(Some).map_err(|error| format!("the content cannot be stored: {error}"))
    }

    /// The content that the blackboard makes as it stands, of these artifacts and of those that the record hands over; what is
    /// lacking of them is wanted.
    pub(super) fn made(&mut self, artifacts: &BTreeMap<String, Value>) -> Option<StoredContent> {
        let workflow = self.workflow;
        let artifacts = self.handed(workflow.content_artifacts(), artifacts)?;
        let facts = Facts::default().to_json();
        let mut variables: BTreeMap<&str, &Value> =
            artifacts.iter().map(|(name, value)| (name.as_str(), value)).collect();
        variables.extend([("values", workflow.values()), ("facts", &facts)]);
        self.projected(&self.beyond.memory.board, variables).ok().flatten()
    }

    /// These artifacts, and those of these names that the record hands over; `None` where it is to hand over one of them first.
    pub(super) fn handed(
        &mut self,
        names: impl IntoIterator<Item = String>,
        artifacts: &BTreeMap<String, Value>,
    ) -> Option<BTreeMap<String, Value>> {
        let around = self.around;
        let mut all = artifacts.clone();
        let mut wanted = BTreeSet::new();
        for name in names.into_iter().filter(|name| !artifacts.contains_key(name)) {
            match around.artifacts.get(&name) {
                None => {
                    wanted.insert(name);
                }
                Some(Value::Null) => {}
                Some(value) => {
                    all.insert(name, value.clone());
                }
            }
        }
        let complete = wanted.is_empty();
        self.beyond.wants.artifacts.extend(wanted);
        complete.then_some(all)
    }
}

impl Journey<'_> {
    /// Where no projection says what a run publishes, an agent's step that acts outside publishes its call: so an approval is of
    /// exactly what the step is given, and another call asks for another approval.
    pub(super) fn cover_call(&mut self, step: &Step) {
        let made_elsewhere = self.at.content.is_some() && self.at.content != self.beyond.memory.projected;
        if !is_call(self.workflow, step) || made_elsewhere || self.beyond.content.is_some() {
            return;
        }
        let Some(call) = self.call(step) else { return };
        let digest = Some(call.sha256);
        if digest == self.at.content {
            return;
        }
        if !self.approving && self.is_approved() {
            self.lifecycle = Lifecycle::Qa;
        }
        self.memory().projected = digest;
        self.beyond.content = Some(call);
    }

    /// What an agent would be asked at a step: the part of the blackboard that it reads.
    fn call(&self, step: &Step) -> Option<StoredContent> {
        let board = match &step.capability {
            Some(capability) => crate::view(&self.beyond.memory.board, &capability.reads),
            None => json!({}),
        };
        let input = self.workflow.input_of(step, &board, &BTreeMap::new()).unwrap_or_default();
        let call = json!({ "step": step.id, "role": step.role, "input": input, "board": board });
        let whole = serde_json::to_string_pretty(&call).ok()?;
        // What is too long to be shown whole is named by its digest.
        let body = match whole.chars().count() {
            0..=LONGEST_CALL => whole,
            _ => {
                let shown: String = whole.chars().take(LONGEST_CALL).collect();
                format!("{shown}…\nSHA-256 of the whole: {}", sha256(&[whole.as_bytes()]))
            }
        };
        let content = json!({
            "title": format!("{}: the call of {}", self.workflow.name(), step.id),
            "summary": step.description, "body": body.replace('\0', "\u{fffd}"), "language": "und",
        });
        let content: Content = serde_json::from_value(content).ok()?;
        content.check().ok()?;
        content.seal().ok()
    }
}

/// Whether what a step sends is no content but what it is given.
pub(crate) fn is_call(workflow: &Workflow, step: &Step) -> bool {
    step.side_effect && step.worker.as_str() == AGENT && workflow.content().is_empty()
}

/// The operations that write a person's edit back to where the content comes from, by an RFC 6902 array. A field that is
/// computed cannot be written back: it stays as the person wrote it until the blackboard makes it another.
pub(super) fn written_back(
    projections: &BTreeMap<String, Expression>,
    board: &Value,
    edited: &Content,
) -> Value {
    let fields = serde_json::to_value(edited).unwrap_or_default();
    let operations = projections.iter().filter_map(|(field, expression)| {
        let Expression::Pointer(pointer) = expression else { return None };
        let value = fields.get(field)?;
        let there = board.pointer(pointer)?;
        (there != value).then(|| json!({ "op": "replace", "path": pointer, "value": value }))
    });
    Value::Array(operations.collect())
}

/// What differs, by field: `before` and `after`, each without what both begin and end with.
pub(super) fn difference(before: Option<&Content>, after: Option<&Content>) -> Value {
    let fields = |content: Option<&Content>| {
        content.and_then(|content| serde_json::to_value(content).ok()).unwrap_or_default()
    };
    let (before, after) = (fields(before), fields(after));
    let differing = CONTENT_FIELDS.into_iter().filter_map(|name| {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            return None;
        }
        let (old, new) = (text(old), text(new));
        let (old, new) = apart(&old, &new);
        Some((name.to_owned(), json!({ "before": old, "after": new })))
    });
    Value::Object(differing.collect())
}

fn text(value: Option<&Value>) -> Vec<char> {
    match value {
        None | Some(Value::Null) => vec![],
        Some(Value::String(text)) => text.chars().collect(),
        Some(other) => other.to_string().chars().collect(),
    }
}

fn apart(old: &[char], new: &[char]) -> (String, String) {
    let begin = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[begin..], &new[begin..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    let told = |text: &[char]| text[..text.len() - end].iter().take(TOLD).collect();
    (told(old), told(new))
}
