//! What is read, and whether any earlier step surely or possibly writes it.

use std::collections::BTreeSet;

use super::Checker;
use super::conditions::{Placed, Role, segments, unknown_on_board};
use super::names::is_pointer;
use crate::workflow::Expression;
use crate::workflow::PatchOp;
use crate::workflow::compile::{RESERVED, keeps_manifest};
use crate::workflow::document::StepDocument;

impl Checker<'_> {
    pub(super) fn reads(&mut self) {
        let keeps = keeps_manifest(self.document);
        for placed in self.expressions(false) {
            let earlier = self.earlier(&placed);
            match &placed.expression {
                Expression::Pointer(pointer) if placed.role != Role::Patch => {
                    if !self.is_written(&segments(pointer), &earlier) {
                        self.placed_fault(&placed, format!("it reads `{pointer}`, {}", nobody(placed.role)));
                    }
                }
                Expression::Pointer(_) => {}
                Expression::Cel(condition) => {
                    for root in condition.roots() {
                        if let Some(why) = self.unknown_root(&placed, root, &earlier, keeps) {
                            let message = format!("`{}` reads `{root}`, {why}", condition.source());
                            self.placed_fault(&placed, message);
                        }
                    }
                    for path in condition.paths().filter(|path| path.len() > 1 && path[0] == "board") {
                        if !self.is_written(&path[1..], &earlier) {
                            let (shown, why) = (path.join("."), nobody(placed.role));
                            let message = format!("`{}` reads `{shown}`, {why}", condition.source());
                            self.placed_fault(&placed, message);
                        }
                    }
                }
            }
        }
        for at in 0..self.flow.len() {
            self.skip(at);
        }
        for (number, pointer) in self.document.untrusted.iter().flatten().enumerate() {
            if let Some(why) = self.never_comes(pointer) {
                self.fault(&format!("untrusted/{number}"), format!("`{pointer}` {why}"));
            }
        }
    }

    /// Why nothing untrusted can stand at a place, so that whoever names it means another.
    fn never_comes(&self, pointer: &str) -> Option<String> {
        if !is_pointer(pointer) {
            return Some("is no JSON Pointer".to_owned());
        }
        let place = segments(pointer);
        if place.iter().any(|segment| matches!(segment.as_str(), "*" | "**")) {
            return Some("is a pattern: write a place, which means all that is in it".to_owned());
        }
        let names: Vec<&str> = place.iter().map(String::as_str).collect();
        if let Some(schema) = unknown_on_board(self.document, &names) {
            return Some(format!("is no place that the schema of {schema} has"));
        }
        let written = self.is_written(&place, &(0..self.flow.len()).collect());
        (!written).then(|| "is written neither by the inputs nor by any step".to_owned())
    }

    /// The steps whose writing an expression can see.
    fn earlier(&self, placed: &Placed) -> BTreeSet<usize> {
        let Some(at) = placed.step else { return (0..self.flow.len()).collect() };
        let mut found = self.flow.before(at);
        for undone in (0..self.flow.len()).filter(|step| self.flow.compensation(*step) == Some(at)) {
            found.extend(self.flow.before(undone));
            found.insert(undone);
        }
        if placed.role != Role::Input {
            found.insert(at);
        }
        found
    }

    fn unknown_root(
        &self,
        placed: &Placed,
        root: &str,
        earlier: &BTreeSet<usize>,
        keeps_manifest: bool,
    ) -> Option<&'static str> {
        match root {
            "output" => (placed.role != Role::Patch).then_some("which only the values of a patch have"),
            "facts" => (placed.role == Role::Input).then_some("which is known only once the step is done"),
            "board" | "inputs" => {
                (!keeps_manifest).then_some("and this workflow has neither inputs nor a blackboard")
            }
            "content" => {
                (!self.makes_content()).then_some("and nothing here makes any: no projection, no step `etl`")
            }
            _ if RESERVED.contains(&root) => None,
            id => match self.flow.at(id) {
                Some(at) if self.flow.is_fork(at) => Some("a parallel step, which has no output"),
                Some(at) if earlier.contains(&at) => None,
                _ => Some("which no step before this one writes"),
            },
        }
    }

    fn is_written<S: AsRef<str>>(&self, place: &[S], by: &BTreeSet<usize>) -> bool {
        place.is_empty()
            || place[0].as_ref() == "inputs"
            || self.is_there_from_the_beginning(place[0].as_ref())
            || by.iter().any(|at| self.writes(self.flow.step(*at)).iter().any(|path| overlap(path, place)))
    }

    /// Whether the blackboard's schema gives it a default.
    fn is_there_from_the_beginning(&self, name: &str) -> bool {
        self.document.blackboard["properties"][name].get("default").is_some()
    }

    /// Where a step surely or possibly writes: its own patch, and what its worker may propose.
    fn writes(&self, step: &StepDocument) -> Vec<Vec<String>> {
        let sets = |op: PatchOp| !matches!(op, PatchOp::Test | PatchOp::Remove);
        let own = step.patch.iter().filter(|operation| sets(operation.op)).map(|operation| &operation.path);
        let clusters = step.cluster.iter().chain(step.orchestrate.iter().flat_map(|it| &it.clusters));
        let known = clusters.filter_map(|name| self.document.clusters.get(name));
        let proposed = known.filter(|cluster| cluster.allowed_ops.iter().any(|op| sets(*op)));
        own.chain(proposed.flat_map(|cluster| &cluster.allowed_writes)).map(|path| segments(path)).collect()
    }

    fn skip(&mut self, at: usize) {
        let Some(what) = &self.flow.step(at).skip_if_exists else { return };
        let key = "skip_if_exists";
        if !what.starts_with('/') {
            if self.flow.at(what).is_none_or(|step| self.flow.is_fork(step)) {
                self.step_fault(
                    at,
                    key,
                    format!("no step writes an artifact `{what}`; write a step's id, or a JSON Pointer"),
                );
            }
        } else if !is_pointer(what) {
            self.step_fault(at, key, format!("`{what}` is no JSON Pointer"));
        } else if !self.is_written(&segments(what), &(0..self.flow.len()).collect()) {
            self.step_fault(at, key, format!("nothing writes `{what}`, so it never exists"));
        }
    }
}

fn nobody(role: Role) -> &'static str {
    match role {
        Role::Content => "which neither the inputs nor any step writes",
        _ => "which neither the inputs nor any earlier step writes",
    }
}

/// Whether a pattern and a place can have something in common: one is, or is around, the other.
fn overlap<S: AsRef<str>>(pattern: &[String], place: &[S]) -> bool {
    pattern.iter().zip(place).all(|(pattern, segment)| {
        matches!(pattern.as_str(), "*" | "**" | "-") || segment.as_ref() == "*" || pattern == segment.as_ref()
    })
}
