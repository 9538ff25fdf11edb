//! Workflow versions, stored frozen, and who registered them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, Row};

use crate::{Error, Record};

/// The tenant of what the planners' configuration registers and activates: every tenant sees it.
pub const EVERY_TENANT: &str = "*";

/// A registered version, as a tenant sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RegisteredWorkflow {
    /// The workflow's name.
    pub name: String,
    /// The version: what runs are pinned to.
    pub pipeline_version: String,
    /// Who registered it: a person's token, or a planner.
    pub registered_by: String,
    /// When.
    pub registered_at: DateTime<Utc>,
    /// Whether new runs begin with it.
    pub active: bool,
    /// Runs of the tenant that are open with it.
    pub open_runs: i64,
}

/// What the tenant sees: its own registrations before those of the configuration.
const SEEN: &str = "SELECT DISTINCT ON (w.name, w.pipeline_version)
            w.name, w.pipeline_version, w.document, g.registered_by, g.registered_at,
            w.pipeline_version IS NOT DISTINCT FROM
                (SELECT a.pipeline_version FROM active_workflows a
                 WHERE a.name = w.name AND a.tenant IN ($1, '*') ORDER BY a.tenant = '*' LIMIT 1) AS active,
            (SELECT count(*) FROM runs r
             WHERE r.state IN ('running', 'waiting', 'parked') AND r.tenant = $1
               AND r.pipeline_version = w.pipeline_version) AS open_runs
     FROM registrations g JOIN workflows w USING (pipeline_version)
     WHERE g.tenant IN ($1, '*') AND ($2::text IS NULL OR w.pipeline_version = $2)
     ORDER BY w.name, w.pipeline_version, g.tenant = '*'";

fn read(row: &sqlx::postgres::PgRow) -> RegisteredWorkflow {
    RegisteredWorkflow {
        name: row.get("name"),
        pipeline_version: row.get("pipeline_version"),
        registered_by: row.get("registered_by"),
        registered_at: row.get("registered_at"),
        active: row.get("active"),
        open_runs: row.get("open_runs"),
    }
}

impl Record {
    /// Stores a version for a tenant, or for [`EVERY_TENANT`]; the same version again changes nothing. Whether the tenant
    /// did not have it.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Taken`] where another document has the version.
    pub async fn register_workflow(
        &self,
        workflow: &rails::Workflow,
        tenant: &str,
        by: &str,
    ) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        store(&mut tx, workflow).await?;
        let stored = sqlx::query(
            "INSERT INTO registrations (tenant, pipeline_version, registered_by) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(workflow.version())
        .bind(by)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the registration of a workflow"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(stored.rows_affected() == 1)
    }

    /// The versions that were ever registered.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn workflow_versions(&self) -> Result<Vec<String>, Error> {
        sqlx::query_scalar("SELECT pipeline_version FROM workflows ORDER BY pipeline_version")
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the list of workflows"))
    }

    /// The versions that a tenant sees, by name.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn registered_workflows(&self, tenant: &str) -> Result<Vec<RegisteredWorkflow>, Error> {
        let rows = sqlx::query(SEEN)
            .bind(tenant)
            .bind(None::<&str>)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the list of workflows"))?;
        Ok(rows.iter().map(read).collect())
    }

    /// A version that a tenant sees, with its document.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn registered_workflow(
        &self,
        tenant: &str,
        version: &str,
    ) -> Result<Option<(RegisteredWorkflow, String)>, Error> {
        let row = sqlx::query(SEEN)
            .bind(tenant)
            .bind(version)
            .fetch_optional(&self.pool)
            .await
            .map_err(Error::sql("the look-up of a workflow"))?;
        Ok(row.as_ref().map(|row| (read(row), row.get("document"))))
    }

    /// By step, how many open runs of a version and branches of such runs stand there; those of one tenant.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn standing_at(&self, tenant: &str, version: &str) -> Result<BTreeMap<String, u64>, Error> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "WITH open AS (
                 SELECT run_id, step FROM runs
                 WHERE state IN ('running', 'waiting', 'parked') AND tenant = $1 AND pipeline_version = $2)
             SELECT step, count(*) FROM (
                 SELECT step FROM open
                 UNION ALL
                 SELECT b.step FROM run_branches b JOIN open USING (run_id)
                 WHERE b.state IN ('running', 'waiting', 'parked')) AS standing
             GROUP BY step",
        )
        .bind(tenant)
        .bind(version)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the count of runs by step"))?;
        Ok(rows.into_iter().map(|(step, count)| (step, count.unsigned_abs())).collect())
    }

    /// Reads a version.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where it is unknown or this build cannot read it.
    pub async fn workflow(&self, version: &str) -> Result<rails::Workflow, Error> {
        let document: Option<String> =
            sqlx::query_scalar("SELECT document FROM workflows WHERE pipeline_version = $1")
                .bind(version)
                .fetch_optional(&self.pool)
                .await
                .map_err(Error::sql("the look-up of a workflow"))?;
        let what = || format!("workflow {version}");
        let document = document.ok_or_else(|| Error::unreadable(what(), "it is not registered"))?;
        rails::Workflow::from_stored(version, &document).map_err(|faults| Error::unreadable(what(), faults))
    }
}

/// Stores a document that is new.
async fn store(connection: &mut PgConnection, workflow: &rails::Workflow) -> Result<(), Error> {
    let stored = sqlx::query(
        "INSERT INTO workflows (pipeline_version, name, document) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
    )
    .bind(workflow.version())
    .bind(workflow.name())
    .bind(workflow.document())
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the registration of a workflow"))?;
    if stored.rows_affected() == 1 {
        return Ok(());
    }
    let known: String = sqlx::query_scalar("SELECT document FROM workflows WHERE pipeline_version = $1")
        .bind(workflow.version())
        .fetch_one(connection)
        .await
        .map_err(Error::sql("the look-up of a workflow"))?;
    if known == workflow.document() {
        Ok(())
    } else {
        Err(Error::Taken { version: workflow.version().to_owned() })
    }
}
