//! What a worker loads before it handles: its runs with their inputs, in one statement.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{AlteredContent, Lifecycle, RunId, RunState, Sha256Digest, StoredContent};
use rails::Standing;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Error, Record};

/// A run as it stood when it was loaded.
#[derive(Debug, Clone)]
pub struct LoadedRun {
    /// The run.
    pub run: RunId,
    /// The event it began with.
    pub event_id: Uuid,
    /// The intent it serves.
    pub intent_id: Uuid,
    /// The intent's purpose.
    pub planner_intent: String,
    /// The tenant.
    pub tenant: String,
    /// The region.
    pub region: String,
    /// The event's source.
    pub source: String,
    /// The pinned workflow version.
    pub pipeline_version: String,
    /// Its state.
    pub state: RunState,
    /// Its content's lifecycle.
    pub lifecycle: Lifecycle,
    /// Where it stands.
    pub step: String,
    /// Its transition counter.
    pub seq: i32,
    /// Handler failures at this step.
    pub attempt: i32,
    /// The last link's hash.
    pub chain_head: Sha256Digest,
    /// How many links there are.
    pub chain_len: i32,
    /// The stream partition it lives in.
    pub partition: u16,
    /// Digest of its present content.
    pub content_sha256: Option<Sha256Digest>,
    /// Its trend, once there is one.
    pub enriched_trend_id: Option<Uuid>,
    /// W3C trace context: the one it began with, or of the last that happened before it stood still.
    pub traceparent: Option<String>,
    /// How long until its job is due, by PostgreSQL's clock; zero where it is due.
    pub due_in: Duration,
    /// When the event was received.
    pub received_at: DateTime<Utc>,
    /// The event's payload, where asked for.
    pub payload: Option<Vec<u8>>,
    /// The asked-for artifacts, oldest first, as (name, JSON).
    pub artifacts: Vec<(String, String)>,
}

impl LoadedRun {
    /// The newest artifact of this name.
    #[must_use]
    pub fn artifact(&self, name: &str) -> Option<&str> {
        self.artifacts.iter().rev().find(|(n, _)| n == name).map(|(_, body)| body.as_str())
    }

    /// Its content, where it has some and it was asked for.
    ///
    /// # Errors
    /// [`AlteredContent`], permanent.
    pub fn content(&self) -> Result<Option<StoredContent>, AlteredContent> {
        let stored = self.artifact("content").zip(self.content_sha256);
        stored.map(|(json, bound)| StoredContent::read(json, bound)).transpose()
    }

    /// What the rails look at.
    #[must_use]
    pub fn standing(&self) -> Standing<'_> {
        Standing {
            run: self.run,
            state: self.state,
            lifecycle: self.lifecycle,
            step: &self.step,
            attempt: self.attempt,
            content: self.content_sha256,
        }
    }
}

impl Record {
    /// Loads a run, with the artifacts of these names; `None` where it does not exist.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where its row holds a name of another version.
    pub async fn load_one(&self, run: RunId, artifacts: &[String]) -> Result<Option<LoadedRun>, Error> {
        self.load(&[run], false, artifacts).await?.pop().map(|(_, run)| run).transpose()
    }

    /// Loads runs, with the event's payload and the artifacts of these names where wanted; runs that do not exist are
    /// left out. A row that holds a name of another version is [`Error::Unreadable`], alone.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn load(
        &self,
        runs: &[RunId],
        payload: bool,
        artifacts: &[String],
    ) -> Result<Vec<(RunId, Result<LoadedRun, Error>)>, Error> {
        let ids: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
        let rows = sqlx::query(
            "SELECT r.run_id, r.event_id, r.intent_id, i.purpose, r.tenant, r.region, e.source, r.pipeline_version,
                    r.state, r.lifecycle, r.step, r.seq, r.attempt, r.chain_head, r.chain_len, r.partition,
                    r.content_sha256, r.enriched_trend_id, r.traceparent, r.received_at,
                    greatest(0, extract(epoch FROM r.due_at - now()) * 1000)::bigint AS due_in_ms,
                    CASE WHEN $2 THEN e.payload END AS payload, a.names, a.bodies
             FROM runs r
             JOIN events e USING (event_id)
             JOIN intents i USING (intent_id)
             LEFT JOIN LATERAL (
                 SELECT array_agg(name ORDER BY seq) AS names, array_agg(body::text ORDER BY seq) AS bodies
                 FROM artifacts WHERE run_id = r.run_id AND branch = 0 AND name = ANY($3)
             ) a ON cardinality($3) > 0
             WHERE r.run_id = ANY($1)",
        )
        .bind(ids)
        .bind(payload)
        .bind(artifacts)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the load of runs"))?;
        Ok(rows.iter().map(|row| (RunId(row.get("run_id")), read(row))).collect())
    }
}

fn read(row: &PgRow) -> Result<LoadedRun, Error> {
    let run = RunId(row.get("run_id"));
    let unreadable = |why: &dyn std::fmt::Display| Error::unreadable(format_args!("run {run}"), why);
    let digest = |bytes: Vec<u8>| Sha256Digest::from_slice(&bytes);
    let names: Option<Vec<String>> = row.get("names");
    let bodies: Option<Vec<String>> = row.get("bodies");
    Ok(LoadedRun {
        run,
        event_id: row.get("event_id"),
        intent_id: row.get("intent_id"),
        planner_intent: row.get("purpose"),
        tenant: row.get("tenant"),
        region: row.get("region"),
        source: row.get("source"),
        pipeline_version: row.get("pipeline_version"),
        state: row.get::<&str, _>("state").parse().map_err(|e| unreadable(&e))?,
        lifecycle: row.get::<&str, _>("lifecycle").parse().map_err(|e| unreadable(&e))?,
        step: row.get("step"),
        seq: row.get("seq"),
        attempt: row.get("attempt"),
        chain_head: digest(row.get("chain_head"))
            .ok_or_else(|| unreadable(&"its chain head is no SHA-256"))?,
        chain_len: row.get("chain_len"),
        partition: row.get::<i16, _>("partition").unsigned_abs(),
        content_sha256: row.get::<Option<Vec<u8>>, _>("content_sha256").and_then(digest),
        enriched_trend_id: row.get("enriched_trend_id"),
        traceparent: row.get("traceparent"),
        due_in: Duration::from_millis(row.get::<i64, _>("due_in_ms").unsigned_abs()),
        received_at: row.get("received_at"),
        payload: row.get("payload"),
        artifacts: names.unwrap_or_default().into_iter().zip(bodies.unwrap_or_default()).collect(),
    })
}
