//! The relay: every link of the provenance log becomes a CloudEvent on `dataset:events`, at least once. Of several planners
//! the one with the lease copies.

use std::time::Duration;

use fleet::Process;
use record::{Lease, LogCursor, LoggedLink};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::error::RoundError;

/// The follower's name in the record, and the lease's.
const RELAY: &str = "relay";
/// Links copied at once.
const PAGE: i64 = 2000;
/// Pause where the log is copied to its end.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a planner that fell silent keeps the lease.
const LEASE: Duration = Duration::from_secs(10);

/// Copies until the process stops.
pub(crate) async fn run(process: Process, longest: usize) {
    let lease = Lease { name: RELAY, holder: process.consumer.clone() };
    let mut relay = Relay { process, lease, longest, held: None };
    while !relay.process.shutdown.is_cancelled() {
        let more = match relay.round().await {
            Ok(more) => more,
            Err(error) => {
                tracing::warn!(%error, "the relay could not go on; tried again");
                relay.held = None;
                false
            }
        };
        if !more {
            tokio::select! {
                () = relay.process.shutdown.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }
    if let Err(error) = relay.process.record.release(&relay.lease).await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Relay {
    process: Process,
    lease: Lease,
    longest: usize,
    /// Where the copy stands and when the lease was renewed last, while it is held.
    held: Option<(LogCursor, Instant)>,
}

impl Relay {
    /// Copies one page; whether there may be more. The cursor is kept after the page is on the stream, so that a crash in
    /// between repeats it.
    async fn round(&mut self) -> Result<bool, RoundError> {
        let record = &self.process.record;
        let (mut cursor, renewed) = match self.held.take() {
            Some((cursor, renewed)) if renewed.elapsed() < LEASE / 3 => (cursor, renewed),
            held => {
                if !record.lease(&self.lease, LEASE).await? {
                    return Ok(false);
                }
                let cursor = match held {
                    Some((cursor, _)) => cursor,
                    None => record.log_cursor(RELAY).await?,
                };
                (cursor, Instant::now())
            }
        };
        let links = record.log_after(&mut cursor, PAGE).await?;
        if !links.is_empty() {
            let entries: Vec<Vec<(String, String)>> = links.iter().map(entry).collect();
            self.process.streams.feed_all(streams::DATASET_EVENTS, &entries, self.longest).await?;
            record.keep_log_cursor(RELAY, &cursor).await?;
        }
        self.held = Some((cursor, renewed));
        Ok(!links.is_empty())
    }
}

fn entry(link: &LoggedLink) -> Vec<(String, String)> {
    vec![("tenant".to_owned(), link.tenant.clone()), ("event".to_owned(), event(link))]
}

/// What the envelope takes from a link's body, whose JSON goes into it as it is.
#[derive(Deserialize)]
struct Told<'a> {
    what: &'a str,
    #[serde(borrow)]
    at: &'a RawValue,
}

/// The CloudEvent of a link (CloudEvents 1.0, structured JSON).
fn event(link: &LoggedLink) -> String {
    let (what, at, data) = match serde_json::from_str::<Told<'_>>(&link.body) {
        Ok(told) => (told.what, told.at.get(), link.body.as_str()),
        // A hand was at it: the audit says so.
        Err(_) => ("unknown", "null", "null"),
    };
    let source = Value::from(format!("/tidemill/{}", link.tenant));
    let (run, branch, pos) = (link.run, link.branch, link.pos);
    format!(
        r#"{{"specversion":"1.0","id":"{run}/{branch}/{pos}","source":{source},"type":"io.tidemill.run.{what}","subject":"{run}","time":{at},"datacontenttype":"application/json","data":{data}}}"#
    )
}
