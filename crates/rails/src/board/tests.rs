use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn capability(reads: &[&str], writes: &[&str]) -> Capability {
    let owned = |patterns: &[&str]| patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    let ops =
        vec![PatchOp::Add, PatchOp::Remove, PatchOp::Replace, PatchOp::Move, PatchOp::Copy, PatchOp::Test];
    Capability { reads: owned(reads), writes: owned(writes), ops }
}

fn refused(board: &Value, patch: &Value, capability: &Capability) -> String {
    propose(board, patch, Some(capability), None).unwrap_err()
}

#[test]
fn patterns_mean_places_and_what_is_below_only_where_they_say_so() {
    for (pattern, pointer, writes, reads) in [
        ("/a", "/a", true, true),
        ("/a", "/a/b", false, true),
        ("/a", "/ab", false, false),
        ("/a/b", "/a", false, false),
        ("/a/*", "/a/b", true, true),
        ("/a/*", "/a", false, false),
        ("/a/*/c", "/a/b/c", true, true),
        ("/a/*/c", "/a/b/d", false, false),
        ("/a/**", "/a", true, true),
        ("/a/**", "/a/b/c", true, true),
        ("/**", "", true, true),
        ("/**", "/x/0", true, true),
        ("", "/x", false, true),
        ("/list/-", "/list/-", true, true),
        ("/list/-", "/list/0", false, false),
        ("/list/*", "/list/-", true, true),
        ("/a~1b/~0", "/a~1b/~0", true, true),
        ("/a~1b", "/a/b", false, false),
        ("/a/**/c", "/a/b/c", false, false),
        ("/**b", "/xb", false, false),
        ("a", "a", false, false),
        ("/a~2", "/a~2", false, false),
    ] {
        let capability = capability(&[pattern], &[pattern]);
        assert_eq!(capability.may_write(pointer), writes, "{pattern} writes {pointer}");
        assert_eq!(capability.may_read(pointer), reads, "{pattern} reads {pointer}");
    }
}

#[test]
fn a_view_shows_what_is_read_and_keeps_the_indexes_of_arrays() {
    let board = json!({ "a": { "b": 1, "c": 2 }, "list": [{ "x": 1, "y": 2 }, { "x": 3 }, { "z": 4 }], "secret": "s", "a/b": 5 });
    let seen = |reads: &[&str]| view(&board, &reads.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>());
    assert_eq!(seen(&[]), json!({}));
    assert_eq!(seen(&["/a/b"]), json!({ "a": { "b": 1 } }));
    assert_eq!(seen(&["/a"]), json!({ "a": { "b": 1, "c": 2 } }));
    assert_eq!(seen(&["/list/*/x"]), json!({ "list": [{ "x": 1 }, { "x": 3 }] }));
    assert_eq!(seen(&["/list/1"]), json!({ "list": [null, { "x": 3 }] }));
    assert_eq!(seen(&["/a~1b", "/none/**", "/secret/x"]), json!({ "a/b": 5 }));
    assert_eq!(seen(&["/**"]), board);
}

#[test]
fn a_patch_is_taken_whole_or_not_at_all() {
    let board = json!({ "slots": { "title": "old", "list": [1] }, "secret": "s" });
    let desk = capability(&["/slots/**"], &["/slots/**"]);
    let patch = json!([
        { "op": "test", "path": "/slots/title", "value": "old" },
        { "op": "replace", "path": "/slots/title", "value": "new" },
        { "op": "add", "path": "/slots/list/-", "value": 2 },
        { "op": "copy", "from": "/slots/list/0", "path": "/slots/first" },
        { "op": "move", "from": "/slots/list/1", "path": "/slots/second" },
    ]);
    let after = propose(&board, &patch, Some(&desk), None).unwrap();
    assert_eq!(after["slots"], json!({ "title": "new", "list": [1], "first": 1, "second": 2 }));
    for (operation, why) in [
        (json!({ "op": "add", "path": "/secret", "value": 1 }), "operation 1: it may not write `/secret`"),
        (json!({ "op": "copy", "from": "/secret", "path": "/slots/x" }), "it may not read `/secret`"),
        (json!({ "op": "move", "from": "/secret", "path": "/slots/x" }), "it may not write `/secret`"),
        (json!({ "op": "move", "from": "/slots/title", "path": "/secret" }), "it may not write `/secret`"),
        (json!({ "op": "test", "path": "/secret", "value": "s" }), "it may not read `/secret`"),
        (
            json!({ "op": "test", "path": "/slots/title", "value": "other" }),
            "`/slots/title`: value did not match",
        ),
        (json!({ "op": "remove", "path": "/slots/none" }), "`/slots/none`: path is invalid"),
        (json!({ "op": "add", "path": "/slots/list/01", "value": 2 }), "path is invalid"),
        (json!({ "op": "add", "path": "/slots/~2", "value": 2 }), "cannot be read"),
        (json!({ "op": "launch", "path": "/slots/x" }), "cannot be read"),
        (json!({ "op": "add", "path": "/slots/x" }), "cannot be read"),
        (json!(7), "cannot be read"),
    ] {
        let patch = json!([{ "op": "add", "path": "/slots/title", "value": "half" }, operation]);
        let told = refused(&board, &patch, &desk);
        assert!(told.contains(why), "{patch}\n{told}");
    }
    assert!(refused(&board, &json!({ "op": "add" }), &desk).contains("an array of operations"));
    let nobody = propose(&board, &json!([{ "op": "add", "path": "/x", "value": 1 }]), None, None);
    assert!(nobody.unwrap_err().contains("belongs to no cluster"));
}

#[test]
fn a_failed_test_of_an_unreadable_place_tells_no_more_than_that_it_may_not_be_read() {
    let desk = capability(&["/mine"], &["/mine"]);
    let board = json!({ "secret": "s" });
    let ask =
        |value: &str| refused(&board, &json!([{ "op": "test", "path": "/secret", "value": value }]), &desk);
    assert_eq!(ask("s"), ask("other"));
}

#[test]
fn an_operation_outside_of_the_capability_is_refused_and_so_is_the_root() {
    let board = json!({ "a": 1 });
    let few = Capability { ops: vec![PatchOp::Add], ..capability(&["/**"], &["/**"]) };
    assert!(
        refused(&board, &json!([{ "op": "remove", "path": "/a" }]), &few).contains("`remove` is not among")
    );
    let all = capability(&["/**"], &["/**"]);
    for operation in [
        json!({ "op": "remove", "path": "" }),
        json!({ "op": "replace", "path": "", "value": {} }),
        json!({ "op": "add", "path": "", "value": {} }),
        json!({ "op": "copy", "from": "/a", "path": "" }),
        json!({ "op": "move", "from": "", "path": "/b" }),
    ] {
        let told = refused(&board, &json!([operation]), &all);
        assert!(told.contains("no place to write"), "{operation}: {told}");
    }
}

#[test]
fn patches_and_blackboards_are_bounded() {
    let all = capability(&["/**"], &["/**"]);
    let add = json!({ "op": "add", "path": "/x", "value": 1 });
    let most = Value::Array(vec![add.clone(); MOST_OPERATIONS]);
    assert!(propose(&json!({}), &most, Some(&all), None).is_ok());
    let more = Value::Array(vec![add; MOST_OPERATIONS + 1]);
    assert!(refused(&json!({}), &more, &all).contains("are the most"));

    let half = "x".repeat(LARGEST_BOARD / 2 - 100);
    let replace = json!([{ "op": "replace", "path": "/body", "value": half }]);
    assert!(propose(&json!({ "body": half }), &replace, Some(&all), None).is_ok());
    let copy = json!([
        { "op": "copy", "from": "/body", "path": "/again" },
        { "op": "copy", "from": "/body", "path": "/third" },
    ]);
    assert!(refused(&json!({ "body": half }), &copy, &all).contains("larger than"));
    let doubling: Vec<Value> =
        (0..100).map(|n| json!({ "op": "copy", "from": "", "path": format!("/{n}") })).collect();
    assert!(
        refused(&json!({ "a": "x".repeat(1000) }), &Value::Array(doubling), &all).contains("larger than")
    );

    let deep: Vec<Value> =
        (1..100).map(|depth| json!({ "op": "add", "path": "/a".repeat(depth), "value": {} })).collect();
    assert!(refused(&json!({}), &Value::Array(deep), &all).contains("deeper than"));
}

#[test]
fn a_result_that_violates_the_schema_is_refused_without_its_values() {
    let schema = json!({ "properties": { "secret": { "maxLength": 3 }, "count": { "type": "integer" } } });
    let schema = jsonschema::validator_for(&schema).unwrap();
    let desk = capability(&[], &["/count"]);
    let patch = |value: Value| json!([{ "op": "add", "path": "/count", "value": value }]);
    assert!(propose(&json!({}), &patch(json!(1)), Some(&desk), Some(&schema)).is_ok());
    let told = propose(&json!({}), &patch(json!("one")), Some(&desk), Some(&schema)).unwrap_err();
    assert!(told.contains("`/count`") && told.contains("type") && !told.contains("one"), "{told}");
    let board = json!({ "secret": "password" });
    let told = propose(&board, &patch(json!(1)), Some(&desk), Some(&schema)).unwrap_err();
    assert!(told.contains("/secret") && !told.contains("password"), "{told}");
}

/// A blackboard of which each leaf is its own pointer.
fn labelled(value: &Value, at: &str) -> Value {
    match value {
        Value::Object(members) => {
            let label =
                |(name, member): (&String, &Value)| (name.clone(), labelled(member, &format!("{at}/{name}")));
            Value::Object(members.iter().map(label).collect())
        }
        Value::Array(elements) => {
            let label = |(index, element): (usize, &Value)| labelled(element, &format!("{at}/{index}"));
            Value::Array(elements.iter().enumerate().map(label).collect())
        }
        _ => json!(at),
    }
}

fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|member| leaves(member, found)),
        Value::Array(elements) => elements.iter().for_each(|element| leaves(element, found)),
        Value::String(label) => found.push(label.clone()),
        _ => {}
    }
}

/// Whether a pattern means a place: slowly, name by name.
fn means(pattern: &[&str], place: &[&str]) -> bool {
    match (pattern, place) {
        (["**"], _) | ([], []) => true,
        ([], _) | (_, []) => false,
        ([first, pattern @ ..], [name, place @ ..]) => {
            (*first == "*" || first == name) && means(pattern, place)
        }
    }
}

fn names(pointer: &str) -> Vec<&str> {
    pointer.split('/').skip(1).collect()
}

fn boards() -> impl Strategy<Value = Value> {
    let leaf = Just(json!(0));
    leaf.prop_recursive(3, 20, 3, |inner| {
        prop_oneof![
            proptest::collection::btree_map("[abc]", inner.clone(), 1..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
            proptest::collection::vec(inner, 1..3).prop_map(Value::Array),
        ]
    })
    .prop_map(|board| labelled(&json!({ "a": board }), ""))
}

fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("c"), Just("0"), Just("1"), Just("*")];
    let pattern = (proptest::collection::vec(segment, 1..4), any::<bool>()).prop_map(|(segments, below)| {
        let below = if below { "/**" } else { "" };
        format!("/{}{below}", segments.join("/"))
    });
    prop_oneof![proptest::collection::vec(pattern, 0..4), Just(vec!["/a/**".to_owned()])]
}

fn pointers() -> impl Strategy<Value = String> {
    let segment = prop_oneof![Just("a"), Just("b"), Just("c"), Just("0"), Just("1"), Just("-")];
    proptest::collection::vec(segment, 0..4)
        .prop_map(|segments| segments.iter().map(|segment| format!("/{segment}")).collect())
}

fn operations() -> impl Strategy<Value = Vec<Value>> {
    let operation = (0..6, pointers(), pointers()).prop_map(|(op, path, from)| match op {
        0 => json!({ "op": "add", "path": path, "value": { "b": "new" } }),
        1 => json!({ "op": "remove", "path": path }),
        2 => json!({ "op": "replace", "path": path, "value": "new" }),
        3 => json!({ "op": "move", "path": path, "from": from }),
        4 => json!({ "op": "copy", "path": path, "from": from }),
        _ => json!({ "op": "test", "path": path, "value": path }),
    });
    proptest::collection::vec(operation, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// A view has exactly the leaves that a pattern means, or that are in a place that one means.
    #[test]
    fn a_view_has_exactly_what_may_be_read(board in boards(), reads in patterns()) {
        let mut all = vec![];
        leaves(&board, &mut all);
        let readable = |leaf: &String| {
            let place = names(leaf);
            (0..=place.len()).any(|end| reads.iter().any(|pattern| means(&names(pattern), &place[..end])))
        };
        let expected: Vec<String> = all.into_iter().filter(readable).collect();
        let mut seen = vec![];
        let view = view(&board, &reads);
        leaves(&view, &mut seen);
        prop_assert_eq!(&seen, &expected);
        for leaf in &seen {
            prop_assert_eq!(view.pointer(leaf), Some(&json!(leaf)), "an index shifted");
        }
    }

    /// A patch that is taken changes only what is in a place that one of its operations names, and that may be written; all
    /// that it names is within the capability. What `json_patch` refuses is refused.
    #[test]
    fn a_patch_changes_only_what_may_be_written(
        board in boards(), reads in patterns(), writes in patterns(), operations in operations()
    ) {
        let desk = Capability { reads, writes: writes.clone(), ..capability(&[], &[]) };
        let patch = Value::Array(operations.clone());
        let Ok(after) = propose(&board, &patch, Some(&desk), None) else { return Ok(()) };
        let mut plain = board.clone();
        let parsed: json_patch::Patch = serde_json::from_value(patch).unwrap();
        prop_assert!(json_patch::patch(&mut plain, &parsed).is_ok());
        prop_assert_eq!(&plain, &after);
        let mut written: Vec<&str> = vec![];
        for operation in &operations {
            let op = operation["op"].as_str().unwrap();
            if op != "test" {
                written.push(operation["path"].as_str().unwrap());
            }
            if op == "move" {
                written.push(operation["from"].as_str().unwrap());
            }
        }
        for path in &written {
            prop_assert!(writes.iter().any(|pattern| means(&names(pattern), &names(path))), "{path}");
        }
        // An element that comes or goes shifts its siblings: its array is what changes.
        let touched = |leaf: &str| written.iter().any(|path| {
            let place = path.rsplit_once('/').map_or("", |(above, _)| above);
            let within = if board.pointer(place).is_some_and(Value::is_array) { place } else { path };
            leaf.starts_with(within)
        });
        let mut all = vec![];
        leaves(&board, &mut all);
        for leaf in all.iter().filter(|leaf| !touched(leaf)) {
            prop_assert_eq!(after.pointer(leaf), Some(&json!(leaf)));
        }
    }
}
