//! Polled sources: when each is polled next, and what it said last.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row;

use crate::micros::micros;
use crate::{Error, Record};

/// A poll that this process is to make.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Poll {
    /// The `ETag` of the last document.
    pub etag: Option<String>,
    /// The `Last-Modified` of the last document.
    pub last_modified: Option<String>,
}

/// A source whose last poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailingSource {
    /// Its name.
    pub name: String,
    /// Why its last poll failed.
    pub failure: String,
    /// Polls that failed since the last one that did not.
    pub failures: i32,
    /// When it was polled last.
    pub polled_at: DateTime<Utc>,
}

impl Record {
    /// The sources whose last poll failed and was not longer ago than `within`, by name.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn failing_sources(&self, within: Duration) -> Result<Vec<FailingSource>, Error> {
        let rows = sqlx::query(
            "SELECT name, failure, failures, polled_at FROM sources
             WHERE failure IS NOT NULL AND polled_at > now() - $1 * interval '1 microsecond' ORDER BY name",
        )
        .bind(micros(within))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the failing sources"))?;
        let failing = |row: &sqlx::postgres::PgRow| FailingSource {
            name: row.get("name"),
            failure: row.get("failure"),
            failures: row.get("failures"),
            polled_at: row.get("polled_at"),
        };
        Ok(rows.iter().map(failing).collect())
    }

    /// Claims the poll of a source that is due, and says when the next one is. `None` where none is due, or another
    /// planner was faster. A source that was never seen is due at once.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn claim_poll(&self, source: &str, next: DateTime<Utc>) -> Result<Option<Poll>, Error> {
        sqlx::query("INSERT INTO sources (name) VALUES ($1) ON CONFLICT DO NOTHING")
            .bind(source)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("a source"))?;
        let row = sqlx::query(
            "UPDATE sources SET next_at = $2, polled_at = now() WHERE name = $1 AND next_at <= now()
             RETURNING etag, last_modified",
        )
        .bind(source)
        .bind(next)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the claim of a poll"))?;
        Ok(row.map(|row| Poll { etag: row.get("etag"), last_modified: row.get("last_modified") }))
    }

    /// Notes how a poll went: what the document said of itself, or why there is none.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn polled(&self, source: &str, result: Result<&Poll, &str>) -> Result<(), Error> {
        let (poll, failure) = match result {
            Ok(poll) => (Some(poll), None),
            Err(failure) => (None, Some(failure)),
        };
        sqlx::query(
            "UPDATE sources SET failure = $2, failures = CASE WHEN $2 IS NULL THEN 0 ELSE failures + 1 END,
                 etag = CASE WHEN $2 IS NULL THEN $3 ELSE etag END,
                 last_modified = CASE WHEN $2 IS NULL THEN $4 ELSE last_modified END
             WHERE name = $1",
        )
        .bind(source)
        .bind(failure)
        .bind(poll.and_then(|poll| poll.etag.as_deref()))
        .bind(poll.and_then(|poll| poll.last_modified.as_deref()))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the note of a poll"))?;
        Ok(())
    }
}
