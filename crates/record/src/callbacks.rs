//! Callbacks: whom the end of a run is told, where somebody asked for it, and the targets that can be asked for.

use model::RunId;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Record};

/// Notices made at once.
const GROUP: i64 = 1000;

impl Record {
    /// Makes exactly these the targets that a run's end can be told, each with its tenant, `*` for every one.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn register_targets(&self, targets: &[(&str, &str)]) -> Result<(), Error> {
        let (names, tenants): (Vec<&str>, Vec<&str>) = targets.iter().copied().unzip();
        sqlx::query(
            "WITH gone AS (DELETE FROM notification_targets WHERE name <> ALL($1))
             INSERT INTO notification_targets (name, tenant) SELECT * FROM UNNEST($1::text[], $2::text[])
             ON CONFLICT (name) DO UPDATE SET tenant = EXCLUDED.tenant",
        )
        .bind(names)
        .bind(tenants)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the registration of targets"))?;
        Ok(())
    }

    /// The targets that a tenant can have a run's end told to.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn targets(&self, tenant: &str) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("SELECT name FROM notification_targets WHERE tenant IN ($1, '*') ORDER BY name")
            .bind(tenant)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the targets"))
    }

    /// Makes a notice of each run that ended and whose end somebody asked for; how many. A crash leaves them to the next
    /// call.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn notice_ended_runs(&self) -> Result<u64, Error> {
        let made = sqlx::query(
            "WITH ended AS (
                 SELECT c.run_id, c.target, r.tenant, r.seq, r.state, r.lifecycle, r.step, r.reason, r.pipeline_version,
                        r.ended_at, r.rerun_of, coalesce(r.dry_run, false) AS dry_run, e.request_id
                 FROM callbacks c JOIN runs r USING (run_id) JOIN events e USING (event_id)
                 WHERE c.told_at IS NULL AND r.ended_at IS NOT NULL ORDER BY c.run_id LIMIT $1
                 FOR UPDATE OF c SKIP LOCKED),
             told AS (
                 UPDATE callbacks c SET told_at = now() FROM ended WHERE c.run_id = ended.run_id)
             INSERT INTO notices (notice_id, kind, subject, tenant, run_id, detail)
             SELECT gen_random_uuid(), 'run_ended', run_id || '/' || seq, tenant, run_id,
                    json_build_object('target', target, 'state', state, 'lifecycle', lifecycle, 'step', step,
                                      'reason', reason, 'pipeline_version', pipeline_version, 'request_id', request_id,
                                      'rerun_of', rerun_of, 'dry_run', dry_run, 'ended_at', ended_at)
             FROM ended ON CONFLICT DO NOTHING",
        )
        .bind(GROUP)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the notices of ended runs"))?;
        Ok(made.rows_affected())
    }

    /// Whom a run's end is told.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn callback_of(&self, run: RunId) -> Result<Option<String>, Error> {
        let row = sqlx::query("SELECT target FROM callbacks WHERE run_id = $1")
            .bind(run.0)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::sql("a callback"))?;
        Ok(row.map(|row| row.get("target")))
    }
}

/// Has the end of a run told.
pub(crate) async fn ask(connection: &mut PgConnection, run: RunId, target: &str) -> Result<(), Error> {
    sqlx::query("INSERT INTO callbacks (run_id, target) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(run.0)
        .bind(target)
        .execute(connection)
        .await
        .map_err(Error::sql("a callback"))?;
    Ok(())
}

/// A run that goes on ends again, which is told again.
pub(crate) async fn expect_another_end(connection: &mut PgConnection, run: RunId) -> Result<(), Error> {
    sqlx::query("UPDATE callbacks SET told_at = NULL WHERE run_id = $1 AND told_at IS NOT NULL")
        .bind(run.0)
        .execute(connection)
        .await
        .map_err(Error::sql("a callback"))?;
    Ok(())
}

/// Whoever waits for the end of a run waits for that of its successor.
pub(crate) async fn hand_on(connection: &mut PgConnection, from: Uuid, to: Uuid) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO callbacks (run_id, target) SELECT $2, target FROM callbacks WHERE run_id = $1
         ON CONFLICT DO NOTHING",
    )
    .bind(from)
    .bind(to)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("a callback"))?;
    sqlx::query("UPDATE callbacks SET told_at = now() WHERE run_id = $1 AND told_at IS NULL")
        .bind(from)
        .execute(connection)
        .await
        .map_err(Error::sql("a callback"))?;
    Ok(())
}
