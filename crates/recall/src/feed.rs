//! The store catches up with what other processes embedded, from the record, by a cursor that misses no late commit.

use std::sync::Arc;
use std::time::Duration;

use record::{EmbeddingCursor, Record, StoredEmbedding};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vectors::{Entry, VectorStore};

/// How often the record is asked.
const EVERY: Duration = Duration::from_millis(500);
/// Vectors read at once.
const PAGE: i64 = 1000;

/// A vector of the record, as stores take it.
#[must_use]
pub fn entry(stored: StoredEmbedding) -> Entry {
    Entry {
        id: stored.vector_id,
        run_id: stored.run.0,
        tenant: stored.tenant,
        model: stored.model,
        received_at: stored.received_at,
        vector: stored.vector,
    }
}

pub(crate) struct Feed {
    record: Record,
    store: Arc<dyn VectorStore>,
    model: String,
    max_age: Duration,
    cursor: EmbeddingCursor,
    caught_up: watch::Sender<bool>,
}

impl Feed {
    /// A feed, and whether it has read everything once.
    pub(crate) fn new(
        record: Record,
        store: Arc<dyn VectorStore>,
        model: &str,
        max_age: Duration,
    ) -> (Self, watch::Receiver<bool>) {
        let (caught_up, receiver) = watch::channel(false);
        let cursor = EmbeddingCursor::default();
        (Self { record, store, model: model.to_owned(), max_age, cursor, caught_up }, receiver)
    }

    /// Follows the record until the process stops. Trouble is logged and tried again.
    pub(crate) async fn follow(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            match self.catch_up().await {
                Ok(page) if page == PAGE => continue,
                Ok(_) => drop(self.caught_up.send_replace(true)),
                Err(error) => tracing::warn!(error, "the vectors of other processes could not be read"),
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn catch_up(&mut self) -> Result<i64, String> {
        let since =
            chrono::Utc::now() - chrono::TimeDelta::from_std(self.max_age).unwrap_or(chrono::TimeDelta::MAX);
        let mut cursor = self.cursor.clone();
        let stored = self
            .record
            .embeddings_after(&mut cursor, since, PAGE)
            .await
            .map_err(|error| error.to_string())?;
        let page = i64::try_from(stored.len()).unwrap_or(PAGE);
        let entries: Vec<Entry> =
            stored.into_iter().filter(|embedding| embedding.model == self.model).map(entry).collect();
        let taken = self.store.upsert(&entries).await.map_err(|error| error.to_string())?;
        for error in taken.into_iter().filter_map(Result::err) {
            tracing::warn!(%error, "a vector of the record is left out");
        }
        self.cursor = cursor;
        Ok(page)
    }
}
