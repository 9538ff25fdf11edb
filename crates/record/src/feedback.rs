//! What people say of publications, and the incidents that blocked some.

use chrono::{DateTime, Utc};
use model::RunId;
use serde::Serialize;
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::types::Json;
use uuid::Uuid;

use crate::{Error, Record};

/// A complaint or a correction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Feedback {
    /// Its id.
    pub feedback_id: Uuid,
    /// The publication it is about.
    pub publication_id: Uuid,
    /// `complaint` or `correction`.
    pub kind: String,
    /// What is said.
    pub text: String,
    /// By whom.
    pub given_by: String,
    /// When.
    pub given_at: DateTime<Utc>,
}

/// A policy violation that blocked a publication.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Incident {
    /// Its id.
    pub incident_id: Uuid,
    /// The run that was rejected.
    pub run_id: RunId,
    /// What kind it is, such as `policy_violation`.
    pub kind: String,
    /// What was found, and the provenance up to there.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub detail: Box<RawValue>,
    /// When.
    pub opened_at: DateTime<Utc>,
}

impl Record {
    /// Keeps what someone says of a publication.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn add_feedback(
        &self,
        publication: Uuid,
        tenant: &str,
        kind: &str,
        text: &str,
        by: &str,
    ) -> Result<Uuid, Error> {
        let id = Uuid::now_v7();
        sqlx::query(
            "INSERT INTO feedback (feedback_id, publication_id, tenant, kind, text, given_by)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(id)
        .bind(publication)
        .bind(tenant)
        .bind(kind)
        .bind(text)
        .bind(by)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("feedback"))?;
        Ok(id)
    }

    /// What was said of a run's publications, oldest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn feedback_of(&self, run: RunId) -> Result<Vec<Feedback>, Error> {
        let rows = sqlx::query(
            "SELECT f.* FROM feedback f JOIN publications p USING (publication_id) WHERE p.run_id = $1
             ORDER BY feedback_id",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("feedback"))?;
        Ok(rows
            .iter()
            .map(|row| Feedback {
                feedback_id: row.get("feedback_id"),
                publication_id: row.get("publication_id"),
                kind: row.get("kind"),
                text: row.get("text"),
                given_by: row.get("given_by"),
                given_at: row.get("given_at"),
            })
            .collect())
    }

    /// A tenant's incidents, newest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn incidents(&self, tenant: &str, limit: i64) -> Result<Vec<Incident>, Error> {
        let rows = sqlx::query(
            "SELECT incident_id, run_id, kind, detail, opened_at FROM incidents WHERE tenant = $1
             ORDER BY incident_id DESC LIMIT $2",
        )
        .bind(tenant)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the incidents"))?;
        Ok(rows
            .iter()
            .map(|row| Incident {
                incident_id: row.get("incident_id"),
                run_id: RunId(row.get("run_id")),
                kind: row.get("kind"),
                detail: row.get::<Json<Box<RawValue>>, _>("detail").0,
                opened_at: row.get("opened_at"),
            })
            .collect())
    }
}
