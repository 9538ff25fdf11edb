//! What is done next where no model says so: the first empty slot that a cluster can write is filled.

use serde_json::Value;

use super::{Call, Orchestration};
use crate::workflow::Orchestrate;

/// The call that the rule makes. After a round of quality assurance each cluster is called once more, so that it sees what was
/// found; once nothing is empty, quality is asked for, where somebody checks it.
pub(super) fn call(orchestrate: &Orchestrate, board: &Value, so_far: &Orchestration) -> Call {
    let slots = orchestrate.clusters.iter().flat_map(|callable| {
        callable.capability.writes.iter().filter_map(move |pattern| Some((callable, slot(pattern)?)))
    });
    let reworks = so_far.loops > 0;
    for (callable, slot) in slots {
        let again = reworks && !so_far.called.contains(&callable.name);
        if again || is_empty(board.pointer(slot)) {
            let what = if again { "Look again at" } else { "Fill" };
            let instruction = format!("{what} {slot}.");
            return Call::Cluster { cluster: callable.name.clone(), instruction, role: None };
        }
    }
    match &orchestrate.qa {
        Some(_) => Call::RequestQa {},
        None => Call::Stop { reason: "no slot is empty".to_owned() },
    }
}

/// The place that a pattern means; `None` where it means many.
fn slot(pattern: &str) -> Option<&str> {
    let slot = pattern.strip_suffix("/**").unwrap_or(pattern);
    let many = slot.split('/').any(|segment| matches!(segment, "*" | "**" | "-"));
    (!many && !slot.is_empty()).then_some(slot)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.trim().is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => false,
    }
}
