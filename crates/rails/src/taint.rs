//! Taint: which places of the blackboard, and which steps' artifacts, come from untrusted sources.

use std::collections::{BTreeMap, BTreeSet};

use json_patch::PatchOperation;
use serde_json::Value;

use crate::Capability;
use crate::board::place;
use crate::workflow::{Expression, Step, Workflow};

/// Where untrusted sources write.
pub(crate) fn untrusted(workflow: &Workflow) -> Vec<String> {
    workflow.untrusted().to_vec()
}

/// Whether a step may have read anything tainted: by what its cluster reads, by its input, by the expressions of its patch, or
/// as the event's payload, which the workers that know no blackboard are given. `capability` is that of whoever does it. A
/// cluster that is called does what an orchestrator says, who may have read what the cluster may not.
pub(crate) fn reads_any(step: &Step, capability: Option<&Capability>, taint: &BTreeSet<String>) -> bool {
    let expressions =
        step.input.values().chain(step.patch.iter().filter_map(|operation| operation.value.as_ref()));
    let orchestrators = if step.orchestrate.is_some() { step.readers() } else { Vec::new() };
    let told = step.orchestrate.is_some() && taint.contains(&step.id);
    let readers = capability.into_iter().chain(orchestrators);
    let read_by_cluster = readers.flat_map(|capability| &capability.reads);
    let payload = step.capability.is_none() && step.role.is_none() && step.orchestrate.is_none();
    (payload && tainted(taint, "/inputs"))
        || told
        || read_by_cluster.into_iter().any(|pattern| may_meet(taint, pattern))
        || step.patch.iter().filter_map(|operation| operation.from.as_ref()).any(|from| tainted(taint, from))
        || step
            .input
            .values()
            .any(|expression| matches!(expression, Expression::Pointer(pointer) if tainted(taint, pointer)))
        || expressions.into_iter().any(|expression| by_expression(expression, &step.id, taint))
}

/// Whether a step that acts outside would act on anything tainted: on content that is made of it, or by what the step reads.
/// What no projection makes is made by workers, of whatever they had read.
pub(crate) fn acted_on_by(
    step: &Step,
    projections: &BTreeMap<String, Expression>,
    has_content: bool,
    taint: &BTreeSet<String>,
) -> bool {
    let projected = |expression: &Expression| match expression {
        Expression::Pointer(pointer) => tainted(taint, pointer),
        Expression::Cel(_) => by_expression(expression, "", taint),
    };
    let content = if projections.is_empty() {
        has_content && !taint.is_empty()
    } else {
        projections.values().any(projected)
    };
    // Who knows no blackboard sends the content, and nothing of the event's payload.
    let reads = (step.capability.is_some() || step.role.is_some() || !step.input.is_empty())
        && reads_any(step, step.capability.as_ref(), taint);
    content || reads
}

/// Whether a CEL expression reads anything tainted. A pointer is read by its owner: of a patch it points into the output.
pub(crate) fn by_expression(expression: &Expression, own: &str, taint: &BTreeSet<String>) -> bool {
    expression.roots().any(|root| match root {
        "inputs" => tainted(taint, "/inputs"),
        "board" | "content" => taint.iter().any(|entry| entry.starts_with('/')),
        "output" => false,
        step => step != own && taint.contains(step),
    })
}

/// Whether a place is tainted, or one above or below it.
pub(crate) fn tainted(taint: &BTreeSet<String>, pointer: &str) -> bool {
    taint
        .iter()
        .filter(|entry| entry.starts_with('/'))
        .any(|entry| within(entry, pointer) || within(pointer, entry))
}

/// The taint after a patch. What somebody wrote who had read what is tainted is tainted; what another replaced whole is not.
/// What moves or is copied takes its taint along. An array is tainted as a whole, since its indexes shift.
pub(crate) fn after(
    taint: &BTreeSet<String>,
    operations: &[PatchOperation],
    by_tainted: bool,
    board: &Value,
) -> BTreeSet<String> {
    let mut taint = taint.clone();
    for operation in operations {
        let path = operation.path().as_str();
        let carried = match operation {
            PatchOperation::Test(_) => continue,
            PatchOperation::Remove(_) => {
                clear(&mut taint, path);
                continue;
            }
            PatchOperation::Move(from) => {
                let carried = tainted(&taint, from.from.as_str());
                clear(&mut taint, from.from.as_str());
                carried
            }
            PatchOperation::Copy(copy) => tainted(&taint, copy.from.as_str()),
            PatchOperation::Add(_) | PatchOperation::Replace(_) => false,
        };
        let stable = outside_arrays(board, path);
        if carried || by_tainted {
            taint.insert(stable);
        } else if stable == path {
            clear(&mut taint, path);
        }
    }
    taint
}

/// Takes the taint from a place and all that is in it.
pub(crate) fn clear(taint: &mut BTreeSet<String>, pointer: &str) {
    taint.retain(|entry| !(entry.starts_with('/') && within(entry, pointer)));
}

/// The place, or the outermost array that it is in.
fn outside_arrays(board: &Value, pointer: &str) -> String {
    let ends = pointer.char_indices().filter(|(_, c)| *c == '/').map(|(index, _)| index).skip(1);
    let array =
        ends.map(|end| &pointer[..end]).find(|above| board.pointer(above).is_some_and(Value::is_array));
    array.unwrap_or(pointer).to_owned()
}

/// Whether a place is another one, or in it.
fn within(inner: &str, outer: &str) -> bool {
    inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a pattern may mean a tainted place, one above or one below.
fn may_meet(taint: &BTreeSet<String>, pattern: &str) -> bool {
    let pattern = pattern.strip_suffix("/**").unwrap_or(pattern);
    let Some(wanted) = place(pattern) else { return false };
    taint
        .iter()
        .filter(|entry| entry.starts_with('/'))
        .filter_map(|entry| place(entry))
        .any(|entry| wanted.iter().zip(&entry).all(|(wanted, name)| wanted == "*" || wanted == name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taint(entries: &[&str]) -> BTreeSet<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    fn patched(before: &[&str], patch: &Value, by_tainted: bool, board: &Value) -> Vec<String> {
        let operations: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
        after(&taint(before), &operations, by_tainted, board).into_iter().collect()
    }

    #[test]
    fn what_is_written_after_reading_something_tainted_is_tainted_until_another_replaces_it() {
        let board = json!({ "a": { "b": 1 }, "list": [1] });
        let add = json!([{ "op": "add", "path": "/a/b", "value": 1 }]);
        assert_eq!(patched(&["/inputs"], &add, true, &board), ["/a/b", "/inputs"]);
        assert_eq!(patched(&["/a/b", "/inputs"], &add, false, &board), ["/inputs"]);
        assert_eq!(patched(&["/a", "step"], &add, false, &board), ["/a", "step"]);
        let whole = json!([{ "op": "replace", "path": "/a", "value": {} }]);
        assert_eq!(patched(&["/a/b", "/ab"], &whole, false, &board), ["/ab"]);
        let test = json!([{ "op": "test", "path": "/a/b", "value": 1 }]);
        assert!(patched(&[], &test, true, &board).is_empty());
    }

    #[test]
    fn taint_goes_along_with_what_is_moved_or_copied_and_stays_on_whole_arrays() {
        let board = json!({ "a": {}, "list": [1, 2] });
        let copy = json!([{ "op": "copy", "from": "/inputs/x", "path": "/a/x" }]);
        assert_eq!(patched(&["/inputs"], &copy, false, &board), ["/a/x", "/inputs"]);
        let moved = json!([{ "op": "move", "from": "/b", "path": "/a/x" }]);
        assert_eq!(patched(&["/b/c"], &moved, false, &board), ["/a/x"]);
        let element = json!([{ "op": "add", "path": "/list/-", "value": 1 }]);
        assert_eq!(patched(&[], &element, true, &board), ["/list"]);
        assert_eq!(patched(&["/list"], &element, false, &board), ["/list"]);
        let gone = json!([{ "op": "remove", "path": "/a" }]);
        assert!(patched(&["/a/x"], &gone, true, &board).is_empty());
    }

    #[test]
    fn a_step_reads_taint_by_its_cluster_its_input_its_patch_or_the_payload() {
        let step = |more: &str| {
            let yaml = format!(
                "
name: t
version: 1
blackboard: {{ type: object }}
clusters: {{ desk: {{ allowed_reads: ['/brief/*', /notes], allowed_writes: [/out] }} }}
steps:
  - {{ id: s, worker: agent, on_success: {{ end: done }}, {more} }}
"
            );
            Workflow::unchecked(&yaml)
        };
        let reads = |more: &str, entries: &[&str]| {
            let workflow = step(more);
            let step = workflow.step("s").unwrap();
            reads_any(step, step.capability.as_ref(), &taint(entries))
        };
        assert!(!reads("cluster: desk", &["/inputs", "/other"]));
        assert!(reads("cluster: desk", &["/brief/title/text"]));
        assert!(reads("cluster: desk", &["/brief"]));
        assert!(reads("cluster: desk", &["/notes/1"]));
        assert!(!reads("cluster: desk", &["/note"]));
        assert!(reads("cluster: desk, input: { x: /inputs/x }", &["/inputs"]));
        assert!(reads("cluster: desk, input: { x: inputs.x }", &["/inputs"]));
        assert!(reads("cluster: desk, input: { x: other.x }", &["other"]));
        assert!(!reads("cluster: desk, input: { x: other.x }", &["/inputs", "another"]));
        assert!(reads("cluster: desk, patch: [{ op: add, path: /out, value: inputs.x }]", &["/inputs"]));
        assert!(!reads("cluster: desk, patch: [{ op: add, path: /out, value: /inputs/x }]", &["/inputs"]));
        assert!(reads("cluster: desk, patch: [{ op: copy, path: /out, from: /inputs/x }]", &["/inputs"]));
        assert!(reads("description: given the payload", &["/inputs"]));
        assert!(!reads("role: coder", &["/inputs"]));
    }
}
