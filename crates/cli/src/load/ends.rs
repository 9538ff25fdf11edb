//! What became of a load's events: read from the gateway, run by run.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use fleet::Fault;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::time::Instant;

use super::stage;
use crate::client::{Client, escaped};

/// Runs of one page.
const PAGE: usize = 500;
/// How often it is looked whether all have ended.
const LOOK: Duration = Duration::from_millis(250);
/// How long nothing may end before it is no longer waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of the runs of a source.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) runs: u64,
    pub(super) states: BTreeMap<String, u64>,
    /// From when an event was due to the end of its run, in microseconds, by the record's clock; but for the way to the gateway.
    pub(super) through: Histogram<u64>,
}

/// Waits until no run of the source is under way; returns the highest backlog seen, and how long it took. Gives up where
/// nothing ends any more.
pub(super) async fn settled(client: &Client, source: &str) -> Result<Duration, Fault> {
    let began = Instant::now();
    let (mut moved, mut before) = (Instant::now(), None);
    while under_way(client, source).await? {
        let ended = ended(client).await?;
        if before.replace(ended) != Some(ended) {
            moved = Instant::now();
        }
        if moved.elapsed() > PATIENCE {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(began.elapsed())
}

async fn under_way(client: &Client, source: &str) -> Result<bool, Fault> {
    let path = format!("/v1/runs?source={}&state=running&limit=1", escaped(source));
    Ok(client.get(&path).await?["runs"].as_array().is_some_and(|runs| !runs.is_empty()))
}

/// How many runs have come to rest.
async fn ended(client: &Client) -> Result<u64, Fault> {
    let fleet = client.get("/v1/fleet").await?;
    let states = fleet["runs"].as_object().into_iter().flatten();
    Ok(states.filter(|(state, _)| *state != "running").filter_map(|(_, count)| count.as_u64()).sum())
}

/// Jobs that wait in the streams just now.
pub(super) async fn backlog(client: &Client) -> Result<u64, Fault> {
    let fleet = client.get("/v1/fleet").await?;
    Ok(fleet["streams"].as_array().into_iter().flatten().filter_map(|stage| stage["backlog"].as_u64()).sum())
}

/// Reads every run of the source.
pub(super) async fn read(client: &Client, source: &str) -> Result<Ends, Fault> {
    let mut ends = Ends { runs: 0, states: BTreeMap::new(), through: stage::histogram()? };
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/runs?source={}&limit={PAGE}{cursor}", escaped(source));
        let page = client.get(&path).await?;
        for run in page["runs"].as_array().into_iter().flatten() {
            ends.count(run);
        }
        let Some(next) = page["next"].as_str() else { return Ok(ends) };
        cursor = format!("&cursor={}", escaped(next));
    }
}

impl Ends {
    fn count(&mut self, run: &Value) {
        self.runs += 1;
        *self.states.entry(run["state"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        let at = |name: &str| run[name].as_str()?.parse::<DateTime<Utc>>().ok();
        if let Some((received, ended)) = at("received_at").zip(at("ended_at")) {
            let took = (ended - received).to_std().unwrap_or_default();
            let late = stage::lateness(run["request_id"].as_str().unwrap_or_default());
            self.through.saturating_record(stage::micros(took).saturating_add(late));
        }
    }

    /// Those that ended, and those that wait for a person.
    pub(super) fn at_rest(&self) -> u64 {
        self.runs - self.states.get("running").copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_run_counts_from_when_its_event_was_due() {
        let mut ends = Ends { runs: 0, states: BTreeMap::new(), through: stage::histogram().unwrap() };
        ends.count(&json!({
            "state": "published", "request_id": "10-0-500000",
            "received_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T00:00:01Z",
        }));
        ends.count(
            &json!({ "state": "running", "request_id": "10-1-0", "received_at": "2026-01-01T00:00:00Z" }),
        );
        assert_eq!((ends.runs, ends.at_rest(), ends.through.len()), (2, 1, 1));
        assert!((1_499_000..=1_501_000).contains(&ends.through.max()), "{}", ends.through.max());
    }
}
