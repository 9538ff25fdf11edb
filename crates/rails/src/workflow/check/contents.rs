//! What is published: the fields of the content that the blackboard makes.

use super::{Checker, member};
use crate::transition::{CONTENT_FIELDS, CONTENT_NEEDS};

impl Checker<'_> {
    pub(super) fn contents(&mut self) {
        let projected = &self.document.content;
        if projected.is_empty() {
            return;
        }
        for field in projected.keys().filter(|field| !CONTENT_FIELDS.contains(&field.as_str())) {
            let known = CONTENT_FIELDS.join(", ");
            let message = format!("content has no field `{field}`; known are {known}");
            self.fault(&member("content", field), message);
        }
        for field in CONTENT_NEEDS.into_iter().filter(|field| !projected.contains_key(*field)) {
            self.fault("content", format!("without `{field}` the blackboard never makes content"));
        }
    }
}
