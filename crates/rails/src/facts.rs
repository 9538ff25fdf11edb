//! What only the record knows, as conditions see it.

use model::{NearClaim, RunId};
use serde_json::{Value, json};

/// Answers of the record to a report's claims.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Facts {
    /// The first committed run with the same normalised text.
    pub exact_duplicate_of: Option<RunId>,
    /// The nearest earlier run that stands.
    pub near_duplicate_of: Option<NearClaim>,
}

impl Facts {
    /// The variable `facts` of conditions.
    pub(crate) fn to_json(self) -> Value {
        json!({
            "exact_duplicate_of": self.exact_duplicate_of,
            "near_duplicate_of": self.near_duplicate_of.map(|near| near.run),
            "near_similarity": self.near_duplicate_of.map(|near| near.similarity),
        })
    }

    pub(crate) const FIELDS: [&'static str; 3] =
        ["exact_duplicate_of", "near_duplicate_of", "near_similarity"];
}
