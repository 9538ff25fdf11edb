//! The provenance log in commit order, for those who follow it: by a cursor that misses no late commit.

use model::RunId;
use sqlx::Row;
use uuid::Uuid;

use crate::{Error, Record};

/// Transactions looked at together. Each group of jobs is one.
const WINDOW: i64 = 64;

/// Where a follower of the log stands. Starts at the default; grows with every page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogCursor {
    xid: i64,
    run: Uuid,
    branch: i32,
    pos: i32,
}

/// A link of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedLink {
    /// The run.
    pub run: RunId,
    /// The branch.
    pub branch: i32,
    /// Position along the branch's chain.
    pub pos: i32,
    /// The run's tenant.
    pub tenant: String,
    /// The event that the run began with.
    pub event_id: Uuid,
    /// That event's id as its sender gave it.
    pub request_id: String,
    /// The link's body, JSON.
    pub body: String,
}

impl Record {
    /// Where the named follower stands.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn log_cursor(&self, follower: &str) -> Result<LogCursor, Error> {
        let row = sqlx::query(
            "SELECT xid::text::bigint AS xid, run_id, branch, pos FROM relay_cursors WHERE name = $1",
        )
        .bind(follower)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("a cursor"))?;
        Ok(row.map_or_else(LogCursor::default, |row| LogCursor {
            xid: row.get("xid"),
            run: row.get::<Option<Uuid>, _>("run_id").unwrap_or_default(),
            branch: row.get::<Option<i32>, _>("branch").unwrap_or_default(),
            pos: row.get::<Option<i32>, _>("pos").unwrap_or_default(),
        }))
    }

    /// Notes where the named follower stands.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn keep_log_cursor(&self, follower: &str, cursor: &LogCursor) -> Result<(), Error> {
        sqlx::query(
            "INSERT INTO relay_cursors (name, xid, run_id, branch, pos) VALUES ($1, $2::text::xid8, $3, $4, $5)
             ON CONFLICT (name) DO UPDATE
             SET xid = EXCLUDED.xid, run_id = EXCLUDED.run_id, branch = EXCLUDED.branch, pos = EXCLUDED.pos",
        )
        .bind(follower)
        .bind(cursor.xid.to_string())
        .bind(cursor.run)
        .bind(cursor.branch)
        .bind(cursor.pos)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a cursor"))?;
        Ok(())
    }

    /// The next links after the cursor but those of quiet runs, at most `limit`. Rows of transactions that could still commit late (at or above
    /// `pg_snapshot_xmin`) are left for the next call.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn log_after(&self, cursor: &mut LogCursor, limit: i64) -> Result<Vec<LoggedLink>, Error> {
        let settled: i64 = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the end of the log"))?;
        // A window of transactions at a time: the whole rest would be read and sorted for each page of it.
        while cursor.xid < settled {
            let end = settled.min(cursor.xid.saturating_add(WINDOW));
            let links = self.window(cursor, end, limit).await?;
            if !links.is_empty() {
                return Ok(links);
            }
            let next: Option<i64> =
                sqlx::query_scalar("SELECT min(xid) FROM provenance_log WHERE xid >= $1 AND xid < $2")
                    .bind(end)
                    .bind(settled)
                    .fetch_one(&self.pool)
                    .await
                    .map_err(Error::sql("the next of the log"))?;
            *cursor = LogCursor { xid: next.unwrap_or(settled), ..LogCursor::default() };
        }
        Ok(Vec::new())
    }

    async fn window(&self, cursor: &mut LogCursor, end: i64, limit: i64) -> Result<Vec<LoggedLink>, Error> {
        let rows = sqlx::query(
            "SELECT p.run_id, p.branch, p.pos, p.body, p.xid, r.tenant, r.event_id,
                    coalesce(e.request_id, '') AS request_id
             FROM provenance_log p JOIN runs r USING (run_id) LEFT JOIN events e USING (event_id)
             WHERE NOT r.quiet AND p.xid >= $1 AND p.xid < $6 AND (p.xid, p.run_id, p.branch, p.pos) > ($1, $2, $3, $4)
             ORDER BY p.xid, p.run_id, p.branch, p.pos LIMIT $5",
        )
        .bind(cursor.xid)
        .bind(cursor.run)
        .bind(cursor.branch)
        .bind(cursor.pos)
        .bind(limit)
        .bind(end)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the log after a cursor"))?;
        if let Some(last) = rows.last() {
            *cursor = LogCursor {
                xid: last.get("xid"),
                run: last.get("run_id"),
                branch: last.get("branch"),
                pos: last.get("pos"),
            };
        }
        Ok(rows
            .iter()
            .map(|row| LoggedLink {
                run: RunId(row.get("run_id")),
                branch: row.get("branch"),
                pos: row.get("pos"),
                tenant: row.get("tenant"),
                event_id: row.get("event_id"),
                request_id: row.get("request_id"),
                body: row.get("body"),
            })
            .collect())
    }
}
