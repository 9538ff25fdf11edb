//! Who wrote a place of the blackboard: the patches that were applied, walked back from the last one.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::board::{operations, place};

/// An operation that a place's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Touch {
    /// Which of the patches, from 0 on.
    pub patch: usize,
    /// Which of its operations, from 0 on.
    pub operation: usize,
    /// Where the value stood after it; moves and copies bring it from elsewhere.
    pub pointer: String,
    /// What it did.
    pub deed: Deed,
}

/// What an operation did to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It wrote the value, or one that this is a part of.
    Wrote,
    /// It changed something within.
    ChangedWithin,
    /// It brought the value from elsewhere; who wrote it there comes next.
    Brought,
    /// It took the value away.
    Removed,
}

/// One operation with places that name what they named then: the end of an array is an index, and whether it shifts its
/// neighbours is known.
struct Resolved {
    patch: usize,
    operation: usize,
    kind: Kind,
}

enum Kind {
    /// Adds or replaces the value at a place, which moves what follows in an array where it is inserted.
    Sets {
        at: Vec<String>,
        inserted: bool,
    },
    Removes {
        at: Vec<String>,
        shifts: bool,
    },
    Moves {
        from: Vec<String>,
        shifts: bool,
        at: Vec<String>,
        inserted: bool,
    },
    Copies {
        from: Vec<String>,
        at: Vec<String>,
        inserted: bool,
    },
}

/// The operations that the value at `pointer` comes from, the last one first; and whether it, or what the last of them changed,
/// was there from the beginning. Patches that cannot be applied are passed over: they changed nothing.
///
/// # Errors
/// The pointer is none.
pub fn blame(first: &Value, patches: &[&Value], pointer: &str) -> Result<(Vec<Touch>, bool), String> {
    let mut at = place(pointer).ok_or_else(|| format!("`{pointer}` is no JSON Pointer"))?;
    let mut touches = Vec::new();
    for step in resolved(first, patches).iter().rev() {
        let mut touch = |at: &[String], deed: Deed| {
            let pointer = written(at);
            touches.push(Touch { patch: step.patch, operation: step.operation, pointer, deed });
        };
        match &step.kind {
            Kind::Sets { at: set, .. } | Kind::Copies { at: set, .. } | Kind::Moves { at: set, .. }
                if below(set, &at) && set.len() > at.len() =>
            {
                touch(&at, Deed::ChangedWithin);
                if let Kind::Moves { from, shifts, .. } = &step.kind {
                    shift(&mut at, from, *shifts);
                }
            }
            Kind::Sets { at: set, .. } if below(&at, set) => {
                touch(&at, Deed::Wrote);
                return Ok((touches, false));
            }
            Kind::Sets { at: set, inserted } => unshift(&mut at, set, *inserted),
            Kind::Removes { at: gone, shifts: false } if below(&at, gone) => {
                touch(&at, Deed::Removed);
                return Ok((touches, false));
            }
            Kind::Removes { at: gone, shifts } => {
                if below(gone, &at) && gone.len() > at.len() {
                    touch(&at, Deed::ChangedWithin);
                }
                shift(&mut at, gone, *shifts);
            }
            Kind::Copies { from, at: set, .. } | Kind::Moves { from, at: set, .. } if below(&at, set) => {
                touch(&at, Deed::Brought);
                at = [from, &at[set.len()..]].concat();
            }
            Kind::Copies { at: set, inserted, .. } => unshift(&mut at, set, *inserted),
            Kind::Moves { from, shifts, at: set, inserted } => {
                unshift(&mut at, set, *inserted);
                if !shifts && below(&at, from) {
                    touch(&at, Deed::Removed);
                    return Ok((touches, false));
                }
                if below(from, &at) && from.len() > at.len() {
                    touch(&at, Deed::ChangedWithin);
                }
                shift(&mut at, from, *shifts);
            }
        }
    }
    Ok((touches, first.pointer(&written(&at)).is_some()))
}

/// Every operation that was applied, on the blackboard as it was then.
fn resolved(first: &Value, patches: &[&Value]) -> Vec<Resolved> {
    let mut board = first.clone();
    let mut all = Vec::new();
    for (patch, operations_of) in patches.iter().enumerate() {
        let Ok(operations) = operations(operations_of) else { continue };
        let (before, kept) = (board.clone(), all.len());
        for (number, operation) in operations.iter().enumerate() {
            let kind = kind(&board, operation);
            if json_patch::patch(&mut board, std::slice::from_ref(operation)).is_err() {
                board = before;
                all.truncate(kept);
                break;
            }
            all.extend(kind.map(|kind| Resolved { patch, operation: number, kind }));
        }
    }
    all
}

fn kind(board: &Value, operation: &PatchOperation) -> Option<Kind> {
    Some(match operation {
        PatchOperation::Test(_) => return None,
        PatchOperation::Add(add) => {
            let (at, inserted) = set(board, add.path.as_str())?;
            Kind::Sets { at, inserted }
        }
        PatchOperation::Replace(replace) => Kind::Sets { at: place(replace.path.as_str())?, inserted: false },
        PatchOperation::Remove(remove) => {
            let at = place(remove.path.as_str())?;
            Kind::Removes { shifts: in_array(board, &at), at }
        }
        PatchOperation::Copy(copy) => {
            let (at, inserted) = set(board, copy.path.as_str())?;
            Kind::Copies { from: place(copy.from.as_str())?, at, inserted }
        }
        PatchOperation::Move(moved) => {
            let from = place(moved.from.as_str())?;
            let shifts = in_array(board, &from);
            let mut without = board.clone();
            json_patch::patch(&mut without, &[removal(moved.from.as_str())?]).ok()?;
            let (at, inserted) = set(&without, moved.path.as_str())?;
            Kind::Moves { from, shifts, at, inserted }
        }
    })
}

fn removal(from: &str) -> Option<PatchOperation> {
    serde_json::from_value(serde_json::json!({ "op": "remove", "path": from })).ok()
}

/// Where a value comes to stand that is added at a place, and whether it shifts what follows.
fn set(board: &Value, path: &str) -> Option<(Vec<String>, bool)> {
    let mut at = place(path)?;
    let Some((last, parent)) = at.split_last() else { return Some((at, false)) };
    let Some(Value::Array(elements)) = board.pointer(&written(parent)) else { return Some((at, false)) };
    if last == "-" {
        let end = elements.len().to_string();
        at.pop();
        at.push(end);
    }
    Some((at, true))
}

fn in_array(board: &Value, at: &[String]) -> bool {
    at.split_last().is_some_and(|(_, parent)| board.pointer(&written(parent)).is_some_and(Value::is_array))
}

/// Whether a place is another one, or in it.
fn below(inner: &[String], outer: &[String]) -> bool {
    inner.starts_with(outer)
}

/// Where a place was before an element was inserted in front of it.
fn unshift(at: &mut [String], inserted_at: &[String], inserted: bool) {
    renumber(at, inserted_at, inserted, |mine, other| if mine > other { mine - 1 } else { mine });
}

/// Where a place was before an element in front of it, or at it, was removed.
fn shift(at: &mut [String], removed_at: &[String], removed: bool) {
    renumber(at, removed_at, removed, |mine, other| if mine >= other { mine + 1 } else { mine });
}

fn renumber(at: &mut [String], changed: &[String], shifts: bool, before: impl Fn(usize, usize) -> usize) {
    let Some((last, parent)) = changed.split_last().filter(|_| shifts) else { return };
    if !at.starts_with(parent) {
        return;
    }
    let Some(mine) = at.get_mut(parent.len()) else { return };
    if let (Ok(index), Ok(other)) = (mine.parse(), last.parse()) {
        *mine = before(index, other).to_string();
    }
}

fn written(place: &[String]) -> String {
    place.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn told(patches: &Value, pointer: &str) -> Vec<(usize, String, Deed)> {
        let first = json!({ "inputs": { "title": "t" } });
        let patches: Vec<&Value> = patches.as_array().unwrap().iter().collect();
        let (touches, _) = blame(&first, &patches, pointer).unwrap();
        touches.into_iter().map(|touch| (touch.patch, touch.pointer, touch.deed)).collect()
    }

    #[test]
    fn the_last_writer_is_found_and_one_who_replaced_the_whole() {
        let patches = json!([
            [{ "op": "add", "path": "/a", "value": { "x": 1, "y": 2 } }],
            [{ "op": "replace", "path": "/a/x", "value": 3 }],
            [{ "op": "test", "path": "/a/x", "value": 3 }, { "op": "add", "path": "/b", "value": 1 }],
        ]);
        assert_eq!(told(&patches, "/a/x"), [(1, "/a/x".to_owned(), Deed::Wrote)]);
        assert_eq!(told(&patches, "/a/y"), [(0, "/a/y".to_owned(), Deed::Wrote)]);
        let whole = [(1, "/a".to_owned(), Deed::ChangedWithin), (0, "/a".to_owned(), Deed::Wrote)];
        assert_eq!(told(&patches, "/a"), whole);
        assert_eq!(told(&patches, "/inputs/title"), []);
        assert!(blame(&json!({}), &[], "a").is_err());
    }

    #[test]
    fn a_value_is_followed_through_moves_copies_and_shifting_arrays() {
        let patches = json!([
            [{ "op": "add", "path": "/list", "value": [] }, { "op": "add", "path": "/list/-", "value": { "t": "one" } }],
            [{ "op": "add", "path": "/list/0", "value": { "t": "zero" } }],
            [{ "op": "copy", "from": "/list/1", "path": "/best" }],
            [{ "op": "remove", "path": "/list/0" }],
            [{ "op": "move", "from": "/best", "path": "/chosen" }],
        ]);
        let chosen = [
            (4, "/chosen/t".to_owned(), Deed::Brought),
            (2, "/best/t".to_owned(), Deed::Brought),
            (0, "/list/0/t".to_owned(), Deed::Wrote),
        ];
        assert_eq!(told(&patches, "/chosen/t"), chosen);
        assert_eq!(told(&patches, "/list/0/t"), [(0, "/list/0/t".to_owned(), Deed::Wrote)]);
        assert_eq!(told(&patches, "/best"), [(4, "/best".to_owned(), Deed::Removed)]);
    }

    #[test]
    fn what_moves_out_of_an_array_into_a_later_element_leaves_each_its_author() {
        let patches = json!([
            [{ "op": "add", "path": "/l", "value": [] }],
            [{ "op": "add", "path": "/l/-", "value": {} }],
            [{ "op": "add", "path": "/l/-", "value": {} }],
            [{ "op": "add", "path": "/l/-", "value": {} }],
            [{ "op": "move", "from": "/l/0", "path": "/l/1/x" }],
        ]);
        let last = [(4, "/l/1".to_owned(), Deed::ChangedWithin), (3, "/l/2".to_owned(), Deed::Wrote)];
        assert_eq!(told(&patches, "/l/1"), last);
        assert_eq!(told(&patches, "/l/0"), [(2, "/l/1".to_owned(), Deed::Wrote)]);
    }

    #[test]
    fn a_patch_that_was_never_applied_wrote_nothing() {
        let patches = json!([
            [{ "op": "add", "path": "/a", "value": 1 }],
            [{ "op": "add", "path": "/a", "value": 2 }, { "op": "test", "path": "/a", "value": 9 }],
        ]);
        assert_eq!(told(&patches, "/a"), [(0, "/a".to_owned(), Deed::Wrote)]);
    }

    fn operation() -> impl Strategy<Value = Value> {
        let path = || prop::sample::select(vec!["/a", "/a/x", "/l", "/l/0", "/l/1", "/l/-", "/l/0/x", "/b"]);
        let op = prop::sample::select(vec!["add", "replace", "remove", "move", "copy"]);
        (op, path(), path()).prop_map(|(op, path, from)| json!({ "op": op, "path": path, "from": from }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        /// Every operation writes values that nobody else writes: whose value stands there is who is blamed.
        #[test]
        fn who_is_blamed_wrote_what_stands_there(mut operations in prop::collection::vec(operation(), 1..14)) {
            let first = json!({ "a": {}, "l": [] });
            for (number, operation) in operations.iter_mut().enumerate() {
                operation["value"] = if number % 2 == 0 { json!({ "x": number }) } else { json!([{ "x": number }]) };
            }
            let patches: Vec<Value> = operations.into_iter().map(|one| json!([one])).collect();
            let mut board = first.clone();
            for patch in &patches {
                let parsed: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
                let before = board.clone();
                if json_patch::patch(&mut board, &parsed).is_err() {
                    board = before;
                }
            }
            let all: Vec<&Value> = patches.iter().collect();
            for pointer in ["/a/x", "/b/x", "/l/0/x", "/l/1/x", "/l/0/0/x"] {
                let Some(Value::Number(number)) = board.pointer(pointer) else { continue };
                let (touches, _) = blame(&first, &all, pointer).unwrap();
                let last = touches.last().unwrap();
                prop_assert_eq!((last.deed, json!(last.patch)), (Deed::Wrote, json!(number)), "{}: {:?}", pointer, touches);
            }
        }
    }
}
