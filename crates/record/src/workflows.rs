//! Workflow versions, stored frozen.

use crate::{Error, Record};

impl Record {
    /// Stores a version; the same version again changes nothing.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn register_workflow(&self, workflow: &rails::Workflow) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO workflows (pipeline_version, name, document) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(workflow.version())
        .bind(workflow.name())
        .bind(workflow.document())
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the registration of a workflow"))?;
        Ok(())
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
