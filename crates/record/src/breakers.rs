//! Breakers of all processes: one outage of one thing, however many processes see it.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use uuid::Uuid;

use crate::micros::micros;
use crate::{Error, Record};

/// What a breaker stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerKind {
    /// What every job of a worker type needs: reading pauses.
    Stage,
    /// An outlet: it is left alone.
    Outlet,
    /// A provider of an agent: it is left alone.
    Provider,
}

impl BreakerKind {
    /// The name that tables and messages use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Outlet => "outlet",
            Self::Provider => "provider",
        }
    }
}

/// A breaker that is open somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OpenBreaker {
    /// `stage`, `outlet` or `provider`.
    pub kind: String,
    /// Of which.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub opened_at: DateTime<Utc>,
}

impl Record {
    /// Notes that a process has a breaker open, for `age` by now. The first to say so of an outage makes a notice of it, in
    /// the same transaction; the processes that say so later, or again within 30 s of its end, have the same one. An
    /// outage of which nobody said anything for a minute is over: its process died.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn breaker_is_open(
        &self,
        kind: BreakerKind,
        name: &str,
        reason: &str,
        process: &str,
        age: Duration,
    ) -> Result<bool, Error> {
        let outage = Uuid::now_v7();
        let row = sqlx::query(
            "WITH given AS (
                 SELECT now() - $6 * interval '1 microsecond' AS opened_at),
             noted AS (
                 INSERT INTO breakers AS b (kind, name, outage, reason, opened_at, seen_at)
                 SELECT $1, $2, $3, $4, opened_at, now() FROM given
                 ON CONFLICT (kind, name) DO UPDATE SET
                     (outage, reason, opened_at) = (
                         SELECT v.outage, v.reason, v.opened_at
                         FROM (VALUES (b.outage, b.reason, b.opened_at, true),
                                      (EXCLUDED.outage, EXCLUDED.reason, EXCLUDED.opened_at, false))
                              AS v(outage, reason, opened_at, known)
                         WHERE v.known = coalesce(b.closed_at + interval '30 s' >= EXCLUDED.opened_at,
                                                  b.seen_at > now() - interval '1 minute')),
                     seen_at = now(), closed_at = NULL
                 RETURNING outage, opened_at)
             INSERT INTO notices (notice_id, kind, subject, detail)
             SELECT gen_random_uuid(), 'breaker_opened', concat_ws('/', $1, $2, outage),
                    json_build_object('breaker', $1::text, 'name', $2::text, 'reason', $4::text, 'process', $5::text,
                                      'opened_at', opened_at)
             FROM noted WHERE outage = $3 ON CONFLICT DO NOTHING RETURNING notice_id",
        )
        .bind(kind.as_str())
        .bind(name)
        .bind(outage)
        .bind(reason)
        .bind(process)
        .bind(micros(age))
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the note of a breaker"))?;
        Ok(row.is_some())
    }

    /// Notes that what was out answers a process again.
    ///
    /// # Errors
    /// [`Error::Sql`]; nobody renews it then, so it is over after a minute.
    pub async fn breaker_is_closed(&self, kind: BreakerKind, name: &str) -> Result<(), Error> {
        sqlx::query(
            "UPDATE breakers SET closed_at = now() WHERE kind = $1 AND name = $2 AND closed_at IS NULL",
        )
        .bind(kind.as_str())
        .bind(name)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the end of an outage"))?;
        Ok(())
    }

    /// What is out, as far as live processes say so.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, Error> {
        let rows = sqlx::query(
            "SELECT kind, name, reason, opened_at FROM breakers
             WHERE closed_at IS NULL AND seen_at > now() - interval '1 minute' ORDER BY kind, name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the breakers"))?;
        Ok(rows
            .iter()
            .map(|row| OpenBreaker {
                kind: row.get("kind"),
                name: row.get("name"),
                reason: row.get("reason"),
                opened_at: row.get("opened_at"),
            })
            .collect())
    }
}
