//! What a worker loads before it handles: its runs with their inputs, in one statement.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{AlteredContent, Job, JobKey, Lifecycle, RunId, RunState, Sha256Digest, StoredContent, sha256};
use rails::{Memory, Standing};
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{Error, OutstandingRun, Record};

/// A branch of a run; 0 is the run itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BranchKey {
    /// The run.
    pub run: RunId,
    /// The branch.
    pub branch: i32,
}

impl BranchKey {
    /// The run itself.
    #[must_use]
    pub fn trunk(run: RunId) -> Self {
        Self { run, branch: 0 }
    }
}

impl From<JobKey> for BranchKey {
    fn from(key: JobKey) -> Self {
        Self { run: key.run, branch: key.branch }
    }
}

/// A run as it stood when it was loaded.
#[derive(Debug, Clone)]
pub struct LoadedRun {
    /// The run.
    pub run: RunId,
    /// Its branch; 0 is the run itself. State, step, seq, attempt, chain and due time are the branch's own.
    pub branch: i32,
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
    /// The event's id as its sender gave it, or the run's where there was none.
    pub request_id: String,
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
    /// Whether its side effects are planned and shown, and not sent.
    pub dry_run: bool,
    /// W3C trace context: the one it began with, or of the last that happened before it stood still.
    pub traceparent: Option<String>,
    /// How long until its job is due, by PostgreSQL's clock; zero where it is due.
    pub due_in: Duration,
    /// When the event was received.
    pub received_at: DateTime<Utc>,
    /// The event's payload, where asked for.
    pub payload: Option<Vec<u8>>,
    /// The asked-for artifacts, those of a branch oldest first, as (name, JSON).
    pub artifacts: Vec<(String, String)>,
    /// What its manifest keeps, exactly where its workflow keeps one; filled in by whoever knows the workflow, from
    /// [`Record::manifests`].
    pub memory: Option<Box<Memory>>,
}

impl LoadedRun {
    /// Which branch of which run it is.
    #[must_use]
    pub fn key(&self) -> BranchKey {
        BranchKey { run: self.run, branch: self.branch }
    }

    /// The job that it should have while it is running.
    #[must_use]
    pub fn outstanding(&self) -> OutstandingRun {
        OutstandingRun {
            job: Job {
                key: JobKey { run: self.run, branch: self.branch, seq: self.seq },
                step: self.step.clone(),
                attempt: self.attempt,
                traceparent: self.traceparent.clone(),
                enriched_trend_id: self.enriched_trend_id,
            },
            pipeline_version: self.pipeline_version.clone(),
            partition: self.partition,
            due_in: self.due_in,
        }
    }

    /// The newest artifact of this name. A step is of one branch, content may come from any: it is the one that the run is
    /// bound to, where that is there.
    #[must_use]
    pub fn artifact(&self, name: &str) -> Option<&str> {
        let mut named = self.artifacts.iter().rev().filter(|(n, _)| n == name).map(|(_, body)| body.as_str());
        let newest = named.next()?;
        match self.content_sha256 {
            Some(bound) if name == "content" && sha256(&[newest.as_bytes()]) != bound => {
                Some(named.find(|body| sha256(&[body.as_bytes()]) == bound).unwrap_or(newest))
            }
            _ => Some(newest),
        }
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
            branch: self.branch,
            state: self.state,
            lifecycle: self.lifecycle,
            step: &self.step,
            attempt: self.attempt,
            content: self.content_sha256,
            dry_run: self.dry_run,
        }
    }
}

impl Record {
    /// Loads a run, with the artifacts of these names; `None` where it does not exist.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where its row holds a name of another version.
    pub async fn load_one(&self, run: RunId, artifacts: &[String]) -> Result<Option<LoadedRun>, Error> {
        self.load_branch(BranchKey::trunk(run), artifacts).await
    }

    /// Loads a branch of a run, with the artifacts of these names; `None` where it does not exist.
    ///
    /// # Errors
    /// As [`Record::load_one`].
    pub async fn load_branch(
        &self,
        key: BranchKey,
        artifacts: &[String],
    ) -> Result<Option<LoadedRun>, Error> {
        self.load(&[key], false, artifacts).await?.pop().map(|(_, run)| run).transpose()
    }

    /// Loads runs and branches of runs, with the event's payload and the artifacts of these names where wanted; what does
    /// not exist is left out. A row that holds a name of another version is [`Error::Unreadable`], alone.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn load(
        &self,
        keys: &[BranchKey],
        payload: bool,
        artifacts: &[String],
    ) -> Result<Vec<(BranchKey, Result<LoadedRun, Error>)>, Error> {
        let runs: BTreeSet<Uuid> = keys.iter().map(|key| key.run.0).collect();
        let rows = sqlx::query(
            "SELECT r.run_id, r.event_id, r.intent_id, i.purpose, r.tenant, r.region, e.source, e.request_id,
                    r.pipeline_version,
                    r.state, r.lifecycle, r.step, r.seq, r.attempt, r.chain_head, r.chain_len, r.partition,
                    r.content_sha256, r.enriched_trend_id, r.traceparent, r.received_at, r.dry_run,
                    greatest(0, extract(epoch FROM r.due_at - now()) * 1000)::bigint AS due_in_ms,
                    CASE WHEN $2 THEN e.payload END AS payload, a.names, a.bodies
             FROM runs r
             JOIN events e USING (event_id)
             JOIN intents i USING (intent_id)
             LEFT JOIN LATERAL (
                 SELECT array_agg(name ORDER BY branch, seq) AS names,
                        array_agg(body::text ORDER BY branch, seq) AS bodies
                 FROM artifacts WHERE run_id = r.run_id AND name = ANY($3)
             ) a ON cardinality($3) > 0
             WHERE r.run_id = ANY($1)",
        )
        .bind(runs.into_iter().collect::<Vec<_>>())
        .bind(payload)
        .bind(artifacts)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the load of runs"))?;
        let branches = self.load_branches(keys).await?;
        let rows: HashMap<RunId, &PgRow> = rows.iter().map(|row| (RunId(row.get("run_id")), row)).collect();
        Ok(keys
            .iter()
            .filter_map(|key| {
                let row = *rows.get(&key.run)?;
                let run = if key.branch == 0 {
                    read(row)
                } else {
                    let branch = branches.get(key)?;
                    read(row).and_then(|run| of_branch(run, branch))
                };
                Some((*key, run))
            })
            .collect())
    }

    /// The rows of those of the keys that are branches of runs; no statement where none is.
    async fn load_branches(&self, keys: &[BranchKey]) -> Result<HashMap<BranchKey, PgRow>, Error> {
        let (runs, numbers): (Vec<Uuid>, Vec<i32>) =
            keys.iter().filter(|key| key.branch != 0).map(|key| (key.run.0, key.branch)).unzip();
        if runs.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = sqlx::query(
            "SELECT run_id, branch, state, step, seq, attempt, chain_head, chain_len, traceparent,
                    greatest(0, extract(epoch FROM due_at - now()) * 1000)::bigint AS due_in_ms
             FROM run_branches JOIN UNNEST($1::uuid[], $2::int[]) AS k(run_id, branch) USING (run_id, branch)",
        )
        .bind(runs)
        .bind(numbers)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the load of branches"))?;
        let key = |row: &PgRow| BranchKey { run: RunId(row.get("run_id")), branch: row.get("branch") };
        Ok(rows.into_iter().map(|row| (key(&row), row)).collect())
    }
}

/// A run as one of its branches sees it.
fn of_branch(run: LoadedRun, row: &PgRow) -> Result<LoadedRun, Error> {
    let branch: i32 = row.get("branch");
    let name = format!("branch {branch} of run {}", run.run);
    Ok(LoadedRun {
        branch,
        state: row.get::<&str, _>("state").parse().map_err(|e| Error::unreadable(&name, e))?,
        step: row.get("step"),
        seq: row.get("seq"),
        attempt: row.get("attempt"),
        chain_head: Sha256Digest::from_slice(row.get("chain_head"))
            .ok_or_else(|| Error::unreadable(&name, "its chain head is no SHA-256"))?,
        chain_len: row.get("chain_len"),
        due_in: Duration::from_millis(row.get::<i64, _>("due_in_ms").unsigned_abs()),
        traceparent: row.get::<Option<String>, _>("traceparent").or(run.traceparent),
        ..run
    })
}

fn read(row: &PgRow) -> Result<LoadedRun, Error> {
    let run = RunId(row.get("run_id"));
    let unreadable = |why: &dyn std::fmt::Display| Error::unreadable(format_args!("run {run}"), why);
    let digest = |bytes: Vec<u8>| Sha256Digest::from_slice(&bytes);
    let names: Option<Vec<String>> = row.get("names");
    let bodies: Option<Vec<String>> = row.get("bodies");
    Ok(LoadedRun {
        run,
        branch: 0,
        event_id: row.get("event_id"),
        intent_id: row.get("intent_id"),
        planner_intent: row.get("purpose"),
        tenant: row.get("tenant"),
        region: row.get("region"),
        source: row.get("source"),
        request_id: row.get("request_id"),
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
        dry_run: row.get::<Option<bool>, _>("dry_run").unwrap_or(false),
        traceparent: row.get("traceparent"),
        due_in: Duration::from_millis(row.get::<i64, _>("due_in_ms").unsigned_abs()),
        received_at: row.get("received_at"),
        payload: row.get("payload"),
        artifacts: names.unwrap_or_default().into_iter().zip(bodies.unwrap_or_default()).collect(),
        memory: None,
    })
}
