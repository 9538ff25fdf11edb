//! Reading new entries, and taking over those of consumers that went silent.

use std::sync::Arc;

use record::PauseKind;
use streams::Delivery;
use tokio::sync::OwnedSemaphorePermit;

use super::held::Entry;
use super::{Engine, breaker, intake, watch};
use crate::Handler;

/// Entries read at once, at most.
const READ: usize = 256;

/// Reads new entries while there are free slots, nothing is out, and nothing downstream is full.
pub(crate) async fn read<H: Handler>(engine: Arc<Engine<H>>, lane: usize) {
    let mut reader = engine.lanes[lane].reader();
    let mut pace = breaker::pace();
    let shutdown = engine.process.shutdown.clone();
    while !shutdown.is_cancelled() {
        // Everything up to the read may be abandoned at shutdown; the read itself never is.
        let slots = tokio::select! {
            () = shutdown.cancelled() => break,
            slots = free_slots(&engine) => slots,
        };
        match reader.read(slots.len()).await {
            Ok(deliveries) => {
                pace = breaker::pace();
                let entries = hold(&engine, lane, deliveries, slots);
                take_in(&engine, entries).await;
            }
            Err(error) => {
                tracing::warn!(%error, "reading failed");
                engine.process.idle(breaker::next(&mut pace)).await;
            }
        }
    }
}

/// Waits for the first free slot, then takes what else is free, up to one read and to this lane's share: a lane that waits
/// for entries keeps its slots, and must leave some to the others.
async fn free_slots<H: Handler>(engine: &Engine<H>) -> Vec<OwnedSemaphorePermit> {
    engine.reconnected().await;
    engine.process.pauses.lifted(PauseKind::Stage, H::WORKER).await;
    watch::downstream_has_room(engine).await;
    let share = (engine.config().concurrency / engine.lanes.len()).clamp(1, READ);
    let mut slots = Vec::with_capacity(share);
    if let Ok(first) = Arc::clone(&engine.slots).acquire_owned().await {
        slots.push(first);
    }
    while slots.len() < share
        && let Ok(slot) = Arc::clone(&engine.slots).try_acquire_owned()
    {
        slots.push(slot);
    }
    slots
}

fn hold<H: Handler>(
    engine: &Engine<H>,
    lane: usize,
    deliveries: Vec<Delivery>,
    slots: Vec<OwnedSemaphorePermit>,
) -> Vec<Entry> {
    deliveries
        .into_iter()
        .zip(slots)
        .filter_map(|(delivery, slot)| engine.held.hold(lane, delivery, slot, &engine.give_up))
        .collect()
}

/// Waits until the entries are loaded and their jobs started. Meanwhile the next ones gather in the stream, so that a
/// busy worker reads and loads in larger groups.
async fn take_in<H: Handler>(engine: &Arc<Engine<H>>, entries: Vec<Entry>) {
    if !entries.is_empty() {
        crate::failpoint::reach("read");
        Box::pin(intake::take_in(engine, entries)).await;
    }
}

/// Takes over entries that nobody renewed for `takeover_after`. A suspect, which may crash its process, is taken
/// only while no other suspect is held, so that one crash counts against one suspect.
pub(crate) async fn take_over<H: Handler>(engine: Arc<Engine<H>>, lane: usize) {
    let after = engine.config().takeover_after;
    let mut every = tokio::time::interval(after / 3);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cursor = String::from("0-0");
    let shutdown = engine.process.shutdown.clone();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = every.tick() => {}
            // The next one's turn, if there is one.
            () = engine.held.suspect_left() => {}
        }
        loop {
            let slots = tokio::select! {
                () = shutdown.cancelled() => return,
                slots = free_slots(&engine) => slots,
            };
            let suspects = usize::from(!engine.held.has_suspect());
            let claimed = match engine.lanes[lane].claim(after, &cursor, slots.len(), suspects).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::warn!(%error, "the takeover failed");
                    break;
                }
            };
            if !claimed.deliveries.is_empty() {
                tracing::info!(entries = claimed.deliveries.len(), "took over entries of silent consumers");
                engine
                    .process
                    .metrics
                    .takeovers
                    .get_or_create(&engine.labels())
                    .inc_by(claimed.deliveries.len() as u64);
            }
            cursor = claimed.cursor;
            let entries = hold(&engine, lane, claimed.deliveries, slots);
            take_in(&engine, entries).await;
            if cursor == "0-0" {
                break;
            }
        }
    }
}
