//! What a handler reports. Handlers report; rails route.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Failure, RunId, Sha256Digest, StoredContent, Usage};

/// What became of one job.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The step is done.
    Done(Report),
    /// A person must decide.
    Escalate(Report, Question),
    /// The work is refused for good; the reason is shown to people.
    Reject(Report, String),
    /// An effect outside is planned: the runtime claims it in the ledger, then asks the handler to perform it.
    Plan(Report, Effect),
    /// The step failed; the class says whether trying again may help.
    Failed(Failure),
}

impl Outcome {
    /// With words that can be stored, see [`storable`]. A handler may report what somebody else said.
    #[must_use]
    pub fn storable(mut self) -> Self {
        match &mut self {
            Self::Done(_) | Self::Plan(..) => {}
            Self::Escalate(_, Question { issue_type, question }) => {
                *issue_type = storable(issue_type);
                *question = storable(question);
            }
            Self::Reject(_, reason) | Self::Failed(Failure { reason, .. }) => *reason = storable(reason),
        }
        self
    }
}

/// What a finished step leaves.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The step's artifact, a JSON object; conditions read it under the step's id.
    pub output: serde_json::Value,
    /// New content, where the step makes or changes it.
    pub content: Option<StoredContent>,
    /// The enriched trend, where the step makes one.
    pub trend: Option<EnrichedTrend>,
    /// The embedding, where the step makes one.
    pub embedding: Option<EmbeddingRecord>,
    /// What must be asked of the record before the step can be routed.
    pub claims: Claims,
    /// The prompt or rule text that led to the output (`worker_output_prompt`), bounded, without secrets.
    pub prompt: Option<String>,
    /// The model that made the output.
    pub model: Option<String>,
    /// Digest of the prompt document that led to the output.
    pub prompt_sha256: Option<Sha256Digest>,
    /// An RFC 6902 patch of the blackboard that the worker proposes, beside the one that the workflow makes of its output.
    pub patch: Option<serde_json::Value>,
    /// What was spent.
    pub usage: Usage,
}

/// Questions that only the record can answer race-free. The answers reach the conditions as `facts`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// Digest of the normalised text; the first committed holder makes later ones its duplicates
    /// (`facts.exact_duplicate_of`).
    pub fingerprint: Option<Sha256Digest>,
    /// Candidates for a near duplicate, nearest first; the first one that stands becomes
    /// `facts.near_duplicate_of` and `facts.near_similarity`.
    pub near: Vec<NearClaim>,
}

/// An earlier trend that resembles this one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NearClaim {
    /// The earlier trend's run.
    pub run: RunId,
    /// Cosine similarity, −1…1.
    pub similarity: f64,
}

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What kind of doubt it is, such as `low_confidence`.
    pub issue_type: String,
    /// The question in words.
    pub question: String,
}

/// The row of `enriched_trends` that ETL writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnrichedTrend {
    /// ISO 639-1, `und` where unknown.
    pub language: String,
    /// −1…1.
    pub sentiment: f64,
    /// Most telling first.
    pub topics: Vec<String>,
    /// 0…1.
    pub toxicity_score: f64,
    /// 0…1.
    pub confidence: f64,
    /// When the original was published, where it says so and means it; RFC 3339.
    pub published_at: Option<chrono::DateTime<chrono::Utc>>,
}

/// Whether a trend has its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingStatus {
    /// Not yet tried, or to be tried again.
    Pending,
    /// Stored.
    Succeeded,
    /// Given up; a dead letter says why.
    Failed,
}

impl EmbeddingStatus {
    /// The name that API, logs and tables use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// The row of `embedding_records`: a vector under its trend's own id.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingRecord {
    /// How it went.
    pub status: EmbeddingStatus,
    /// The embedding model; vectors of different models are never compared.
    pub model: String,
    /// L2-normalised; empty unless `status` is succeeded.
    pub vector: Vec<f32>,
}

/// An effect outside that must happen at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The configured outlet.
    pub outlet: String,
    /// The effect's name, part of the publication key, such as `post`.
    pub name: String,
    /// How long `perform` may take; the ledger's deadline leaves room for it.
    pub timeout: Duration,
    /// Whether the outlet itself de-duplicates by key, so that a resend after "absent" is safe.
    pub deduplicates: bool,
    /// Stop before sending: the report says what would have been sent.
    pub dry_run: bool,
    /// Whether it is a call, whose answer is the step's output.
    pub answers: bool,
}

/// What the names of outlets begin with that stand for calls of an agent's providers: what they have in the ledger is no post.
pub const PROVIDER_CALLS: &str = "agent.";
/// The same of calls of tools.
pub const TOOL_CALLS: &str = "tool.";

/// Whether an outlet of this name takes posts: it is none that stands for calls.
#[must_use]
pub fn takes_posts(outlet: &str) -> bool {
    ![PROVIDER_CALLS, TOOL_CALLS].iter().any(|calls| outlet.starts_with(calls))
}

/// What an outlet answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EffectResult {
    /// It has the post. The reference is the outlet's own, such as a path or link.
    Confirmed {
        /// The outlet's own reference.
        reference: String,
    },
    /// It was called, and answered: the step is done with what it said.
    Answered {
        /// What is known of the call, in words.
        reference: String,
        /// What it said.
        answer: Box<CallAnswer>,
    },
    /// It refused for good: nothing went out.
    Rejected {
        /// Its words.
        reason: String,
    },
    /// It failed before anything was sent: nothing went out.
    NotSent(Failure),
    /// It may have gone out, or may still: the outlet is asked once the claim's deadline has passed.
    Unsettled {
        /// What was seen.
        reason: String,
    },
    /// Nobody can say whether it went out, and the outlet cannot be asked.
    Unknown {
        /// What is known.
        reason: String,
    },
}

/// What somebody outside answered to a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallAnswer {
    /// The step's artifact, a JSON object.
    pub output: serde_json::Value,
    /// An RFC 6902 patch of the blackboard that it proposes.
    pub patch: Option<serde_json::Value>,
    /// Who answered.
    pub model: Option<String>,
    /// What was spent.
    pub usage: Usage,
}

/// The longest words of others that are kept, in characters.
const WORDS_KEPT: usize = 2000;

impl EffectResult {
    /// With words that can be stored: without NUL, and bounded. An outlet may answer anything.
    #[must_use]
    pub fn storable(mut self) -> Self {
        let words = match &mut self {
            Self::Confirmed { reference } | Self::Answered { reference, .. } => reference,
            Self::Rejected { reason } | Self::Unsettled { reason } | Self::Unknown { reason } => reason,
            Self::NotSent(failure) => &mut failure.reason,
        };
        *words = storable(words);
        self
    }
}

/// Words that are not ours alone, such as an outlet's or a reason, as they can be stored: without NUL, and bounded.
#[must_use]
pub fn storable(words: &str) -> String {
    words.replace('\0', "\u{fffd}").chars().take(WORDS_KEPT).collect()
}

/// What an outlet knows of a publication key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has it, under its own reference.
    Delivered {
        /// The outlet's own reference.
        reference: String,
    },
    /// It does not have it.
    Absent,
    /// It cannot tell, but takes the same key only once: sending again does no harm.
    Repeatable,
    /// It cannot be asked.
    CannotTell,
}

/// What became of the withdrawal of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Withdrawal {
    /// The post is withdrawn, as the words tell.
    Done {
        /// What was done.
        detail: String,
    },
    /// The outlet has no such post any more.
    Absent,
    /// What this outlet sent cannot be called back.
    Impossible {
        /// Why not.
        reason: String,
    },
}

impl Report {
    /// A report with nothing but an output.
    #[must_use]
    pub fn of(output: serde_json::Value) -> Self {
        Self { output, ..Self::default() }
    }
}

/// Vector ids are trend ids.
impl EmbeddingRecord {
    /// The id that a run's vector is stored under (`vector_id` = the enriched trend's id).
    #[must_use]
    pub fn vector_id(run: RunId) -> Uuid {
        crate::enriched_trend_id(run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlets_words_are_stored_without_nul_and_bounded() {
        let said = EffectResult::Rejected { reason: format!("a\0b{}", "c".repeat(5000)) };
        let EffectResult::Rejected { reason } = said.storable() else { panic!("it stays what it is") };
        assert!(reason.starts_with("a\u{fffd}bc"));
        assert_eq!(reason.chars().count(), WORDS_KEPT);
    }

    #[test]
    fn what_a_handler_reports_of_others_words_can_be_stored() {
        let question = Question { issue_type: "low\0".to_owned(), question: "is it\0?".to_owned() };
        for outcome in [
            Outcome::Failed(Failure::permanent("half\0a page")),
            Outcome::Reject(Report::default(), "no\0".to_owned()),
            Outcome::Escalate(Report::default(), question),
        ] {
            let said = format!("{:?}", outcome.storable());
            assert!(!said.contains("\\0") && said.contains('\u{fffd}'), "{said}");
        }
    }
}
