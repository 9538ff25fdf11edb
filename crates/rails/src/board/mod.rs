//! The blackboard of a run: a JSON document that nobody writes but the rails, by RFC 6902 patches that workers propose.

mod patch;
mod pattern;
mod view;

#[cfg(test)]
mod tests;

use crate::workflow::PatchOp;

pub use patch::{LARGEST_BOARD, MOST_OPERATIONS, propose};
pub(crate) use patch::{apply, fits, operations, permit};
use pattern::Pattern;
pub(crate) use pattern::place;
pub use view::view;

/// What a cluster's roles and tools may do with the blackboard. Patterns are JSON Pointers of which a segment may be `*`
/// (any one) and the last one `**` (anything below, and the place itself).
///
/// Who may read a place may read all that is in it. Who may write a place may replace all that is in it, but by operations
/// on that very place: those on places below need a pattern of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// What they see; nothing else.
    pub reads: Vec<String>,
    /// Where they may write.
    pub writes: Vec<String>,
    /// By which operations.
    pub ops: Vec<PatchOp>,
}

impl Capability {
    /// Whether the place that a JSON Pointer names may be read, itself or with a place above it.
    #[must_use]
    pub fn may_read(&self, pointer: &str) -> bool {
        let Some(place) = place(pointer) else { return false };
        self.reads.iter().filter_map(|text| Pattern::parse(text)).any(|pattern| pattern.covers(&place))
    }

    /// Whether an operation may write the place that a JSON Pointer names.
    #[must_use]
    pub fn may_write(&self, pointer: &str) -> bool {
        let Some(place) = place(pointer) else { return false };
        self.writes.iter().filter_map(|text| Pattern::parse(text)).any(|pattern| pattern.matches(&place))
    }
}
