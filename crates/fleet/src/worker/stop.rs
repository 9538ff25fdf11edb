//! Stopping: finish what is held within the grace period, give the rest back at once, leave the groups.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Engine;
use crate::Handler;

/// How often it is looked whether everything has left.
const LOOK: Duration = Duration::from_millis(20);

/// Waits for held entries to leave, up to the grace period, then gives back what is left.
pub(crate) async fn drain<H: Handler>(engine: &Arc<Engine<H>>) {
    let until = Instant::now() + engine.config().grace;
    // A reader that is in a call may still bring entries; its BLOCK ends within a second.
    let mut quiet_since = Instant::now();
    while Instant::now() < until {
        if engine.held.len() > 0 {
            quiet_since = Instant::now();
        } else if quiet_since.elapsed() > Duration::from_millis(1200) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    // Looked up before the jobs are told to let go of them.
    let held: Vec<_> = (0..engine.lanes.len()).map(|lane| engine.held.of_lane(lane)).collect();
    engine.give_up.cancel();
    for (lane, held) in engine.lanes.iter().zip(held) {
        if !held.is_empty() {
            tracing::info!(entries = held.len(), "giving back what could not be finished in time");
        }
        if let Err(error) = lane.give_back(&held).await {
            tracing::warn!(%error, "entries could not be given back; they are taken over once they are idle");
        }
        if let Err(error) = lane.leave().await {
            tracing::debug!(%error, "the consumer could not be removed");
        }
    }
}
