//! Runs as people look at them.

use chrono::{DateTime, Utc};
use model::{RunId, RunState};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::{BranchView, Error, Record};

/// Which runs.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// The tenant; `None` for all, which only local work may ask.
    pub tenant: Option<String>,
    /// In this state.
    pub state: Option<RunState>,
    /// From this source.
    pub source: Option<String>,
    /// Older than this run: the last one of the page before.
    pub before: Option<RunId>,
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunSummary {
    /// Its id.
    pub run_id: RunId,
    /// The tenant.
    pub tenant: String,
    /// The event's source.
    pub source: String,
    /// The sender's id of the event.
    pub request_id: String,
    /// The planner's purpose.
    pub planner_intent: String,
    /// The pinned workflow version.
    pub pipeline_version: String,
    /// Its state.
    #[cfg_attr(feature = "openapi", schema(value_type = model::RunState))]
    pub state: String,
    /// Its content's lifecycle.
    #[cfg_attr(feature = "openapi", schema(value_type = model::Lifecycle))]
    pub lifecycle: String,
    /// Where it stands.
    pub step: String,
    /// Its transition counter.
    pub seq: i32,
    /// Handler failures at its step.
    pub attempt: i32,
    /// Why it stands there.
    pub reason: String,
    /// When the event was received.
    pub received_at: DateTime<Utc>,
    /// When its job is due.
    pub due_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// What it repeats.
    pub duplicate_of: Option<Uuid>,
    /// Its trend.
    pub enriched_trend_id: Option<Uuid>,
    /// Its W3C trace id.
    pub trace_id: Option<String>,
    /// The run whose event it takes through once more.
    pub rerun_of: Option<Uuid>,
    /// Whether its side effects are planned and shown, and not sent.
    pub dry_run: bool,
}

/// An artifact.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ArtifactView {
    /// The branch that made it; 0 is the run itself.
    pub branch: i32,
    /// The visit that made it.
    pub seq: i32,
    /// The step's id, or `content`.
    pub name: String,
    /// Its exact JSON.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub body: Box<RawValue>,
}

/// A link of the provenance chain.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProvenanceView {
    /// The branch whose chain it is of; 0 is the run itself.
    pub branch: i32,
    /// Its place there.
    pub pos: i32,
    /// What it says.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub entry: Box<RawValue>,
    /// Its hash, hexadecimal.
    pub hash: String,
}

/// A run with everything it left.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: RunSummary,
    /// Its artifacts, oldest first.
    pub artifacts: Vec<ArtifactView>,
    /// Its provenance.
    pub provenance: Vec<ProvenanceView>,
    /// Its branches, where it forked.
    pub branches: Vec<BranchView>,
}

const SUMMARY: &str = "SELECT r.run_id, r.tenant, e.source, e.request_id, i.purpose, r.pipeline_version, r.state, \
     r.lifecycle, r.step, r.seq, r.attempt, r.reason, r.received_at, r.due_at, r.ended_at, r.duplicate_of, \
     r.enriched_trend_id, r.traceparent, r.rerun_of, r.dry_run \
     FROM runs r JOIN events e USING (event_id) JOIN intents i USING (intent_id)";

fn summary(row: &PgRow) -> RunSummary {
    RunSummary {
        run_id: RunId(row.get("run_id")),
        tenant: row.get("tenant"),
        source: row.get("source"),
        request_id: row.get("request_id"),
        planner_intent: row.get("purpose"),
        pipeline_version: row.get("pipeline_version"),
        state: row.get("state"),
        lifecycle: row.get("lifecycle"),
        step: row.get("step"),
        seq: row.get("seq"),
        attempt: row.get("attempt"),
        reason: row.get("reason"),
        received_at: row.get("received_at"),
        due_at: row.get("due_at"),
        ended_at: row.get("ended_at"),
        duplicate_of: row.get("duplicate_of"),
        enriched_trend_id: row.get("enriched_trend_id"),
        trace_id: crate::trace_id(row.get::<Option<&str>, _>("traceparent")).map(str::to_owned),
        rerun_of: row.get("rerun_of"),
        dry_run: row.get::<Option<bool>, _>("dry_run").unwrap_or(false),
    }
}

impl Record {
    /// Runs, newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn runs(&self, filter: &RunFilter, limit: i64) -> Result<Vec<RunSummary>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "{SUMMARY} WHERE ($1::text IS NULL OR r.tenant = $1) AND ($2::text IS NULL OR r.state = $2)
               AND ($3::text IS NULL OR e.source = $3) AND ($4::uuid IS NULL OR r.run_id < $4)
             ORDER BY r.run_id DESC LIMIT $5"
        )))
        .bind(&filter.tenant)
        .bind(filter.state.map(RunState::as_str))
        .bind(&filter.source)
        .bind(filter.before.map(|run| run.0))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map(|rows| rows.iter().map(summary).collect())
        .map_err(Error::sql("the runs"))
    }

    /// One run.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn run(&self, run: RunId) -> Result<Option<RunSummary>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!("{SUMMARY} WHERE r.run_id = $1")))
            .bind(run.0)
            .fetch_optional(&self.pool)
            .await
            .map(|row| row.as_ref().map(summary))
            .map_err(Error::sql("a run"))
    }

    /// One run with its artifacts and provenance.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where an artifact or a link is no JSON.
    pub async fn run_detail(&self, run: RunId) -> Result<Option<RunDetail>, Error> {
        let Some(found) = self.run(run).await? else { return Ok(None) };
        let unreadable = |e: serde_json::Error| Error::unreadable(format_args!("run {run}"), e);
        let artifacts = sqlx::query(
            "SELECT branch, seq, name, body::text AS body FROM artifacts WHERE run_id = $1 ORDER BY branch, seq, name",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the artifacts of a run"))?
        .iter()
        .map(|row| {
            let body = RawValue::from_string(row.get("body")).map_err(unreadable)?;
            Ok(ArtifactView { branch: row.get("branch"), seq: row.get("seq"), name: row.get("name"), body })
        })
        .collect::<Result<_, Error>>()?;
        let provenance = sqlx::query(
            "SELECT branch, pos, body, hash FROM provenance_log WHERE run_id = $1 ORDER BY branch, pos",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the provenance of a run"))?
        .iter()
        .map(|row| {
            let entry = RawValue::from_string(row.get("body")).map_err(unreadable)?;
            Ok(ProvenanceView {
                branch: row.get("branch"),
                pos: row.get("pos"),
                entry,
                hash: hex::encode(row.get::<&[u8], _>("hash")),
            })
        })
        .collect::<Result<_, Error>>()?;
        let branches = self.branches(run).await?;
        Ok(Some(RunDetail { run: found, artifacts, provenance, branches }))
    }

    /// The runs that took the event of a run through once more, the newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn reruns_of(&self, run: RunId) -> Result<Vec<RunId>, Error> {
        let found: Vec<Uuid> =
            sqlx::query_scalar("SELECT run_id FROM runs WHERE rerun_of = $1 ORDER BY run_id DESC LIMIT 100")
                .bind(run.0)
                .fetch_all(&self.pool)
                .await
                .map_err(Error::sql("the runs after a run"))?;
        Ok(found.into_iter().map(RunId).collect())
    }

    /// How many runs stand in each state; of one tenant, where named.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn run_counts(&self, tenant: Option<&str>) -> Result<Vec<(String, i64)>, Error> {
        sqlx::query_as("SELECT state, count(*) FROM runs WHERE $1::text IS NULL OR tenant = $1 GROUP BY state ORDER BY state")
            .bind(tenant)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the count of runs"))
    }
}
