//! Which version of each workflow new runs begin with, and what becomes of those that are open on others.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::RunId;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::workflows::EVERY_TENANT;
use crate::{Error, Record};

/// What becomes of runs that are open on other versions of the workflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OlderRuns {
    /// They go on with their own version.
    #[default]
    Finish,
    /// They are cancelled, and their events go through the new version, with what artifacts still fit and no approval.
    Migrate,
    /// They are cancelled.
    Cancel,
}

impl OlderRuns {
    /// The name that API and tables use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finish => "finish",
            Self::Migrate => "migrate",
            Self::Cancel => "cancel",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Finish, Self::Migrate, Self::Cancel].into_iter().find(|one| one.as_str() == text)
    }
}

/// A version that is to be used from now on.
#[derive(Debug, Clone, Copy)]
pub struct NewActivation<'a> {
    /// For whom.
    pub tenant: &'a str,
    /// The workflow's name.
    pub name: &'a str,
    /// The version.
    pub pipeline_version: &'a str,
    /// Who activates it.
    pub by: &'a str,
    /// What becomes of runs that are open on others.
    pub runs: OlderRuns,
}

/// An activation, and how far it has got with the runs on other versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Activation {
    /// Its id.
    pub activation_id: Uuid,
    /// The workflow's name.
    pub name: String,
    /// The version that new runs begin with from then on.
    pub pipeline_version: String,
    /// The version before.
    pub previous: Option<String>,
    /// By whom.
    pub activated_by: String,
    /// When.
    pub activated_at: DateTime<Utc>,
    /// `finish`, `migrate` or `cancel`: what becomes of runs on other versions.
    pub runs: String,
    /// Runs that were open on other versions then.
    pub open_runs: i64,
    /// Runs that were migrated or cancelled since.
    pub dealt_with: i64,
    /// Why some were not yet.
    pub reason: Option<String>,
    /// When nothing more was left to do.
    pub finished_at: Option<DateTime<Utc>>,
    /// Whether a later activation put an end to it.
    pub superseded: bool,
}

/// An activation whose runs are still to be dealt with.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenActivation {
    /// Its id.
    pub activation_id: Uuid,
    /// Whose runs.
    pub tenant: String,
    /// The workflow's name.
    pub name: String,
    /// The version to go on with.
    pub pipeline_version: String,
    /// Who activated it.
    pub activated_by: String,
    /// What becomes of them.
    pub runs: OlderRuns,
    /// How long ago it was, by PostgreSQL's clock, in seconds.
    pub age: f64,
}

const COLUMNS: &str = "activation_id, name, pipeline_version, previous, activated_by, activated_at, runs, open_runs, \
                       dealt_with, reason, finished_at, superseded";

fn read(row: &PgRow) -> Activation {
    Activation {
        activation_id: row.get("activation_id"),
        name: row.get("name"),
        pipeline_version: row.get("pipeline_version"),
        previous: row.get("previous"),
        activated_by: row.get("activated_by"),
        activated_at: row.get("activated_at"),
        runs: row.get("runs"),
        open_runs: row.get("open_runs"),
        dealt_with: row.get("dealt_with"),
        reason: row.get("reason"),
        finished_at: row.get("finished_at"),
        superseded: row.get("superseded"),
    }
}

impl Record {
    /// Makes a version the one that new runs begin with. One at a time for a name; a later one puts an end to what an
    /// earlier one had still to do.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn activate_workflow(&self, new: &NewActivation<'_>) -> Result<Activation, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let previous = lock(&mut tx, new).await?;
        let made = activate(&mut tx, new, previous.as_deref()).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(made)
    }

    /// Makes a version the one of every tenant that activated none itself; where it is already, nothing changes. For the
    /// planners' configuration: runs on other versions finish.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn activate_configured(&self, name: &str, version: &str, by: &str) -> Result<bool, Error> {
        let new = NewActivation {
            tenant: EVERY_TENANT,
            name,
            pipeline_version: version,
            by,
            runs: OlderRuns::Finish,
        };
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let previous = lock(&mut tx, &new).await?;
        if previous.as_deref() == Some(version) {
            return Ok(false);
        }
        activate(&mut tx, &new, previous.as_deref()).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(true)
    }

    /// Every active version: tenant → name → version.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn active_workflows(&self) -> Result<HashMap<String, HashMap<String, String>>, Error> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT tenant, name, pipeline_version FROM active_workflows")
                .fetch_all(&self.pool)
                .await
                .map_err(Error::sql("the active workflows"))?;
        let mut active: HashMap<String, HashMap<String, String>> = HashMap::new();
        for (tenant, name, version) in rows {
            active.entry(tenant).or_default().insert(name, version);
        }
        Ok(active)
    }

    /// The activations of a workflow that concern a tenant, the newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn activations(&self, tenant: &str, name: &str, limit: i64) -> Result<Vec<Activation>, Error> {
        let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM activations WHERE tenant IN ($1, '*') AND name = $2
             ORDER BY activation_id DESC LIMIT $3"
        )))
        .bind(tenant)
        .bind(name)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the activations of a workflow"))?;
        Ok(rows.iter().map(read).collect())
    }

    /// Activations whose runs are still to be dealt with, the oldest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn open_activations(&self) -> Result<Vec<OpenActivation>, Error> {
        let rows = sqlx::query(
            "SELECT activation_id, tenant, name, pipeline_version, activated_by, runs,
                    extract(epoch FROM now() - activated_at)::float8 AS age
             FROM activations WHERE finished_at IS NULL ORDER BY activated_at",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the unfinished activations"))?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(OpenActivation {
                    activation_id: row.get("activation_id"),
                    tenant: row.get("tenant"),
                    name: row.get("name"),
                    pipeline_version: row.get("pipeline_version"),
                    activated_by: row.get("activated_by"),
                    runs: OlderRuns::parse(row.get("runs"))?,
                    age: row.get("age"),
                })
            })
            .collect())
    }

    /// Open runs of an activation's tenant on other versions of its workflow, in id order after `after`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn runs_on_other_versions(
        &self,
        of: &OpenActivation,
        after: Option<RunId>,
        limit: i64,
    ) -> Result<Vec<RunId>, Error> {
        let runs: Vec<Uuid> = sqlx::query_scalar(
            "SELECT r.run_id FROM runs r JOIN workflows w USING (pipeline_version)
             WHERE r.state IN ('running', 'waiting', 'parked') AND r.tenant = $1 AND w.name = $2
               AND r.pipeline_version <> $3 AND r.run_id > $4
             ORDER BY r.run_id LIMIT $5",
        )
        .bind(&of.tenant)
        .bind(&of.name)
        .bind(&of.pipeline_version)
        .bind(after.map_or(Uuid::nil(), |run| run.0))
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the runs on other versions"))?;
        Ok(runs.into_iter().map(RunId).collect())
    }

    /// Notes why runs are left, or that none is.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn note_activation(
        &self,
        activation: Uuid,
        reason: Option<&str>,
        finished: bool,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE activations SET reason = $2, finished_at = CASE WHEN $3 THEN now() END
             WHERE activation_id = $1 AND finished_at IS NULL AND ($3 OR reason IS DISTINCT FROM $2)",
        )
        .bind(activation)
        .bind(reason)
        .bind(finished)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the note of an activation"))?;
        Ok(())
    }
}

/// Counts one run more as dealt with; `false` where a later activation put an end to this one.
pub(crate) async fn count_one(connection: &mut PgConnection, activation: Uuid) -> Result<bool, Error> {
    let counted = sqlx::query(
        "UPDATE activations SET dealt_with = dealt_with + 1 WHERE activation_id = $1 AND finished_at IS NULL",
    )
    .bind(activation)
    .execute(connection)
    .await
    .map_err(Error::sql("the count of an activation"))?;
    Ok(counted.rows_affected() == 1)
}

/// Waits for others that activate the same; the version that holds now, the tenant's own before everybody's.
async fn lock(connection: &mut PgConnection, new: &NewActivation<'_>) -> Result<Option<String>, Error> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1 || chr(31) || $2, 0))")
        .bind(new.tenant)
        .bind(new.name)
        .execute(&mut *connection)
        .await
        .map_err(Error::sql("the lock of a workflow"))?;
    sqlx::query_scalar(
        "SELECT pipeline_version FROM active_workflows WHERE name = $2 AND tenant IN ($1, '*')
         ORDER BY tenant = '*' LIMIT 1",
    )
    .bind(new.tenant)
    .bind(new.name)
    .fetch_optional(connection)
    .await
    .map_err(Error::sql("the look-up of an active workflow"))
}

async fn activate(
    connection: &mut PgConnection,
    new: &NewActivation<'_>,
    previous: Option<&str>,
) -> Result<Activation, Error> {
    sqlx::query(
        "UPDATE activations SET finished_at = now(), superseded = true
         WHERE tenant = $1 AND name = $2 AND finished_at IS NULL",
    )
    .bind(new.tenant)
    .bind(new.name)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the end of earlier activations"))?;
    sqlx::query(
        "INSERT INTO active_workflows (tenant, name, pipeline_version, activated_by) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant, name) DO UPDATE SET pipeline_version = EXCLUDED.pipeline_version,
             activated_by = EXCLUDED.activated_by, activated_at = now()",
    )
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.pipeline_version)
    .bind(new.by)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the activation of a workflow"))?;
    let row = sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO activations (activation_id, tenant, name, pipeline_version, previous, activated_by, runs, open_runs,
                                  finished_at)
         SELECT $1, $2, $3, $4, $5, $6, $7,
                (SELECT count(*) FROM runs r JOIN workflows w USING (pipeline_version)
                 WHERE r.state IN ('running', 'waiting', 'parked') AND ($2 = '*' OR r.tenant = $2) AND w.name = $3
                   AND r.pipeline_version <> $4),
                CASE WHEN $7 = 'finish' THEN now() END
         RETURNING {COLUMNS}"
    )))
    .bind(Uuid::now_v7())
    .bind(new.tenant)
    .bind(new.name)
    .bind(new.pipeline_version)
    .bind(previous)
    .bind(new.by)
    .bind(new.runs.as_str())
    .fetch_one(connection)
    .await
    .map_err(Error::sql("the note of an activation"))?;
    Ok(read(&row))
}
