//! Backfills: the times of a schedule over a range, fired at a pace of their own.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::firings::{NewFiring, insert};
use crate::micros::micros;
use crate::{Error, Record};

/// A backfill that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackfill {
    /// A trigger with a schedule.
    pub trigger: String,
    /// Its tenant.
    pub tenant: String,
    /// Who asks.
    pub requested_by: String,
    /// The range; its end is not part of it.
    pub from: DateTime<Utc>,
    /// Its end, after its beginning.
    pub until: DateTime<Utc>,
    /// Between two firings.
    pub pause: Duration,
    /// Whether what happens in its runs is told to nobody and fires no trigger.
    pub quiet: bool,
}

/// A backfill of which a firing is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueBackfill {
    /// Its id.
    pub backfill_id: Uuid,
    /// The trigger.
    pub trigger: String,
    /// The trigger's tenant.
    pub tenant: String,
    /// Times from here on are still to be fired.
    pub next_for: DateTime<Utc>,
    /// Times from here on are not part of it.
    pub until: DateTime<Utc>,
    /// Between two firings.
    pub pause: Duration,
}

/// A backfill, as people see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Backfill {
    /// Its id.
    pub backfill_id: Uuid,
    /// The trigger.
    pub trigger: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When.
    pub requested_at: DateTime<Utc>,
    /// Times from here on are still to be fired.
    pub next_for: DateTime<Utc>,
    /// Times from here on are not part of it.
    pub until: DateTime<Utc>,
    /// Firings that it made, or made up for. Times that had a run before are not counted.
    pub fired: i64,
    /// Whether what happens in its runs is told to nobody and fires no trigger.
    pub quiet: bool,
    /// When it was done or stopped.
    pub ended_at: Option<DateTime<Utc>>,
    /// Who stopped it.
    pub stopped_by: Option<String>,
}

const COLUMNS: &str =
    "backfill_id, trigger, requested_by, requested_at, next_for, until, fired, quiet, ended_at, stopped_by";

impl Record {
    /// Begins a backfill.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn begin_backfill(&self, new: &NewBackfill) -> Result<Backfill, Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO backfills (backfill_id, trigger, tenant, requested_by, next_for, until, pause, quiet)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING {COLUMNS}"
        )))
        .bind(Uuid::now_v7())
        .bind(&new.trigger)
        .bind(&new.tenant)
        .bind(&new.requested_by)
        .bind(new.from)
        .bind(new.until)
        .bind(micros(new.pause))
        .bind(new.quiet)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("the beginning of a backfill"))?;
        Ok(shown(&row))
    }

    /// The tenant's backfills, the newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn backfills(&self, tenant: &str, limit: i64) -> Result<Vec<Backfill>, Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM backfills WHERE tenant = $1 ORDER BY backfill_id DESC LIMIT $2"
        )))
        .bind(tenant)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of backfills"))?;
        Ok(rows.iter().map(shown).collect())
    }

    /// Stops a backfill; what it fired stays. `None` where the tenant has no such backfill.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn stop_backfill(&self, tenant: &str, id: Uuid, by: &str) -> Result<Option<Backfill>, Error> {
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE backfills SET ended_at = coalesce(ended_at, now()),
                                  stopped_by = CASE WHEN ended_at IS NULL THEN $3 ELSE stopped_by END
             WHERE backfill_id = $1 AND tenant = $2 RETURNING {COLUMNS}"
        )))
        .bind(id)
        .bind(tenant)
        .bind(by)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the stop of a backfill"))?;
        Ok(row.as_ref().map(shown))
    }

    /// Backfills of active triggers whose next firing is due by PostgreSQL's clock. One waits while firings of it are open.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn due_backfills(&self) -> Result<Vec<DueBackfill>, Error> {
        let rows = sqlx::query(
            "SELECT b.backfill_id, b.trigger, b.tenant, b.next_for, b.until, b.pause
             FROM backfills b JOIN triggers t ON t.name = b.trigger AND t.active AND t.tenant = b.tenant
             WHERE b.ended_at IS NULL AND b.next_at <= now()
               AND NOT EXISTS (SELECT FROM firings f WHERE f.backfill_id = b.backfill_id AND f.outcome IS NULL)
             ORDER BY b.next_at",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of backfills"))?;
        Ok(rows
            .iter()
            .map(|row| DueBackfill {
                backfill_id: row.get("backfill_id"),
                trigger: row.get("trigger"),
                tenant: row.get("tenant"),
                next_for: row.get("next_for"),
                until: row.get("until"),
                pause: Duration::from_micros(row.get::<i64, _>("pause").unsigned_abs()),
            })
            .collect())
    }

    /// Stores firings of a backfill and moves it on to `next`, or ends it where there is none, in one transaction. Times that
    /// fired before and have no run fire again. `false` where another planner was faster, or a person stopped it.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn fire_backfill(
        &self,
        backfill: &DueBackfill,
        firings: &[NewFiring],
        next: Option<DateTime<Utc>>,
    ) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let moved = sqlx::query(
            "UPDATE backfills SET next_for = coalesce($3, until), next_at = now() + pause * interval '1 microsecond',
                                  ended_at = CASE WHEN $3 IS NULL THEN now() END
             WHERE backfill_id = $1 AND next_for = $2 AND ended_at IS NULL",
        )
        .bind(backfill.backfill_id)
        .bind(backfill.next_for)
        .bind(next)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("a backfill"))?;
        if moved.rows_affected() == 0 {
            return Ok(false);
        }
        let part_of =
            |firing: &NewFiring| NewFiring { backfill: Some(backfill.backfill_id), ..firing.clone() };
        let fired = take_over(&mut tx, backfill, firings).await?
            + insert(&mut tx, &firings.iter().map(part_of).collect::<Vec<_>>()).await?;
        sqlx::query("UPDATE backfills SET fired = fired + $2 WHERE backfill_id = $1")
            .bind(backfill.backfill_id)
            .bind(i64::try_from(fired).unwrap_or(i64::MAX))
            .execute(&mut *tx)
            .await
            .map_err(Error::sql("a backfill"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(true)
    }
}

/// Makes firings of these times part of a backfill that were suppressed, and those of the schedule that are open still, which
/// might be suppressed in a moment. How many.
async fn take_over(
    connection: &mut PgConnection,
    backfill: &DueBackfill,
    firings: &[NewFiring],
) -> Result<u64, Error> {
    let taken = sqlx::query(
        "UPDATE firings SET backfill_id = $1, meant_for = NULL, fired_at = now(),
                            outcome = NULL, reason = '', concluded_at = NULL
         WHERE trigger = $2 AND kind = 'scheduled' AND request_id = ANY($3)
           AND (outcome = 'suppressed' OR (outcome IS NULL AND backfill_id IS NULL))",
    )
    .bind(backfill.backfill_id)
    .bind(&backfill.trigger)
    .bind(firings.iter().map(|firing| firing.request_id.as_str()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map_err(Error::sql("the firings that a backfill makes up for"))?;
    Ok(taken.rows_affected())
}

fn shown(row: &PgRow) -> Backfill {
    Backfill {
        backfill_id: row.get("backfill_id"),
        trigger: row.get("trigger"),
        requested_by: row.get("requested_by"),
        requested_at: row.get("requested_at"),
        next_for: row.get("next_for"),
        until: row.get("until"),
        fired: row.get("fired"),
        quiet: row.get("quiet"),
        ended_at: row.get("ended_at"),
        stopped_by: row.get("stopped_by"),
    }
}
