//! The load: events over HTTP, as fast as they are taken or at a steady rate.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};

use crate::{EVENT_BYTES, Fault, IdleFleet, Latency};

/// Senders at once.
const SENDERS: usize = 4;
/// Events of one request in a flood.
const LINES: usize = 256;
/// The pace of a steady load.
const TICK: Duration = Duration::from_millis(10);
/// How long a load may take to come through before the benchmark is given up.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a flood measured.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// From the first request to the end of the last run.
    pub through: Duration,
    /// From the first request to the last 202.
    pub accepted: Duration,
}

/// Sends events to a fleet.
#[derive(Debug)]
pub struct Load<'a> {
    fleet: &'a IdleFleet,
    client: reqwest::Client,
    pool: sqlx::PgPool,
}

impl<'a> Load<'a> {
    /// A load for this fleet; `database` is looked at for what came through.
    ///
    /// # Errors
    /// Where the database cannot be reached.
    pub async fn on(fleet: &'a IdleFleet, database: &str) -> Result<Self, Fault> {
        Ok(Self { fleet, client: reqwest::Client::new(), pool: sqlx::PgPool::connect(database).await? })
    }

    /// Sends `events` of one source as fast as they are taken and waits until all are through.
    ///
    /// # Errors
    /// Where an event is refused or does not come through.
    pub async fn flood(&self, source: &str, events: usize) -> Result<Flood, Fault> {
        let (began, started) = (Utc::now(), Instant::now());
        let numbers: Vec<usize> = (0..events).collect();
        let requests = numbers.chunks(LINES).map(|lines| self.send(source, lines));
        futures::stream::iter(requests).buffer_unordered(SENDERS).try_collect::<Vec<()>>().await?;
        let accepted = started.elapsed();
        let ended = self.all_ended(source, events).await?;
        Ok(Flood { through: (ended - began).to_std()?, accepted })
    }

    /// Sends `rate` events a second for `time`; returns how long each took from its request to its end.
    ///
    /// # Errors
    /// Where an event is refused or does not come through.
    pub async fn steady(&self, rate: f64, time: Duration) -> Result<Latency, Fault> {
        let started = tokio::time::Instant::now();
        let mut ticks = tokio::time::interval(TICK);
        let (mut sent, mut requests) = (0_usize, tokio::task::JoinSet::new());
        while started.elapsed() < time {
            ticks.tick().await;
            let due = (started.elapsed().as_secs_f64() * rate) as usize;
            if due > sent {
                let lines: Vec<usize> = (sent..due).collect();
                let request = self.request("steady", &lines);
                requests.spawn(async move { answered(request, lines.len()).await });
                sent = due;
            }
        }
        while let Some(answer) = requests.join_next().await {
            answer??;
        }
        self.all_ended("steady", sent).await?;
        let millis: Vec<f64> = sqlx::query_scalar(
            "SELECT (extract(epoch FROM r.ended_at) * 1000 - split_part(e.request_id, '-', 2)::float8)::float8
             FROM runs r JOIN events e USING (event_id) WHERE e.source = 'steady'",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(Latency::of(millis, sent as f64 / started.elapsed().as_secs_f64()))
    }

    async fn send(&self, source: &str, numbers: &[usize]) -> Result<(), Fault> {
        answered(self.request(source, numbers), numbers.len()).await
    }

    /// One request of several events; each event's request id carries the moment it was sent, in milliseconds.
    fn request(&self, source: &str, numbers: &[usize]) -> reqwest::RequestBuilder {
        let now = Utc::now().timestamp_micros() as f64 / 1000.0;
        let lines: Vec<String> = numbers
            .iter()
            .map(|number| {
                let head = format!(
                    r#"{{"source":"{source}","request_id":"{number}-{now:.3}","payload":{{"title":"Event {number}","body":""#
                );
                let filler = EVENT_BYTES.saturating_sub(head.len() + 3);
                format!("{head}{}\"}}}}", "the quick brown fox ".chars().cycle().take(filler).collect::<String>())
            })
            .collect();
        self.client
            .post(format!("{}/v1/events", self.fleet.gateway))
            .bearer_auth(&self.fleet.token)
            .header("content-type", "application/x-ndjson")
            .body(lines.join("\n"))
    }

    /// Waits until `events` runs of the source have ended as they should; returns when the last one did.
    async fn all_ended(&self, source: &str, events: usize) -> Result<DateTime<Utc>, Fault> {
        let until = Instant::now() + PATIENCE;
        // The index of open runs answers this without a look at the ended ones.
        let open = "SELECT EXISTS (SELECT 1 FROM runs WHERE state IN ('running', 'waiting', 'parked'))";
        while sqlx::query_scalar::<_, bool>(open).fetch_one(&self.pool).await? {
            if Instant::now() > until {
                return Err(format!("the events were not through within {PATIENCE:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let (done, last): (i64, Option<DateTime<Utc>>) = sqlx::query_as(
            "SELECT count(*), max(ended_at) FROM runs JOIN events USING (event_id) WHERE source = $1 AND state = 'done'",
        )
        .bind(source)
        .fetch_one(&self.pool)
        .await?;
        match last {
            Some(last) if usize::try_from(done)? == events => Ok(last),
            _ => Err(format!("{done} of {events} events came through").into()),
        }
    }
}

async fn answered(request: reqwest::RequestBuilder, events: usize) -> Result<(), Fault> {
    let response = request.send().await?;
    let status = response.status();
    let answer: serde_json::Value = response.json().await?;
    if status == reqwest::StatusCode::ACCEPTED && answer["accepted"] == events {
        return Ok(());
    }
    Err(format!("the gateway answered {status}: {answer}").into())
}
