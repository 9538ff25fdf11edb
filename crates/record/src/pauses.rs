//! Pauses: what people stopped for a while.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::{Error, Record};

/// What is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PauseKind {
    /// A worker type: its processes read nothing new.
    Stage,
    /// An outlet: nothing is sent to it.
    Outlet,
    /// A source: it is not polled, and the gateway takes nothing of it.
    Source,
}

impl PauseKind {
    /// The name that commands, API and table use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Outlet => "outlet",
            Self::Source => "source",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Stage, Self::Outlet, Self::Source].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pause {
    /// What kind of thing.
    pub kind: PauseKind,
    /// Which one.
    pub name: String,
    /// Who paused it.
    pub paused_by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub paused_at: DateTime<Utc>,
}

impl Record {
    /// Pauses something; `false` where it is paused already.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn pause(&self, kind: PauseKind, name: &str, by: &str, reason: &str) -> Result<bool, Error> {
        let paused = sqlx::query(
            "INSERT INTO pauses (kind, name, paused_by, reason) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        )
        .bind(kind.as_str())
        .bind(name)
        .bind(by)
        .bind(reason)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a pause"))?;
        Ok(paused.rows_affected() == 1)
    }

    /// Ends a pause; `false` where there is none.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn resume(&self, kind: PauseKind, name: &str) -> Result<bool, Error> {
        let resumed = sqlx::query("DELETE FROM pauses WHERE kind = $1 AND name = $2")
            .bind(kind.as_str())
            .bind(name)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("the end of a pause"))?;
        Ok(resumed.rows_affected() == 1)
    }

    /// Whether anything was ever published through an outlet, polled or taken from a source, of this name. Stages are
    /// none of the record's.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn has_met(&self, kind: PauseKind, name: &str) -> Result<bool, Error> {
        let met = match kind {
            PauseKind::Stage => return Ok(false),
            PauseKind::Outlet => "SELECT EXISTS (SELECT FROM publications WHERE outlet = $1)",
            PauseKind::Source => {
                "SELECT EXISTS (SELECT FROM sources WHERE name = $1)
                     OR EXISTS (SELECT FROM dedup_keys WHERE source = $1)"
            }
        };
        sqlx::query_scalar(met)
            .bind(name)
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the look-up of a name"))
    }

    /// Everything that is paused. What a newer build may pause beside is left out.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn pauses(&self) -> Result<Vec<Pause>, Error> {
        let rows =
            sqlx::query("SELECT kind, name, paused_by, reason, paused_at FROM pauses ORDER BY kind, name")
                .fetch_all(&self.pool)
                .await
                .map_err(Error::sql("the pauses"))?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(Pause {
                    kind: PauseKind::parse(row.get("kind"))?,
                    name: row.get("name"),
                    paused_by: row.get("paused_by"),
                    reason: row.get("reason"),
                    paused_at: row.get("paused_at"),
                })
            })
            .collect())
    }
}
