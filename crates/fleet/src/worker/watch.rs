//! The clocks of a worker: renewing what is held, promoting what is due, measuring what waits.

use std::sync::Arc;
use std::time::Duration;

use record::PauseKind;

use super::Engine;
use crate::Handler;

/// Entries promoted at once, at most.
const PROMOTED: usize = 256;
/// How often due retries are promoted.
const PROMOTION: Duration = Duration::from_millis(200);
/// How often backlogs are measured: the longest that a full stream goes unnoticed.
const MEASUREMENT: Duration = Duration::from_millis(250);
/// How often the record is asked whether it is there.
const LOOK: Duration = Duration::from_secs(5);

/// How often a worker shows that it lives.
const PRESENCE: Duration = Duration::from_secs(5);

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Renews what is held, three times within the takeover time; what is no longer ours is cancelled.
pub(crate) async fn heartbeat<H: Handler>(engine: Arc<Engine<H>>) {
    let mut ticks = ticks(engine.config().takeover_after / 3);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        for (index, lane) in engine.lanes.iter().enumerate() {
            let held = engine.held.of_lane(index);
            if held.is_empty() {
                continue;
            }
            match lane.heartbeat(&held).await {
                Ok(lost) => {
                    for id in lost {
                        tracing::warn!(entry = %id, "an entry was taken over by another process");
                        engine.held.lose(index, &id);
                    }
                }
                Err(error) => tracing::warn!(%error, "a heartbeat failed"),
            }
        }
    }
}

/// Shows that this worker lives, for those who look at the fleet.
pub(crate) async fn presence<H: Handler>(engine: Arc<Engine<H>>) {
    let mut ticks = ticks(PRESENCE);
    loop {
        tokio::select! {
            () = engine.process.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        for lane in &engine.lanes {
            if let Err(error) = lane.show_presence().await {
                tracing::debug!(%error, "presence could not be shown");
            }
        }
    }
}

/// Moves due retries back into the stream. Every worker of the stream does; the script makes it safe.
pub(crate) async fn promote<H: Handler>(engine: Arc<Engine<H>>) {
    let mut ticks = ticks(PROMOTION);
    loop {
        ticks.tick().await;
        for lane in &engine.lanes {
            while let Ok(PROMOTED) = promoted(lane).await {}
        }
    }
}

async fn promoted(lane: &streams::Lane) -> Result<usize, streams::Error> {
    let promoted = lane.promote(PROMOTED).await;
    if let Err(error) = &promoted {
        tracing::warn!(%error, "the promotion of retries failed");
    }
    promoted
}

/// Measures this worker's streams for the metrics, and whether a stream that its steps lead to is full.
pub(crate) async fn measure<H: Handler>(engine: Arc<Engine<H>>) {
    let mut ticks = ticks(MEASUREMENT);
    let (metrics, labels) = (engine.process.metrics.clone(), engine.labels());
    loop {
        ticks.tick().await;
        metrics.held.get_or_create(&labels).set(i64::try_from(engine.held.len()).unwrap_or(i64::MAX));
        let paused = engine.is_cut_off() || engine.process.pauses.has(PauseKind::Stage, H::WORKER);
        metrics.paused.get_or_create(&labels).set(i64::from(paused));
        match engine.process.streams.backlog(H::WORKER).await {
            Ok(backlog) => {
                let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
                metrics.backlog.get_or_create(&labels).set(gauge(backlog.stream));
                metrics.retry_set.get_or_create(&labels).set(gauge(backlog.retry));
                metrics.oldest_seconds.get_or_create(&labels).set(backlog.oldest_ms as f64 / 1000.0);
            }
            Err(error) => tracing::debug!(%error, "the backlog could not be measured"),
        }
        let full = full_downstream(&engine).await;
        if let Some(worker) = &full
            && engine.full_downstream.borrow().is_none()
        {
            tracing::warn!(worker, "reading pauses: the stream downstream is over its high-water mark");
        }
        engine.full_downstream.send_replace(full);
    }
}

/// Notices a record that keeps its connections and answers nothing: whoever asked it something waits, and would tell nobody.
pub(crate) async fn record<H: Handler>(engine: Arc<Engine<H>>) {
    let mut ticks = ticks(LOOK);
    loop {
        ticks.tick().await;
        if let Err(error) = engine.process.record.ping().await {
            engine.breaker.trip(&error);
        }
    }
}

/// Waits while a stream that this worker's steps lead to was over its high-water mark when it was last measured.
/// Cancel-safe.
pub(crate) async fn downstream_has_room<H: Handler>(engine: &Engine<H>) {
    // The sender lives in the engine, so waiting cannot fail.
    drop(engine.full_downstream.subscribe().wait_for(Option::is_none).await);
}

/// The first full stream downstream. Only later worker types count: waiting for an earlier one, or for itself, would
/// let loops lock up.
async fn full_downstream<H: Handler>(engine: &Engine<H>) -> Option<String> {
    let own = streams::order_of(H::WORKER)?;
    for worker in engine.workflows.led_to_by(H::WORKER).await {
        if streams::order_of(&worker).is_none_or(|order| order <= own) {
            continue;
        }
        if let Ok(backlog) = engine.process.streams.backlog(&worker).await
            && backlog.stream > engine.config().high_water
        {
            return Some(worker);
        }
    }
    None
}
