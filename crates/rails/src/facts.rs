//! What only the record knows, as conditions see it.

use std::sync::Arc;

use model::{NearClaim, RunId, StoredContent, Usage};
use serde_json::{Value, json};

use crate::{Around, Memory};

/// Answers of the record to a report's claims.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The first committed run with the same normalised text.
    pub exact_duplicate_of: Option<RunId>,
    /// The nearest earlier run that stands.
    pub near_duplicate_of: Option<NearClaim>,
    /// What the try spent, as its worker reports it.
    pub usage: Usage,
    /// The run's memory, where its workflow keeps a manifest.
    pub memory: Option<Memory>,
    /// The content that the step's worker reports.
    pub content: Option<StoredContent>,
    /// What gates and budgets beyond the run look at, where the workflow keeps a manifest.
    pub around: Option<Arc<Around>>,
}

impl Facts {
    /// The variable `facts` of conditions.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "exact_duplicate_of": self.exact_duplicate_of,
            "near_duplicate_of": self.near_duplicate_of.map(|near| near.run),
            "near_similarity": self.near_duplicate_of.map(|near| near.similarity),
        })
    }

    pub(crate) const FIELDS: [&'static str; 3] =
        ["exact_duplicate_of", "near_duplicate_of", "near_similarity"];
}
