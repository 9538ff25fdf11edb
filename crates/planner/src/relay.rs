//! The relay: every link of the provenance log becomes a CloudEvent on `dataset:events`, at least once. Of several planners
//! the one with the lease copies.

use std::time::Duration;

use fleet::Process;
use record::{Lease, LogCursor, LoggedLink};
use serde_json::{Value, json};

use crate::error::RoundError;

/// The follower's name in the record, and the lease's.
const RELAY: &str = "relay";
/// Links copied at once.
const PAGE: i64 = 1000;
/// Pause where the log is copied to its end.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a planner that fell silent keeps the lease.
const LEASE: Duration = Duration::from_secs(10);

/// Copies until the process stops.
pub(crate) async fn run(process: Process, longest: usize) {
    let lease = Lease { name: RELAY, holder: process.consumer.clone() };
    while !process.shutdown.is_cancelled() {
        let more = match round(&process, &lease, longest).await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "the relay could not go on; tried again");
                false
            }
        };
        if !more {
            tokio::select! {
                () = process.shutdown.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
    if let Err(error) = process.record.release(&lease).await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

/// Copies one page; whether there may be more. The cursor is kept after the page is on the stream, so that a crash in
/// between repeats it.
async fn round(process: &Process, lease: &Lease, longest: usize) -> Result<bool, RoundError> {
    if !process.record.lease(lease, LEASE).await? {
        return Ok(false);
    }
    let mut cursor: LogCursor = process.record.log_cursor(RELAY).await?;
    let links = process.record.log_after(&mut cursor, PAGE).await?;
    if links.is_empty() {
        return Ok(false);
    }
    let entries: Vec<Vec<(String, String)>> = links.iter().map(entry).collect();
    process.streams.feed_all(streams::DATASET_EVENTS, &entries, longest).await?;
    process.record.keep_log_cursor(RELAY, &cursor).await?;
    Ok(i64::try_from(links.len()).unwrap_or(0) == PAGE)
}

fn entry(link: &LoggedLink) -> Vec<(String, String)> {
    vec![("tenant".to_owned(), link.tenant.clone()), ("event".to_owned(), event(link).to_string())]
}

/// The CloudEvent of a link (CloudEvents 1.0, structured JSON).
fn event(link: &LoggedLink) -> Value {
    let data: Value = serde_json::from_str(&link.body).unwrap_or_default();
    let what = data["what"].as_str().unwrap_or("unknown");
    json!({
        "specversion": "1.0",
        "id": format!("{}/{}/{}", link.run, link.branch, link.pos),
        "source": format!("/tidemill/{}", link.tenant),
        "type": format!("io.tidemill.run.{what}"),
        "subject": link.run,
        "time": data["at"],
        "datacontenttype": "application/json",
        "data": data,
    })
}
