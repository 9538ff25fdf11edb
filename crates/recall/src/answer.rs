//! What was embedded and means much the same as a text.

use chrono::{DateTime, Utc};
use model::{RunId, RunState};
use record::{BranchKey, Record};
use serde::Serialize;
use uuid::Uuid;
use vectors::Query;

use crate::Index;

/// Something that was embedded.
#[derive(Debug, Clone, Serialize)]
pub struct Recalled {
    /// Its run.
    pub run_id: Uuid,
    /// The trend.
    pub enriched_trend_id: Uuid,
    /// Cosine, −1 to 1.
    pub score: f32,
    /// How its run stands.
    pub state: RunState,
    /// When it was received.
    pub received_at: DateTime<Utc>,
    /// Where it came from.
    pub source: String,
    /// Its title.
    pub title: String,
    /// Its summary.
    pub summary: String,
    /// Where the original stands.
    pub url: Option<String>,
}

/// Why nothing can be recalled now.
#[derive(Debug, thiserror::Error)]
pub enum RecallError {
    /// The embedder, or the store.
    #[error(transparent)]
    Vectors(#[from] vectors::Error),
    /// The record.
    #[error(transparent)]
    Record(#[from] record::Error),
}

/// The `k` nearest of the tenant, nearest first.
///
/// # Errors
/// [`RecallError`]: embedder, store or record are away.
pub async fn answer(
    index: &Index,
    record: &Record,
    tenant: &str,
    text: String,
    k: usize,
) -> Result<Vec<Recalled>, RecallError> {
    index.caught_up().await;
    let vector = index.embedder.embed(&[text]).await?.remove(0);
    let nearest = Query { tenant, model: index.embedder.model(), vector: &vector, k, before: None };
    let found = index.store.nearest(nearest).await?;
    let keys: Vec<BranchKey> = found.iter().map(|near| BranchKey::trunk(RunId(near.run_id))).collect();
    let loaded = record.load(&keys, false, &["content".to_owned()]).await?;
    Ok(found
        .iter()
        .filter_map(|near| {
            let (_, run) = loaded.iter().find(|(key, _)| key.run.0 == near.run_id)?;
            let run = run.as_ref().ok().filter(|run| run.tenant == tenant)?;
            let content = run.content().ok().flatten()?.content;
            Some(Recalled {
                run_id: near.run_id,
                enriched_trend_id: near.id,
                score: near.similarity,
                state: run.state,
                received_at: near.received_at,
                source: run.source.clone(),
                title: content.title,
                summary: content.summary,
                url: content.url,
            })
        })
        .collect())
}
