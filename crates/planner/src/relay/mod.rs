//! The relay: every link of the provenance log becomes a CloudEvent on `dataset:events`, at least once, and fires the
//! triggers that wait for it. Of several planners the one with the lease copies.

mod gates;

use std::borrow::Cow;
use std::time::Duration;

use fleet::Process;
use record::{Lease, LogCursor, LoggedLink, NewFiring};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::RoundError;
use crate::triggers::Known;
use crate::triggers::config::Origin;

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

/// Copies until the process stops: to the stream where that is `told`, and to the triggers.
pub(crate) async fn run(process: Process, told: bool, fleet_id: String) {
    let lease = Lease { name: RELAY, holder: process.consumer.clone() };
    let mut relay = Relay { process, lease, told, fleet_id, held: None };
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
            relay.process.idle(PAUSE).await;
        }
    }
    if let Err(error) = relay.end().await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Relay {
    process: Process,
    lease: Lease,
    told: bool,
    fleet_id: String,
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
        if !self.told && !Known::read(&self.process.record).await?.reactive.watches(Origin::Runs) {
            return Ok(false);
        }
        let Some(mut held) = self.hold().await? else { return Ok(false) };
        let links = self.process.record.log_after(&mut held.cursor, PAGE).await?;
        let known =
            if links.is_empty() { Known::default() } else { Known::read(&self.process.record).await? };
        for some in links.chunks(AT_ONCE) {
            let events: Vec<Event<'_>> = some.iter().flat_map(Event::of).collect();
            let fired: Vec<NewFiring> = events
                .iter()
                .flat_map(|event| known.reactive.after_link(event.link, &event.kind, &event.json))
                .collect();
            if !fired.is_empty() {
                self.process.record.fire(&fired).await?;
            }
            if self.told {
                let entries: Vec<_> = events.into_iter().map(|event| event.entry(&self.fleet_id)).collect();
                self.process.streams.feed_all(streams::DATASET_EVENTS, &entries).await?;
            }
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

/// The type of the event of a patch of a blackboard that was applied.
const PATCH_APPLIED: &str = "orchestration.patch_applied";
/// The type of the event of a run with a manifest whose post is out.
const PUBLISHED: &str = "orchestration.published";
/// The type of the event of a patch that was refused.
const PATCH_REFUSED: &str = "orchestration.patch_refused";

/// The type of the event of a gate's decision.
const GATE_DECIDED: &str = "orchestration.gate_decided";

/// What the envelope takes from a link's body, whose JSON goes into it as it is.
#[derive(Deserialize)]
struct Told<'a> {
    what: &'a str,
    #[serde(borrow)]
    at: &'a RawValue,
    #[serde(default)]
    manifest_id: Option<Uuid>,
    #[serde(default, borrow)]
    patch_applied: Option<&'a RawValue>,
    #[serde(default, borrow)]
    patch_refused: Option<&'a RawValue>,
    #[serde(default, borrow)]
    gates: Option<&'a RawValue>,
}

/// The CloudEvent of a link (CloudEvents 1.0, structured JSON).
struct Event<'a> {
    link: &'a LoggedLink,
    kind: String,
    json: String,
}

/// A link's body, with the run's manifest and request. Links of runs without a manifest say neither, so that their commits stay
/// as short as they are.
fn identified(link: &LoggedLink, says_so: bool) -> Cow<'_, str> {
    let open = link.body.strip_suffix('}').filter(|_| !says_so);
    open.map_or(Cow::Borrowed(&link.body), |open| {
        let (run, request_id) = (link.run, Value::from(link.request_id.as_str()));
        Cow::Owned(format!(r#"{open},"manifest_id":"{run}","request_id":{request_id}}}"#))
    })
}

impl<'a> Event<'a> {
    /// What a link tells: the transition, what became of a patch of the blackboard, what each gate decided, and that what the
    /// run made is out.
    fn of(link: &'a LoggedLink) -> Vec<Self> {
        let Ok(told) = serde_json::from_str::<Told<'_>>(&link.body) else {
            // A hand was at it: the audit says so.
            return vec![Self::draw_up(link, "io.tidemill.run.unknown".to_owned(), "", "null", "null")];
        };
        let data = identified(link, told.manifest_id.is_some());
        let event = |kind: String, part: &str| Self::draw_up(link, kind, part, told.at.get(), &data);
        let mut events = vec![event(format!("io.tidemill.run.{}", told.what), "")];
        let patch = match (told.patch_applied, told.patch_refused) {
            (Some(_), _) => Some(PATCH_APPLIED),
            (None, Some(_)) => Some(PATCH_REFUSED),
            (None, None) => None,
        };
        events.extend(patch.map(|kind| event(kind.to_owned(), "/patch")));
        let decided = gates::decided(told.gates, &data);
        events.extend(
            decided.into_iter().map(|(part, data)| {
                Self::draw_up(link, GATE_DECIDED.to_owned(), &part, told.at.get(), &data)
            }),
        );
        if told.what == "published" && told.manifest_id.is_some() {
            events.push(event(PUBLISHED.to_owned(), "/published"));
        }
        events
    }

    fn draw_up(link: &'a LoggedLink, kind: String, part: &str, at: &str, data: &str) -> Self {
        let source = Value::from(format!("/tidemill/{}", link.tenant));
        let (run, branch, pos) = (link.run, link.branch, link.pos);
        let json = format!(
            r#"{{"specversion":"1.0","id":"{run}/{branch}/{pos}{part}","source":{source},"type":"{kind}","subject":"{run}","time":{at},"datacontenttype":"application/json","data":{data}}}"#
        );
        Self { link, kind, json }
    }

    fn entry(self, fleet_id: &str) -> Vec<(&'static str, String)> {
        vec![
            ("tenant", self.link.tenant.clone()),
            (streams::FLEET_FIELD, fleet_id.to_owned()),
            ("event", self.json),
        ]
    }
}
