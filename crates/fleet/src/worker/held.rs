//! The entries that this process holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::EntryFields;
use streams::{Delivery, EntryId, SHARED_DELIVERIES};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio_util::sync::CancellationToken;

/// Everything held, by lane and entry id.
#[derive(Debug, Default)]
pub(crate) struct Held {
    entries: Mutex<HashMap<(usize, EntryId), Holding>>,
    suspect_left: Notify,
}

#[derive(Debug)]
struct Holding {
    /// Shared with the entry: this process may take over what it holds itself, after an outage.
    deliveries: Arc<AtomicI64>,
    lost: CancellationToken,
}

impl Held {
    fn map(&self) -> std::sync::MutexGuard<'_, HashMap<(usize, EntryId), Holding>> {
        // A panic elsewhere cannot leave the map half-changed: every change is one call.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes hold of a delivery. `None` where the entry is held already: a second delivery to the same process.
    pub(crate) fn hold(
        self: &Arc<Self>,
        lane: usize,
        delivery: Delivery,
        slot: OwnedSemaphorePermit,
        parent: &CancellationToken,
    ) -> Option<Entry> {
        let key = (lane, delivery.id.clone());
        let lost = parent.child_token();
        let mut map = self.map();
        if let Some(holding) = map.get_mut(&key) {
            holding.deliveries.store(delivery.deliveries, Ordering::Relaxed);
            return None;
        }
        let deliveries = Arc::new(AtomicI64::new(delivery.deliveries));
        map.insert(key, Holding { deliveries: Arc::clone(&deliveries), lost: lost.clone() });
        Some(Entry {
            lane,
            id: delivery.id,
            deliveries,
            fields: delivery.fields,
            lost,
            held: Arc::clone(self),
            _slot: slot,
        })
    }

    /// What is held in a lane, with delivery counts.
    pub(crate) fn of_lane(&self, lane: usize) -> Vec<(EntryId, i64)> {
        self.map()
            .iter()
            .filter(|((of, _), _)| *of == lane)
            .map(|((_, id), holding)| (id.clone(), holding.deliveries.load(Ordering::Relaxed)))
            .collect()
    }

    /// Notes that an entry belongs to another process now.
    pub(crate) fn lose(&self, lane: usize, id: &EntryId) {
        if let Some(holding) = self.map().get(&(lane, id.clone())) {
            holding.lost.cancel();
        }
    }

    /// How many are held.
    pub(crate) fn len(&self) -> usize {
        self.map().len()
    }

    /// Waits until a suspect has left.
    pub(crate) async fn suspect_left(&self) {
        self.suspect_left.notified().await;
    }

    /// Whether a suspect, one that was delivered more than twice, is held.
    pub(crate) fn has_suspect(&self) -> bool {
        self.map().values().any(|holding| holding.deliveries.load(Ordering::Relaxed) > SHARED_DELIVERIES)
    }
}

/// A held entry. Dropping it releases its hold and its slot, and leaves it pending for whoever takes it over.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) lane: usize,
    pub(crate) id: EntryId,
    deliveries: Arc<AtomicI64>,
    pub(crate) fields: EntryFields,
    /// Cancelled when the entry is lost, or the process gives up.
    pub(crate) lost: CancellationToken,
    held: Arc<Held>,
    _slot: OwnedSemaphorePermit,
}

impl Entry {
    /// How often it was delivered; 1 is the first time.
    pub(crate) fn deliveries(&self) -> i64 {
        self.deliveries.load(Ordering::Relaxed)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.held.map().remove(&(self.lane, self.id.clone()));
        if self.deliveries() > SHARED_DELIVERIES {
            self.held.suspect_left.notify_one();
        }
    }
}
