//! Time that runs out: what the clocks of runs need of the record.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::RunId;
use rails::Facts;
use sqlx::Row;
use uuid::Uuid;

use crate::escalations::is_publishing;
use crate::micros::micros;
use crate::{Error, Item, LoadedRun, Record, Routed, Won, beyond, manifests};

/// A run of which a clock has run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpiredRun {
    /// The run.
    pub run: RunId,
    /// When the clock ran out.
    pub since: DateTime<Utc>,
}

impl Record {
    /// Keeps that a worker has the job of this visit of a run's step, which may take `running` from now on.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Unreadable`].
    pub async fn take_job(
        &self,
        run: &LoadedRun,
        visit: u32,
        running: Option<Duration>,
    ) -> Result<(), Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let mut kept = manifests::lock(&mut tx, std::iter::once(run)).await?;
        let Some(memory) = kept.remove(&run.run).map(|kept| kept.memory) else { return Ok(()) };
        let mut clocks = memory.clocks.clone();
        let taken = memory.now.is_some_and(|now| clocks.take(run.branch, visit, running, now));
        if taken {
            manifests::store(&mut tx, run.run, &rails::Memory { clocks, ..memory }).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))
    }

    /// Begins the manifest of a run that has none, and with it its clocks.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Unreadable`].
    pub async fn begin_manifest(&self, run: &LoadedRun) -> Result<(), Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        manifests::lock(&mut tx, std::iter::once(run)).await?;
        tx.commit().await.map_err(Error::sql("a commit"))
    }

    /// Runs of which a clock has run out, by PostgreSQL's clock, the longest first, after `cursor`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn expired_runs(
        &self,
        cursor: Option<ExpiredRun>,
        limit: i64,
    ) -> Result<Vec<ExpiredRun>, Error> {
        let rows = sqlx::query(
            "SELECT run_id, expires_at FROM manifests
             WHERE expires_at <= now() AND expires_at IS NOT NULL
               AND ($1::timestamptz IS NULL OR (expires_at, run_id) > ($1, $2))
             ORDER BY expires_at, run_id LIMIT $3",
        )
        .bind(cursor.map(|cursor| cursor.since))
        .bind(cursor.map(|cursor| cursor.run.0))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the runs whose time is over"))?;
        Ok(rows
            .iter()
            .map(|row| ExpiredRun { run: RunId(row.get("run_id")), since: row.get("expires_at") })
            .collect())
    }

    /// Runs of a version that stand at its first step and have no manifest, accepted longer ago than `after`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn unclocked_runs(
        &self,
        version: &str,
        step: &str,
        after: Duration,
        limit: i64,
    ) -> Result<Vec<RunId>, Error> {
        let runs: Vec<Uuid> = sqlx::query_scalar(
            "SELECT r.run_id FROM runs r
             WHERE r.pipeline_version = $1 AND r.step = $2 AND r.seq = 0
               AND r.state = 'running' AND r.state IN ('running', 'waiting', 'parked')
               AND r.received_at < now() - $3 * interval '1 microsecond'
               AND NOT EXISTS (SELECT FROM manifests m WHERE m.run_id = r.run_id)
             ORDER BY r.run_id LIMIT $4",
        )
        .bind(version)
        .bind(step)
        .bind(micros(after))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the runs without clocks"))?;
        Ok(runs.into_iter().map(RunId).collect())
    }

    /// Commits that a run's or branch's time is over. `None` where it moved on meanwhile, or a publication is under way; nothing
    /// was written then.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn expire<E: From<Error>>(
        &self,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Option<Won>, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        beyond::lock(&mut tx, item).await?;
        if is_publishing(&mut tx, item.run.run).await? {
            return Ok(None);
        }
        let won = beyond::act(&mut tx, &self.policies, item, route).await?;
        if won.is_some() {
            tx.commit().await.map_err(Error::sql("a commit"))?;
        }
        Ok(won)
    }
}
