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
const PAGE: i64 = 1000;
/// Events added to the stream in one go: Redis does nothing else meanwhile.
const AT_ONCE: usize = 100;
/// How often the cursor is kept while it moves.
const KEPT: Duration = Duration::from_secs(1);
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
    if let Err(error) = relay.end().await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Relay {
    process: Process,
    lease: Lease,
    longest: usize,
    held: Option<Held>,
}

/// What the planner knows that holds the lease.
struct Held {
    cursor: LogCursor,
    /// When the lease was renewed last.
    renewed: Instant,
    /// When the cursor was kept last, and whether it moved since.
    kept: Instant,
    moved: bool,
}

impl Relay {
    /// Copies one page; whether there was any. A crash repeats what came after the cursor that was kept last.
    async fn round(&mut self) -> Result<bool, RoundError> {
        let Some(mut held) = self.hold().await? else { return Ok(false) };
        let links = self.process.record.log_after(&mut held.cursor, PAGE).await?;
        for some in links.chunks(AT_ONCE) {
            let entries: Vec<Vec<(String, String)>> = some.iter().map(entry).collect();
            self.process.streams.feed_all(streams::DATASET_EVENTS, &entries, self.longest).await?;
        }
        held.moved |= !links.is_empty();
        if held.moved && held.kept.elapsed() >= KEPT {
            self.process.record.keep_log_cursor(RELAY, &held.cursor).await?;
            (held.kept, held.moved) = (Instant::now(), false);
        }
        self.held = Some(held);
        Ok(!links.is_empty())
    }

    /// The lease, renewed where it is time; `None` where another planner has it.
    async fn hold(&mut self) -> Result<Option<Held>, RoundError> {
        let held = self.held.take();
        if held.as_ref().is_some_and(|held| held.renewed.elapsed() < LEASE / 3) {
            return Ok(held);
        }
        if !self.process.record.lease(&self.lease, LEASE).await? {
            return Ok(None);
        }
        let now = Instant::now();
        Ok(Some(match held {
            Some(held) => Held { renewed: now, ..held },
            None => {
                let cursor = self.process.record.log_cursor(RELAY).await?;
                Held { cursor, renewed: now, kept: now, moved: false }
            }
        }))
    }

    async fn end(&mut self) -> Result<(), RoundError> {
        if let Some(held) = self.held.take() {
            self.process.record.keep_log_cursor(RELAY, &held.cursor).await?;
            self.process.record.release(&self.lease).await?;
        }
        Ok(())
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
