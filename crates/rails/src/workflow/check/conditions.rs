//! Expressions: that they can be read, and that what they name is there.

use super::schemas::unknown_in;
use super::{Checker, member};
use crate::Facts;
use crate::condition::Condition;
use crate::workflow::Expression;
use crate::workflow::document::StepDocument;

/// An expression of a document, where it stands, and what it may name.
pub(super) struct Placed {
    /// The step, and the key in it; without a step the pointer in the document.
    pub(super) step: Option<usize>,
    pub(super) key: String,
    pub(super) role: Role,
    pub(super) expression: Expression,
}

/// What an expression is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Condition,
    Input,
    Patch,
    Content,
}

impl Checker<'_> {
    /// Every expression that can be read; the others are faults.
    pub(super) fn expressions(&mut self, report: bool) -> Vec<Placed> {
        let mut found = Vec::new();
        for at in 0..self.flow.len() {
            for (key, role, source) in sources(self.flow.step(at)) {
                let compiled = match role {
                    Role::Condition => {
                        Condition::compile(source).map(|condition| Expression::Cel(Box::new(condition)))
                    }
                    _ => Expression::compile(source),
                };
                match compiled {
                    Ok(expression) => found.push(Placed { step: Some(at), key, role, expression }),
                    Err(message) if report => self.step_fault(at, &key, message),
                    Err(_) => {}
                }
            }
        }
        for (field, source) in &self.document.content {
            let key = member("content", field);
            match Expression::compile(source) {
                Ok(expression) => {
                    found.push(Placed { step: None, key, role: Role::Content, expression });
                }
                Err(message) if report => self.fault(&key, message),
                Err(_) => {}
            }
        }
        found
    }

    pub(super) fn placed_fault(&mut self, placed: &Placed, message: String) {
        match placed.step {
            Some(at) => self.step_fault(at, &placed.key, message),
            None => self.fault(&placed.key, message),
        }
    }

    /// That every field exists that an expression reads of something whose fields are known.
    pub(super) fn conditions(&mut self) {
        for placed in self.expressions(true) {
            match &placed.expression {
                Expression::Pointer(pointer) => self.pointed(&placed, pointer),
                Expression::Cel(condition) => {
                    for path in condition.paths() {
                        if let Some(message) = self.unknown_field(&placed, path) {
                            let message = format!("`{}` reads {message}", condition.source());
                            self.placed_fault(&placed, message);
                        }
                    }
                }
            }
        }
    }

    fn unknown_field(&self, placed: &Placed, path: &[String]) -> Option<String> {
        let (root, fields) = path.split_first()?;
        let field = fields.first()?;
        let shown = path.join(".");
        match root.as_str() {
            "values" if !self.document.values.contains_key(field) => {
                Some(format!("`values.{field}`, which is not among the values"))
            }
            "facts" if !Facts::FIELDS.contains(&field.as_str()) => {
                Some(format!("`facts.{field}`; known are {}", Facts::FIELDS.join(", ")))
            }
            "content" if !self.document.content.is_empty() && !self.document.content.contains_key(field) => {
                Some(format!("`content.{field}`, which is not projected"))
            }
            "board" | "inputs" => {
                let prefix = (root == "inputs").then_some("inputs");
                let whole: Vec<&str> = prefix.into_iter().chain(fields.iter().map(String::as_str)).collect();
                unknown_on_board(self.document, &whole)
                    .map(|schema| format!("`{shown}`, which the schema of {schema} does not have"))
            }
            _ => {
                let id = if root == "output" { self.flow.id(placed.step?) } else { root };
                let schema = &self.flow.step(self.flow.at(id)?).output_schema;
                let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
                unknown_in(schema, &fields)
                    .then(|| format!("`{shown}`, which the output_schema of `{id}` does not have"))
            }
        }
    }

    fn pointed(&mut self, placed: &Placed, pointer: &str) {
        if !super::names::is_pointer(pointer) {
            self.placed_fault(placed, format!("`{pointer}` is no JSON Pointer"));
            return;
        }
        let segments = segments(pointer);
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        if placed.role == Role::Patch {
            let Some(at) = placed.step else { return };
            if unknown_in(&self.flow.step(at).output_schema, &segments) {
                self.placed_fault(
                    placed,
                    format!("it reads `{pointer}`, which the output_schema does not have"),
                );
            }
        } else if let Some(schema) = unknown_on_board(self.document, &segments) {
            self.placed_fault(
                placed,
                format!("it reads `{pointer}`, which the schema of {schema} does not have"),
            );
        }
    }
}

/// Which schema knows that a place of the blackboard cannot be.
pub(super) fn unknown_on_board(
    document: &crate::workflow::document::Document,
    segments: &[&str],
) -> Option<&'static str> {
    match segments.split_first() {
        Some((&"inputs", inner)) => unknown_in(&document.inputs, inner).then_some("inputs"),
        _ => unknown_in(&document.blackboard, segments).then_some("the blackboard"),
    }
}

/// The segments of a JSON Pointer.
pub(super) fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

fn sources(step: &StepDocument) -> Vec<(String, Role, &str)> {
    let branches = step.branches.iter().enumerate();
    let conditions = branches
        .map(|(number, branch)| (format!("branches/{number}/when"), Role::Condition, branch.when.as_str()));
    let inputs = step.input.iter().map(|(key, source)| (member("input", key), Role::Input, source.as_str()));
    let patch = step.patch.iter().enumerate().filter_map(|(number, operation)| {
        Some((format!("patch/{number}/value"), Role::Patch, operation.value.as_deref()?))
    });
    conditions.chain(inputs).chain(patch).collect()
}
