//! How two JSON values differ, place by place.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::escaped;

/// A place at which two values differ.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    /// A JSON Pointer.
    pub(crate) path: String,
    /// `None` where the place is not there.
    pub(crate) before: Option<Value>,
    /// As `before`.
    pub(crate) after: Option<Value>,
}

/// The innermost places at which they differ. Lists of other lengths differ as a whole.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    walk("", Some(before), Some(after), &mut found);
    found
}

fn walk(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Difference>) {
    match (before, after) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                walk(&format!("{path}/{}", escaped(key)), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}/{number}"), Some(a), Some(b), found);
            }
        }
        (a, b) if same(a, b) => {}
        (a, b) => {
            found.push(Difference { path: path.to_owned(), before: a.cloned(), after: b.cloned() });
        }
    }
}

/// `1` and `1.0` are one number.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}
