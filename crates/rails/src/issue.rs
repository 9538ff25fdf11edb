//! Issue types: by what a person is asked.

use crate::orchestration::TOOL_CALL;
use crate::transition::{APPROVAL_LOST, BUDGET_OVERRUN, CONDITION_ERROR, GUARDRAIL, TAINTED, UNAVAILABLE};
use crate::{GATE_ERROR, PUBLICATION_UNKNOWN};

/// What the rails ask by themselves. Most of it is answered in ways of its own, which would not fit another question.
const OWN: [&str; 9] = [
    APPROVAL_LOST,
    BUDGET_OVERRUN,
    CONDITION_ERROR,
    GATE_ERROR,
    GUARDRAIL,
    PUBLICATION_UNKNOWN,
    TAINTED,
    TOOL_CALL,
    UNAVAILABLE,
];

/// Why no document may ask by an issue type; `None` where it may.
pub(crate) fn reserved(issue_type: &str) -> Option<String> {
    if issue_type.trim().is_empty() {
        return Some("an issue type is empty".to_owned());
    }
    OWN.contains(&issue_type).then(|| {
        format!(
            "the issue type `{issue_type}` is of a question that the rails ask and answer in their own way"
        )
    })
}
