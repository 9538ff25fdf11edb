//! What steps read and write of the blackboard, against what their clusters may.

use serde_json::Value;

use super::Checker;
use super::conditions::{Role, segments, unknown_on_board};
use super::names::is_pointer;
use crate::workflow::document::{CONTINUE, ClusterDocument, OperationDocument, StepDocument, TargetDocument};
use crate::workflow::{Expression, PatchOp, Target};

impl Checker<'_> {
    pub(super) fn capabilities(&mut self) {
        for placed in self.expressions(false).into_iter().filter(|placed| placed.role == Role::Input) {
            let Some(at) = placed.step else { continue };
            let read: Vec<Vec<String>> = match &placed.expression {
                Expression::Pointer(pointer) => vec![segments(pointer)],
                Expression::Cel(condition) => condition.paths().filter_map(on_board).collect(),
            };
            for place in read {
                let shown = format!("/{}", place.join("/"));
                if let Some(why) = self.unreadable(self.flow.step(at), &place) {
                    self.placed_fault(&placed, format!("it reads `{shown}`, {why}"));
                }
            }
        }
        for at in 0..self.flow.len() {
            let step = self.flow.step(at);
            for (number, operation) in step.patch.iter().enumerate() {
                self.operation(at, &format!("patch/{number}"), operation);
            }
            self.fallback(at, step);
        }
    }

    fn clusters_of<'s>(
        &'s self,
        step: &'s StepDocument,
    ) -> impl Iterator<Item = (&'s String, &'s ClusterDocument)> {
        let names = step.cluster.iter().chain(step.orchestrate.iter().flat_map(|it| &it.clusters));
        names.filter_map(|name| Some((name, self.document.clusters.get(name)?)))
    }

    fn unreadable(&self, step: &StepDocument, place: &[String]) -> Option<String> {
        if step.cluster.is_none() && step.orchestrate.is_none() {
            return Some("and names no cluster, so it may read nothing of the blackboard".to_owned());
        }
        let mut clusters = self.clusters_of(step).peekable();
        // One that is not known is told of elsewhere.
        let (name, _) = *clusters.peek()?;
        let readable = clusters
            .any(|(_, cluster)| cluster.allowed_reads.iter().any(|pattern| shows(&segments(pattern), place)));
        (!readable).then(|| format!("which the cluster `{name}` may not read (allowed_reads)"))
    }

    fn operation(&mut self, at: usize, key: &str, operation: &OperationDocument) {
        let path = &operation.path;
        if let Some(message) = incomplete(operation) {
            self.step_fault(at, key, message);
        }
        if !is_pointer(path) {
            let message = format!("`{path}` is no JSON Pointer to a part of the blackboard");
            self.step_fault(at, &format!("{key}/path"), message);
            return;
        }
        let places = [Some(path), operation.from.as_ref()].into_iter().flatten();
        for place in places.filter(|place| is_pointer(place)) {
            let segments = segments(place);
            let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
            if let Some(schema) = unknown_on_board(self.document, &segments) {
                let message = format!("it names `{place}`, which the schema of {schema} does not have");
                self.step_fault(at, &format!("{key}/path"), message);
            }
        }
        self.permitted(at, key, operation);
    }

    /// Whether the step's cluster may do it.
    fn permitted(&mut self, at: usize, key: &str, operation: &OperationDocument) {
        let (op, path) = (operation.op, &operation.path);
        let step = self.flow.step(at);
        let Some(name) = &step.cluster else {
            self.step_fault(at, key, "it has a patch and names no cluster, so it may write nothing");
            return;
        };
        let Some(cluster) = self.document.clusters.get(name) else { return };
        let may_write = |place: &str| {
            cluster.allowed_writes.iter().any(|pattern| covers(&segments(pattern), &segments(place)))
        };
        let may_read = |place: &str| {
            cluster.allowed_reads.iter().any(|pattern| shows(&segments(pattern), &segments(place)))
        };
        let mut faults = Vec::new();
        if !cluster.allowed_ops.contains(&op) {
            faults.push(("op", format!("the cluster `{name}` may not `{op}` (allowed_ops)")));
        }
        if op != PatchOp::Test && !may_write(path) {
            faults.push(("path", format!("the cluster `{name}` may not write `{path}` (allowed_writes)")));
        }
        if op == PatchOp::Test && !may_read(path) {
            faults.push(("path", format!("the cluster `{name}` may not read `{path}` (allowed_reads)")));
        }
        if let Some(from) = operation.from.as_deref() {
            if op == PatchOp::Move && !may_write(from) {
                faults
                    .push(("from", format!("the cluster `{name}` may not write `{from}` (allowed_writes)")));
            }
            if !may_read(from) {
                faults.push(("from", format!("the cluster `{name}` may not read `{from}` (allowed_reads)")));
            }
        }
        for (part, message) in faults {
            self.step_fault(at, &format!("{key}/{part}"), message);
        }
    }

    fn fallback(&mut self, at: usize, step: &StepDocument) {
        let continues = |target: &Option<TargetDocument>| {
            target.as_ref().is_some_and(|target| target.target() == Target::Continue)
        };
        for (key, target) in [("on_failure", &step.on_failure), ("on_timeout", &step.on_timeout)] {
            if continues(target) && step.fallback.is_null() {
                let message = format!("`{CONTINUE}` goes on with the step's fallback, and it has none");
                self.step_fault(at, key, message);
            }
        }
        if step.fallback.is_null() {
            return;
        }
        // Where a run goes on without the step, its patch is made of the fallback.
        let values = step.patch.iter().filter_map(|operation| operation.value.as_deref());
        for lacking in values.filter_map(|source| lacking(source, &step.id, &step.fallback)) {
            self.step_fault(at, "fallback", format!("it lacks `{lacking}`, which the patch reads"));
        }
    }
}

/// What an expression of a patch reads of the step's output and this one has not.
fn lacking(source: &str, id: &str, output: &Value) -> Option<String> {
    match Expression::compile(source).ok()? {
        Expression::Pointer(pointer) => output.pointer(&pointer).is_none().then_some(pointer),
        Expression::Cel(condition) => condition
            .required()
            .find(|(root, field)| (*root == "output" || *root == id) && output.get(field).is_none())
            .map(|(root, field)| format!("{root}.{field}")),
    }
}

/// What an operation of RFC 6902 lacks, or has too much.
fn incomplete(operation: &OperationDocument) -> Option<String> {
    let op = operation.op;
    let (needs_value, needs_from) = match op {
        PatchOp::Add | PatchOp::Replace | PatchOp::Test => (true, false),
        PatchOp::Move | PatchOp::Copy => (false, true),
        PatchOp::Remove => (false, false),
    };
    let say = |name: &str, needs: bool, has: bool| match (needs, has) {
        (true, false) => Some(format!("`{op}` needs a {name}")),
        (false, true) => Some(format!("`{op}` has no {name}")),
        _ => None,
    };
    let from = operation.from.as_deref();
    say("value", needs_value, operation.value.is_some())
        .or_else(|| say("from", needs_from, from.is_some()))
        .or_else(|| from.filter(|from| !is_pointer(from)).map(|from| format!("`{from}` is no JSON Pointer")))
}

/// A path that an expression reads, as a place on the blackboard.
fn on_board(path: &[String]) -> Option<Vec<String>> {
    match path.first()?.as_str() {
        "board" if path.len() > 1 => Some(path[1..].to_vec()),
        "inputs" => Some(path.to_vec()),
        _ => None,
    }
}

/// Whether a pattern covers exactly this place: a segment `*` is any one, a last `**` the place itself and all below.
fn covers(pattern: &[String], place: &[String]) -> bool {
    let (head, open) = match pattern.split_last() {
        Some((last, head)) if last == "**" => (head, true),
        _ => (pattern, false),
    };
    let long_enough = if open { place.len() >= head.len() } else { place.len() == head.len() };
    long_enough && head.iter().zip(place).all(|(pattern, segment)| pattern == "*" || pattern == segment)
}

/// Whether one who may read the pattern sees this place: what is shown is shown with all that is in it.
fn shows(pattern: &[String], place: &[String]) -> bool {
    (1..=place.len()).any(|length| covers(pattern, &place[..length])) || covers(pattern, place)
}
