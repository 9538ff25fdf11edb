//! Patches of the blackboard: taken whole, or not at all.

use json_patch::PatchOperation;
use jsonschema::Validator;
use serde_json::Value;

use super::Capability;
use crate::workflow::PatchOp;

/// The most operations of one patch.
pub const MOST_OPERATIONS: usize = 1000;
/// The largest blackboard, in bytes of JSON.
pub const LARGEST_BOARD: usize = 1 << 20;
/// The deepest blackboard: half of what serde_json reads back.
const DEEPEST: usize = 64;
/// How much of a path is told, in characters.
const TOLD: usize = 200;

/// The blackboard after a patch that somebody with this capability proposes; without one nothing may be proposed. The patch
/// is an array of RFC 6902 operations, at most [`MOST_OPERATIONS`]; the result has at most [`LARGEST_BOARD`] bytes.
///
/// # Errors
/// Why the patch is refused whole, in words that tell nothing of places which may not be read: an operation or a place
/// outside the capability, a `test` that fails, a place that is not there, a bound, a result that violates the schema.
pub fn propose(
    board: &Value,
    patch: &Value,
    capability: Option<&Capability>,
    schema: Option<&Validator>,
) -> Result<Value, String> {
    let operations = operations(patch)?;
    permit(&operations, capability)?;
    let board = apply(board, &operations)?;
    fits(&board, schema)?;
    Ok(board)
}

/// Reads a patch.
pub(crate) fn operations(patch: &Value) -> Result<Vec<PatchOperation>, String> {
    let Value::Array(operations) = patch else {
        return Err("a patch is an array of operations".to_owned());
    };
    if operations.len() > MOST_OPERATIONS {
        return Err(format!("it has {} operations, and {MOST_OPERATIONS} are the most", operations.len()));
    }
    let read = |(index, operation): (usize, &Value)| {
        serde::Deserialize::deserialize(operation)
            .map_err(|error: serde_json::Error| refusal(index, &format!("cannot be read: {error}")))
    };
    operations.iter().enumerate().map(read).collect()
}

/// Whether a capability has every operation and every place.
pub(crate) fn permit(operations: &[PatchOperation], capability: Option<&Capability>) -> Result<(), String> {
    let Some(capability) = capability else {
        return if operations.is_empty() {
            Ok(())
        } else {
            Err("the step belongs to no cluster, so it may write nothing".to_owned())
        };
    };
    for (index, operation) in operations.iter().enumerate() {
        let (kind, reads, writes) = asked(operation);
        if !capability.ops.contains(&kind) {
            return Err(refusal(index, &format!("`{kind}` is not among its operations")));
        }
        if let Some(path) = writes.into_iter().flatten().find(|path| !capability.may_write(path)) {
            return Err(refusal(index, &format!("it may not write `{}`", told(path))));
        }
        if let Some(path) = reads.filter(|path| !capability.may_read(path)) {
            return Err(refusal(index, &format!("it may not read `{}`", told(path))));
        }
    }
    Ok(())
}

/// What an operation asks for: its kind, the place that it reads, the places that it writes.
fn asked(operation: &PatchOperation) -> (PatchOp, Option<&str>, [Option<&str>; 2]) {
    let path = operation.path().as_str();
    match operation {
        PatchOperation::Add(_) => (PatchOp::Add, None, [Some(path), None]),
        PatchOperation::Remove(_) => (PatchOp::Remove, None, [Some(path), None]),
        PatchOperation::Replace(_) => (PatchOp::Replace, None, [Some(path), None]),
        PatchOperation::Test(_) => (PatchOp::Test, Some(path), [None, None]),
        PatchOperation::Copy(copy) => (PatchOp::Copy, Some(copy.from.as_str()), [Some(path), None]),
        PatchOperation::Move(from) => {
            let from = from.from.as_str();
            (PatchOp::Move, Some(from), [Some(path), Some(from)])
        }
    }
}

/// The blackboard after these operations, within its bounds.
pub(crate) fn apply(board: &Value, operations: &[PatchOperation]) -> Result<Value, String> {
    let mut board = board.clone();
    // What is copied again and again doubles each time, so the size is watched on the way.
    let mut size = size_of(&board);
    for (index, operation) in operations.iter().enumerate() {
        let (_, _, writes) = asked(operation);
        if writes.into_iter().flatten().any(str::is_empty) {
            return Err(refusal(index, "the whole blackboard is no place to write"));
        }
        size += added(&board, operation);
        json_patch::patch(&mut board, std::slice::from_ref(operation)).map_err(|error| {
            refusal(index, &format!("`{}`: {}", told(operation.path().as_str()), error.kind))
        })?;
        if size > LARGEST_BOARD {
            size = size_of(&board);
            if size > LARGEST_BOARD {
                return Err(refusal(
                    index,
                    &format!("the blackboard would be larger than {LARGEST_BOARD} bytes"),
                ));
            }
        }
    }
    if depth_of(&board) > DEEPEST {
        return Err(format!("the blackboard would be deeper than {DEEPEST} levels"));
    }
    Ok(board)
}

/// Whether a blackboard is one that its schema describes. What is wrong is told by place and keyword, never by value: the
/// one who proposed the patch may not be one who reads that place.
pub(crate) fn fits(board: &Value, schema: Option<&Validator>) -> Result<(), String> {
    let Some(fault) = schema.and_then(|schema| schema.iter_errors(board).next()) else { return Ok(()) };
    Err(format!(
        "the blackboard would violate its schema at `{}`, by {}",
        told(fault.instance_path().as_str()),
        fault.schema_path()
    ))
}

/// At most how many bytes an operation adds.
fn added(board: &Value, operation: &PatchOperation) -> usize {
    let name = operation.path().as_str().len() + 4;
    match operation {
        PatchOperation::Add(add) => size_of(&add.value) + name,
        PatchOperation::Replace(replace) => size_of(&replace.value),
        PatchOperation::Copy(copy) => board.pointer(copy.from.as_str()).map_or(0, size_of) + name,
        PatchOperation::Move(_) => name,
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

fn size_of(value: &Value) -> usize {
    value.to_string().len()
}

fn depth_of(value: &Value) -> usize {
    let (mut deepest, mut open) = (0, vec![(value, 1)]);
    while let Some((value, depth)) = open.pop() {
        deepest = deepest.max(depth);
        match value {
            Value::Array(elements) => open.extend(elements.iter().map(|element| (element, depth + 1))),
            Value::Object(members) => open.extend(members.values().map(|member| (member, depth + 1))),
            _ => {}
        }
    }
    deepest
}

fn refusal(index: usize, why: &str) -> String {
    format!("operation {index}: {why}")
}

fn told(path: &str) -> String {
    path.chars().take(TOLD).collect()
}
