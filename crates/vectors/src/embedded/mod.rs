//! The embedded store: an exact scan over a quantised window, in this process.
//!
//! # Why a scan and not an index
//!
//! Measured beside usearch 2.26 (a graph, one byte a component, connectivity 16) on 100,000 text-like vectors: the
//! graph took 85 MB and this 46; after half of the window had been replaced it found 417 of 500 near-duplicates, and of
//! equal texts, stored 200 times each, 470 of 500. A search took it 0.16 ms, 11 ms where only the oldest hundredth
//! qualified as earlier; the scan takes 5 ms for any filter, finds all, and removes for good. At a
//! hundred thousand vectors that is less than the embedding of one text; for many more, Weaviate is the store.
//!
//! # What it holds
//!
//! Each component is one signed byte, scaled by the vector's own largest component, so an entry of 384 dimensions
//! takes 384 bytes, 48 bytes beside them, and 24 to 48 bytes in the table of ids: [`Embedded::memory_bytes`] has the
//! exact sum. Similarities differ from the exact ones by less than 0.01 (by 0.001 as a rule), and equal vectors have
//! similarity 1.
//!
//! # What leaves it
//!
//! Whatever is older than `max_age`, and the oldest where there are more than `max_count`, over all tenants. The
//! oldest leave a sixty-fourth of the window at a time, so that finding them costs next to nothing per entry.

mod arena;
mod codes;
mod nearest;
mod window;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use uuid::Uuid;

use self::codes::Code;
use self::window::Window;
use crate::embedder::off_thread;
use crate::{Entry, Error, Neighbour, Query, Taken, VectorStore};

/// Below so many entries a scan takes less time (some 80 µs) than it is worth to move it to another thread.
const SCAN_IN_PLACE: usize = 2_000;

/// How much the embedded store keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowConfig {
    /// Entries whose event was received longer ago are forgotten.
    pub max_age: Duration,
    /// Entries at most, of all tenants and models together. 100,000 of 384 dimensions take 47 MB.
    pub max_count: usize,
    /// The length of every vector.
    pub dimensions: usize,
}

type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// Vectors in this process. Empty when it starts: its owner fills it from the record.
#[derive(Clone)]
pub struct Embedded {
    window: Arc<RwLock<Window>>,
    dimensions: usize,
    clock: Clock,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("window", &*self.read()).finish_non_exhaustive()
    }
}

impl Embedded {
    /// An empty store by the system's clock.
    #[must_use]
    pub fn new(config: WindowConfig) -> Self {
        Self::with_clock(config, Arc::new(Utc::now))
    }

    /// An empty store by another clock, which decides alone what is older than `max_age`.
    #[must_use]
    pub fn with_clock(config: WindowConfig, clock: Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>) -> Self {
        Self { dimensions: config.dimensions, window: Arc::new(RwLock::new(Window::new(config))), clock }
    }

    /// Bytes allocated for the window, room not yet used included.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.read().memory_bytes()
    }

    // The window is whole between any two of its statements that can panic, so a poisoned lock is still good.
    fn read(&self) -> RwLockReadGuard<'_, Window> {
        self.window.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Window> {
        self.window.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn code(&self, vector: &[f32], whose: impl std::fmt::Display) -> Result<Code, Error> {
        if vector.len() != self.dimensions {
            let length = vector.len();
            let expected = self.dimensions;
            return Err(Error::permanent(format!(
                "the vector of {whose} has {length} dimensions, not {expected}"
            )));
        }
        Code::of(vector).ok_or_else(|| Error::permanent(format!("the vector of {whose} has no direction")))
    }
}

impl VectorStore for Embedded {
    fn upsert<'a>(&'a self, entries: &'a [Entry]) -> BoxFuture<'a, Result<Vec<Taken>, Error>> {
        Box::pin(async move {
            let codes: Vec<Result<Code, Error>> = entries
                .iter()
                .map(|entry| self.code(&entry.vector, format_args!("trend {}", entry.id)))
                .collect();
            let now = (self.clock)();
            let mut window = self.write();
            let taken = entries
                .iter()
                .zip(codes)
                .map(|(entry, code)| code.map(|code| window.upsert(entry, &code)))
                .collect();
            window.evict(now);
            Ok(taken)
        })
    }

    fn nearest<'a>(&'a self, query: Query<'a>) -> BoxFuture<'a, Result<Vec<Neighbour>, Error>> {
        Box::pin(async move {
            let code = self.code(query.vector, "the query")?;
            let now = (self.clock)();
            let (space, small) = {
                let window = self.read();
                let Some(space) = window.space(query.tenant, query.model) else { return Ok(Vec::new()) };
                let scan = window.scan(space, now, query.k, query.before);
                (scan, window.len() <= SCAN_IN_PLACE)
            };
            if small {
                return Ok(self.read().nearest(&code, space));
            }
            let store = self.clone();
            off_thread(move || Ok(store.read().nearest(&code, space))).await
        })
    }

    fn remove<'a>(&'a self, ids: &'a [Uuid]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut window = self.write();
            ids.iter().for_each(|id| window.remove(id));
            Ok(())
        })
    }

    fn len(&self) -> BoxFuture<'_, Result<usize, Error>> {
        let count = self.read().len();
        Box::pin(async move { Ok(count) })
    }
}

#[cfg(test)]
mod tests;
