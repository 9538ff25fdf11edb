//! One stage of a load: events at a steady rate, whatever becomes of them.
//!
//! The load is open: an event is offered when it is due, not when an earlier one was answered, and its times count from when
//! it was due. So a fleet that stalls cannot hide it by being asked less.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet::Fault;
use hdrhistogram::Histogram;
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::profile::{self, Texts};
use crate::client::Client;

/// Requests at once.
const CONNECTIONS: usize = 64;
/// Events of one request, at most.
const LINES: usize = 250;
/// A day, in microseconds.
const DAY: u64 = 24 * 3600 * 1_000_000;
/// The pace.
const TICK: Duration = Duration::from_millis(5);

/// What is offered.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) source: String,
    pub(super) rate: u32,
    pub(super) lasts: Duration,
}

/// What is seen of a stage while it lasts.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) offered: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) refused: AtomicU64,
}

/// What became of what was offered.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) events: u64,
    pub(super) accepted: u64,
    /// By status; 0 where there was no answer.
    pub(super) refused: BTreeMap<u16, u64>,
    /// From when an event was due to when it was accepted, in microseconds.
    pub(super) acceptance: Histogram<u64>,
}

impl Offered {
    fn new() -> Result<Self, Fault> {
        Ok(Self { events: 0, accepted: 0, refused: BTreeMap::new(), acceptance: histogram()? })
    }
}

/// Microseconds, to three significant digits; what takes longer than a day counts as a day.
pub(super) fn histogram() -> Result<Histogram<u64>, Fault> {
    Histogram::new_with_bounds(1, DAY, 3).map_err(|e| Fault::bug(format!("no histogram: {e}")))
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// How late an event was sent, in microseconds; it is the end of its request id.
pub(super) fn lateness(request_id: &str) -> u64 {
    request_id.rsplit('-').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Offers the events; ends when each was answered.
pub(super) async fn offer(
    client: &Client,
    plan: &Plan,
    texts: &Arc<Mutex<Texts>>,
    seen: &Arc<Seen>,
) -> Result<Offered, Fault> {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let mut requests = JoinSet::new();
    let (started, mut ticks) = (Instant::now(), tokio::time::interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut offered = Offered::new()?;
    let due = |number: u64| started + Duration::from_secs_f64(number as f64 / f64::from(plan.rate));
    while started.elapsed() < plan.lasts {
        ticks.tick().await;
        let all = (started.elapsed().min(plan.lasts).as_secs_f64() * f64::from(plan.rate)) as u64;
        let numbers: Vec<u64> = (offered.events..all).collect();
        for numbers in numbers.chunks(LINES) {
            let events = numbers.iter().map(|number| (*number, due(*number))).collect();
            let request = Request {
                client: client.clone(),
                source: plan.source.clone(),
                rate: plan.rate,
                texts: Arc::clone(texts),
                connections: Arc::clone(&connections),
                seen: Arc::clone(seen),
                events,
            };
            requests.spawn(request.answered());
        }
        offered.events = all;
        seen.offered.store(all, Ordering::Relaxed);
        while let Some(answer) = requests.try_join_next() {
            gather(&mut offered, answer)?;
        }
    }
    while let Some(answer) = requests.join_next().await {
        gather(&mut offered, answer)?;
    }
    Ok(offered)
}

/// Of each event its status and how long after it was due that was known.
type Answers = Vec<(u16, Duration)>;

fn gather(offered: &mut Offered, answer: Result<Answers, tokio::task::JoinError>) -> Result<(), Fault> {
    for (status, took) in answer.map_err(|e| Fault::bug(format!("a request broke off: {e}")))? {
        if status == StatusCode::ACCEPTED.as_u16() {
            offered.accepted += 1;
            offered.acceptance.saturating_record(micros(took));
        } else {
            *offered.refused.entry(status).or_default() += 1;
        }
    }
    Ok(())
}

struct Request {
    client: Client,
    source: String,
    rate: u32,
    texts: Arc<Mutex<Texts>>,
    connections: Arc<Semaphore>,
    seen: Arc<Seen>,
    events: Vec<(u64, Instant)>,
}

impl Request {
    async fn answered(self) -> Answers {
        let _connection = self.connections.acquire().await;
        let now = Instant::now();
        let mut lines = Vec::new();
        {
            let mut texts = self.texts.lock().await;
            for (number, due) in &self.events {
                let id = format!("{}-{number}-{}", self.rate, micros(now - *due));
                lines.push(profile::line(&self.source, &id, &texts.next()));
            }
        }
        let statuses = match self.client.offer(&lines.join("\n")).await {
            Ok((status, answer)) => statuses(status, &answer, self.events.len()),
            Err(_) => vec![0; self.events.len()],
        };
        let answered = Instant::now();
        let accepted = statuses.iter().filter(|status| **status == StatusCode::ACCEPTED.as_u16()).count();
        self.seen.accepted.fetch_add(accepted as u64, Ordering::Relaxed);
        self.seen.refused.fetch_add((statuses.len() - accepted) as u64, Ordering::Relaxed);
        statuses.into_iter().zip(&self.events).map(|(status, (_, due))| (status, answered - *due)).collect()
    }
}

/// What was said of each event of a request.
fn statuses(status: StatusCode, answer: &Value, events: usize) -> Vec<u16> {
    let Some(items) = answer["items"].as_array() else { return vec![status.as_u16(); events] };
    let of = |item: &Value| match &item["run_id"] {
        Value::String(_) => StatusCode::ACCEPTED.as_u16(),
        _ => item["error"]["status"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or_default(),
    };
    let mut statuses: Vec<u16> = items.iter().map(of).collect();
    statuses.resize(events, 0);
    statuses
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_event_of_a_request_has_its_own_status() {
        let items = json!({ "items": [
            { "index": 0, "run_id": "a", "created": true },
            { "index": 1, "error": { "status": 429 } },
        ] });
        assert_eq!(statuses(StatusCode::ACCEPTED, &items, 2), [202, 429]);
        assert_eq!(statuses(StatusCode::TOO_MANY_REQUESTS, &json!({ "title": "x" }), 2), [429, 429]);
    }

    #[test]
    fn how_late_an_event_was_is_read_from_its_request_id() {
        assert_eq!((lateness("500-17-2500"), lateness("else")), (2500, 0));
    }
}
