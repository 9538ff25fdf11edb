//! Escalations, and the decisions of people on runs: each one transaction, under the run's lock.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use model::RunId;
use rails::{Facts, GatePolicies};
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Item, LoadedRun, Record, Routed, Won, beyond, callbacks, dead_letters, work_orders};

/// A question to a person.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Escalation {
    /// Its id.
    pub escalation_id: Uuid,
    /// The run that waits.
    pub run_id: RunId,
    /// The branch that asks; 0 is the run itself.
    pub branch: i32,
    /// The branch's `seq` when it was asked; a decision names it, so that a stale one is seen.
    pub version: i32,
    /// The tenant.
    pub tenant: String,
    /// What kind of doubt.
    pub issue_type: String,
    /// In words.
    pub question: String,
    /// The condition that raised it.
    pub rule: Option<String>,
    /// The values it read and its threshold.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub evidence: Box<RawValue>,
    /// `normal`, or `high` once the due time has passed.
    pub priority: String,
    /// When it was asked.
    pub opened_at: DateTime<Utc>,
    /// Until when a person should decide.
    pub due_at: DateTime<Utc>,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
    /// How.
    pub resolution: Option<String>,
    /// By whom.
    pub resolved_by: Option<String>,
    /// What they noted.
    pub note: Option<String>,
}

/// How an escalation ends.
#[derive(Debug, Clone, Copy)]
pub struct Resolution<'a> {
    /// The escalation.
    pub escalation: Uuid,
    /// `approve`, `reject`, `edit`, `send_back`, `override`, `top_up`, `cheaper`, `finish` or `stop`.
    pub resolution: &'a str,
    /// Who decided.
    pub by: &'a str,
    /// What they noted.
    pub note: Option<&'a str>,
}

/// What came of a cancellation, or of a pause.
#[derive(Debug)]
pub enum Cancelled {
    /// The run is cancelled, or held back.
    Done,
    /// It will be, once what was done is undone.
    Undoing(Won),
    /// The run moved on meanwhile; nothing was written.
    Stale,
    /// A publication is under way; nothing was written.
    Publishing,
}

impl Cancelled {
    pub(crate) fn is_written(&self) -> bool {
        matches!(self, Self::Done | Self::Undoing(_))
    }
}

const COLUMNS: &str = "escalation_id, run_id, branch, seq, tenant, issue_type, question, rule, evidence::text AS evidence, \
                       priority, opened_at, due_at, resolved_at, resolution, resolved_by, note";

fn read(row: &PgRow) -> Result<Escalation, Error> {
    let escalation_id: Uuid = row.get("escalation_id");
    let evidence = RawValue::from_string(row.get("evidence"))
        .map_err(|e| Error::unreadable(format_args!("escalation {escalation_id}"), e))?;
    Ok(Escalation {
        escalation_id,
        run_id: RunId(row.get("run_id")),
        branch: row.get("branch"),
        version: row.get("seq"),
        tenant: row.get("tenant"),
        issue_type: row.get("issue_type"),
        question: row.get("question"),
        rule: row.get("rule"),
        evidence,
        priority: row.get("priority"),
        opened_at: row.get("opened_at"),
        due_at: row.get("due_at"),
        resolved_at: row.get("resolved_at"),
        resolution: row.get("resolution"),
        resolved_by: row.get("resolved_by"),
        note: row.get("note"),
    })
}

impl Record {
    /// Open escalations, the most pressing first; of one tenant, where named.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the evidence of one is no JSON.
    pub async fn open_escalations(&self, tenant: Option<&str>, limit: i64) -> Result<Vec<Escalation>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM escalations WHERE resolved_at IS NULL AND ($1::text IS NULL OR tenant = $1)
             ORDER BY priority, due_at LIMIT $2"
        )))
        .bind(tenant)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the escalations"))?
        .iter()
        .map(read)
        .collect()
    }

    /// One escalation.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the evidence of one is no JSON.
    pub async fn escalation(&self, id: Uuid) -> Result<Option<Escalation>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM escalations WHERE escalation_id = $1"
        )))
        .bind(id)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("an escalation"))?
        .map(|row| read(&row))
        .transpose()
    }

    /// What is open about a run and its branches, the run itself first.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the evidence of one is no JSON.
    pub async fn escalations_of(&self, run: RunId) -> Result<Vec<Escalation>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM escalations WHERE run_id = $1 AND resolved_at IS NULL ORDER BY branch, seq DESC"
        )))
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the escalations of a run"))?
        .iter()
        .map(read)
        .collect()
    }

    /// Commits a decision: the escalation's end, the approval and the transition, in one transaction. `None` where the
    /// escalation was resolved before or the run moved on; nothing was written then, and the first decision stands.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn resolve<E: From<Error>>(
        &self,
        resolution: Resolution<'_>,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Option<Won>, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let Some(won) = beyond::act(&mut tx, &self.policies, item, route).await? else { return Ok(None) };
        let ended = sqlx::query(
            "UPDATE escalations SET resolved_at = now(), resolution = $2, resolved_by = $3, note = $4
             WHERE escalation_id = $1 AND resolved_at IS NULL AND seq = $5",
        )
        .bind(resolution.escalation)
        .bind(resolution.resolution)
        .bind(resolution.by)
        .bind(resolution.note)
        .bind(item.run.seq)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the end of an escalation"))?;
        if ended.rows_affected() != 1 {
            return Ok(None);
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Some(won))
    }

    /// Commits a cancellation, with the end of what was asked about the run. The run is locked first, as a claim does,
    /// so that either the claim or the cancellation sees the other.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn cancel<E: From<Error>>(
        &self,
        by: &str,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Cancelled, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let cancelled = cancel_within(&mut tx, &self.policies, by, item, route).await?;
        if cancelled.is_written() {
            tx.commit().await.map_err(Error::sql("a commit"))?;
        }
        Ok(cancelled)
    }

    /// Commits that a running run is held back. The run is locked first, as for a cancellation.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn park<E: From<Error>>(
        &self,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Cancelled, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        beyond::lock(&mut tx, item).await?;
        if is_publishing(&mut tx, item.run.run).await? {
            return Ok(Cancelled::Publishing);
        }
        if beyond::act(&mut tx, &self.policies, item, route).await?.is_none() {
            return Ok(Cancelled::Stale);
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Cancelled::Done)
    }
    /// Commits the return of an ended run to life; `None` where it moved on.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn replay<E: From<Error>>(
        &self,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Option<Won>, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let won = beyond::act(&mut tx, &self.policies, item, route).await?;
        if won.is_some() {
            dead_letters::mark_replayed(&mut tx, item.run.key()).await?;
            callbacks::expect_another_end(&mut tx, item.run.run).await?;
            // A run that was held back goes on with what it had handed out; only another life begins anew.
            if item.run.memory.is_some() && !item.run.state.is_open() {
                work_orders::close_all(&mut tx, item.run.key()).await?;
            }
            tx.commit().await.map_err(Error::sql("a commit"))?;
        }
        Ok(won)
    }
}

/// Ends a run and what was asked about it, in a transaction that is committed only where [`Cancelled::is_written`].
pub(crate) async fn cancel_within<E: From<Error>>(
    connection: &mut PgConnection,
    policies: &Arc<GatePolicies>,
    by: &str,
    item: &Item,
    route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
) -> Result<Cancelled, E> {
    let run = item.run.run;
    beyond::lock(connection, item).await?;
    if is_publishing(connection, run).await? {
        return Ok(Cancelled::Publishing);
    }
    // Before the transition: the undoing that it begins may ask a person.
    sqlx::query(
        "UPDATE escalations SET resolved_at = now(), resolution = 'cancelled', resolved_by = $2
         WHERE run_id = $1 AND resolved_at IS NULL",
    )
    .bind(run.0)
    .bind(by)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the end of an escalation"))?;
    let Some(won) = beyond::act(connection, policies, item, route).await? else {
        return Ok(Cancelled::Stale);
    };
    Ok(if won.routed.transition.state.is_open() { Cancelled::Undoing(won) } else { Cancelled::Done })
}

pub(crate) async fn is_publishing(connection: &mut PgConnection, run: RunId) -> Result<bool, Error> {
    sqlx::query("SELECT 1 FROM runs WHERE run_id = $1 FOR UPDATE")
        .bind(run.0)
        .execute(&mut *connection)
        .await
        .map_err(Error::sql("the lock of a run"))?;
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM publications WHERE run_id = $1 AND state = 'sent')")
        .bind(run.0)
        .fetch_one(connection)
        .await
        .map_err(Error::sql("the look-up of publications"))
}
