//! What may be seen of the blackboard.

use serde_json::{Map, Value};

use super::pattern::Pattern;

/// The part of the blackboard that these patterns let somebody read. An object has only the members that are read, or that
/// something read is in. An array keeps its indexes: `null` stands for elements before the last one that is read. Where
/// nothing is read the view is an empty object.
#[must_use]
pub fn view(board: &Value, reads: &[String]) -> Value {
    let patterns: Vec<Pattern> = reads.iter().filter_map(|text| Pattern::parse(text)).collect();
    shown(board, &mut Vec::new(), &patterns).unwrap_or_else(|| Value::Object(Map::new()))
}

fn shown(value: &Value, place: &mut Vec<String>, patterns: &[Pattern]) -> Option<Value> {
    if patterns.iter().any(|pattern| pattern.covers(place)) {
        return Some(value.clone());
    }
    if !patterns.iter().any(|pattern| pattern.leads_into(place)) {
        return None;
    }
    match value {
        Value::Object(members) => object(members, place, patterns),
        Value::Array(elements) => array(elements, place, patterns),
        _ => None,
    }
}

fn object(members: &Map<String, Value>, place: &mut Vec<String>, patterns: &[Pattern]) -> Option<Value> {
    let mut seen = Map::new();
    for (name, member) in members {
        place.push(name.clone());
        if let Some(member) = shown(member, place, patterns) {
            seen.insert(name.clone(), member);
        }
        place.pop();
    }
    (!seen.is_empty()).then_some(Value::Object(seen))
}

fn array(elements: &[Value], place: &mut Vec<String>, patterns: &[Pattern]) -> Option<Value> {
    let mut seen = Vec::new();
    let mut kept = 0;
    for (index, element) in elements.iter().enumerate() {
        place.push(index.to_string());
        let element = shown(element, place, patterns);
        place.pop();
        if element.is_some() {
            kept = index + 1;
        }
        seen.push(element.unwrap_or_default());
    }
    seen.truncate(kept);
    (kept > 0).then_some(Value::Array(seen))
}
