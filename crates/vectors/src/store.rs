//! The seam between the fleet and whatever finds the nearest vectors.

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use uuid::Uuid;

use crate::Error;

/// One vector with what a query filters and answers by.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The enriched trend's id; the same id again replaces the entry.
    pub id: Uuid,
    /// The run that made it; with `received_at` it gives the order of "earlier".
    pub run_id: Uuid,
    /// Only queries of the same tenant see it.
    pub tenant: String,
    /// The embedder's [`model`](crate::Embedder::model); only queries of the same model see it.
    pub model: String,
    /// When the event was received; a store keeps at least microseconds of it.
    pub received_at: DateTime<Utc>,
    /// Of Euclidean length 1.
    pub vector: Vec<f32>,
}

/// What to look for.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    /// Whose vectors to search.
    pub tenant: &'a str,
    /// The model that made `vector`.
    pub model: &'a str,
    /// Of any length but zero: only its direction counts.
    pub vector: &'a [f32],
    /// How many at most.
    pub k: usize,
    /// Only entries lower in `(received_at, run_id)` than this; none means all.
    pub before: Option<(DateTime<Utc>, Uuid)>,
}

/// An entry that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbour {
    /// The enriched trend's id.
    pub id: Uuid,
    /// The run that made it.
    pub run_id: Uuid,
    /// When its event was received.
    pub received_at: DateTime<Utc>,
    /// Cosine, −1 (opposite) to 1 (the same direction).
    pub similarity: f32,
}

/// What became of one entry.
pub type Taken = Result<(), Error>;

/// Keeps vectors and finds the nearest.
pub trait VectorStore: Send + Sync + std::fmt::Debug {
    /// Adds the entries, replacing those of the same id; answers what became of each, in their order. Repeating it changes
    /// nothing. One that is refused touches no other.
    ///
    /// Cancellation safe: any of the entries may then be in, and all may be given again.
    ///
    /// # Errors
    ///
    /// As the store's service fails: then any of the entries may be in. An entry's own error says whether trying again can
    /// help; one without a direction is refused for good.
    fn upsert<'a>(&'a self, entries: &'a [Entry]) -> BoxFuture<'a, Result<Vec<Taken>, Error>>;

    /// The nearest entries of the query's tenant and model, nearest first; of equally near ones the earlier first.
    ///
    /// # Errors
    ///
    /// Permanent for a vector of another length than the store's or without a direction.
    fn nearest<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<Neighbour>, Error>>;

    /// Forgets these entries; unknown ids are ignored.
    ///
    /// # Errors
    ///
    /// As the store's service fails.
    fn remove<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<(), Error>>;

    /// Whether the store can take vectors and find them now.
    ///
    /// # Errors
    ///
    /// An outage: why it cannot.
    fn check(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    /// How many entries are held, of all tenants and models.
    ///
    /// # Errors
    ///
    /// As the store's service fails.
    fn len(&self) -> BoxFuture<'_, Result<usize, Error>>;

    /// Whether nothing is held.
    ///
    /// # Errors
    ///
    /// As the store's service fails.
    fn is_empty(&self) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move { Ok(self.len().await? == 0) })
    }
}
