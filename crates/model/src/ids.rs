//! Identities: who a run, a job and a trend are.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The tenant of everything that names none.
pub const DEFAULT_TENANT: &str = "default";
/// The region of everything that names none.
pub const DEFAULT_REGION: &str = "default";

/// Namespace under which an enriched trend's id is derived from its run.
const TREND_NAMESPACE: Uuid = Uuid::from_u128(0x7469_6465_6d69_6c6c_7472_656e_6473_0001);

/// The text is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a run id (a UUID such as 0197a1c2-…)")]
pub struct IdError {
    text: String,
}

/// One event's or goal's passage through a workflow. A UUIDv7, so ids sort by creation time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl std::fmt::Display for RunId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RunId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Uuid::parse_str(text.trim()).map(Self).map_err(|_| IdError { text: text.chars().take(80).collect() })
    }
}

/// The identity of a job: which visit of which branch of which run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobKey {
    /// The run.
    pub run: RunId,
    /// 0 for a run that never forked.
    pub branch: i32,
    /// The branch's transition counter at which the job was issued.
    pub seq: i32,
}

/// The id of a run's enriched trend, and of its vector: the same however often the run is handled.
#[must_use]
pub fn enriched_trend_id(run: RunId) -> Uuid {
    Uuid::new_v5(&TREND_NAMESPACE, run.0.as_bytes())
}
