//! Events of others on `dataset:events`: each is stored, with the firings that follow from it, before it is acknowledged.
//! What this fleet told itself is skipped.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet::Process;
use model::OutsideEvent;
use streams::{DATASET_EVENTS, Delivery, SharedFeed};
use tokio::sync::Notify;
use uuid::Uuid;

use super::PAUSE;
use super::known::Known;
use crate::error::{RoundError, bury, or_bury};

/// Pause where nothing new is there.
const IDLE: Duration = Duration::from_millis(250);

/// Takes events until the process stops.
pub(crate) async fn run(process: Process, stored: Arc<Notify>, fleet_id: String, length: usize) {
    let mut feed = process.streams.shared_feed(DATASET_EVENTS, &process.consumer, &fleet_id, length);
    while !process.shutdown.is_cancelled() {
        match round(&process, &stored, &mut feed).await {
            Ok(true) => {}
            Ok(false) => process.idle(IDLE).await,
            Err(error) => {
                tracing::warn!(%error, "events of others could not be taken; tried again");
                process.idle(PAUSE).await;
            }
        }
    }
}

/// Takes one page; whether there may be more.
async fn round(process: &Process, stored: &Notify, feed: &mut SharedFeed) -> Result<bool, RoundError> {
    let (deliveries, more) = feed.read().await?;
    if deliveries.is_empty() {
        return Ok(more);
    }
    let known = Known::read(&process.record).await?;
    let decoded: Vec<_> = deliveries.into_iter().map(|d| (OutsideEvent::decode(&d.fields), d)).collect();
    let own = own_runs(process, decoded.iter().filter_map(|(event, _)| event.as_ref().ok())).await?;
    for (event, delivery) in decoded {
        match event {
            Ok(event) if run_of(&event).is_some_and(|run| own.contains(&run)) => {}
            Ok(event) => {
                let firings = known.reactive.after_outside(&event, added_at(&delivery));
                let kept = process.record.store_outside(&event, &firings).await;
                or_bury(process, feed.stream(), &delivery, kept).await?;
                stored.notify_one();
            }
            Err(error) => bury(process, feed.stream(), &delivery, &format!("no event: {error}")).await?,
        }
        feed.acknowledge(&delivery.id).await?;
    }
    Ok(more)
}

/// Runs of this fleet among those that the events are about: a build before this one did not mark its events.
async fn own_runs(
    process: &Process,
    events: impl Iterator<Item = &OutsideEvent>,
) -> Result<HashSet<Uuid>, RoundError> {
    let named: Vec<Uuid> = events.filter_map(run_of).collect();
    if named.is_empty() {
        return Ok(HashSet::new());
    }
    Ok(process.record.known_runs(&named).await?.into_iter().collect())
}

/// The run that an event is about, if it is told as a fleet tells its own.
fn run_of(event: &OutsideEvent) -> Option<Uuid> {
    let told = event.source.starts_with("/tidemill/") && event.kind.starts_with("io.tidemill.run.");
    let (run, _) = event.id.split_once('/').filter(|_| told)?;
    Uuid::parse_str(run).ok()
}

/// When an entry was added, by Redis's clock: ids begin with it.
fn added_at(delivery: &Delivery) -> DateTime<Utc> {
    let millis = delivery.id.0.split('-').next().and_then(|millis| millis.parse().ok());
    millis.and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}
