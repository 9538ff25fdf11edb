//! Pruning: runs that ended long ago go, with everything that only they refer to.
//!
//! What stays: publications and their approvals, so that nothing is posted twice and everything that was posted can be
//! accounted for; dedup keys, so that an old event sent again is known; incidents and dead letters. A run that a person
//! may still be asked about stays as well: one whose post is `sent` or `unknown`, or whose dead letter is open.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{EmbeddingRecord, RunId};
use serde::Serialize;
use sqlx::Row;
use uuid::Uuid;

use crate::{Error, Record};

/// What went, or would go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Pruned {
    /// Runs.
    pub runs: u64,
    /// Events that no other run began with.
    pub events: u64,
    /// Artifacts.
    pub artifacts: u64,
    /// Vectors.
    pub vectors: u64,
    /// Links of provenance chains.
    pub links: u64,
}

impl std::ops::AddAssign for Pruned {
    fn add_assign(&mut self, other: Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.artifacts += other.artifacts;
        self.vectors += other.vectors;
        self.links += other.links;
    }
}

/// Which runs may go. Run ids are in the order of time, so the range of ids spares a scan of younger ones.
const OLD: &str = "SELECT r.run_id, r.event_id FROM runs r
     WHERE r.run_id < $1 AND r.ended_at < $2 AND r.state NOT IN ('running', 'waiting', 'parked')
       AND NOT EXISTS (SELECT FROM publications p WHERE p.run_id = r.run_id AND p.state IN ('sent', 'unknown'))
       AND NOT EXISTS (SELECT FROM dead_letters d WHERE d.run_id = r.run_id
                       AND d.replayed_at IS NULL AND d.discarded_at IS NULL)";

/// The lowest id of a run that began at this moment.
pub(crate) fn first_id(at: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(at.timestamp_millis()).unwrap_or(0);
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    Uuid::from_bytes(bytes)
}

impl Record {
    /// Counts what [`Record::prune`] would remove.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn prunable(&self, older_than: Duration) -> Result<Pruned, Error> {
        let before = Utc::now() - older_than;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "WITH old AS MATERIALIZED ({OLD})
             SELECT (SELECT count(*) FROM old) AS runs, (SELECT count(DISTINCT event_id) FROM old) AS events,
                    (SELECT count(*) FROM artifacts JOIN old USING (run_id)) AS artifacts,
                    (SELECT count(*) FROM embedding_records JOIN old USING (run_id)) AS vectors,
                    (SELECT count(*) FROM provenance_log JOIN old USING (run_id)) AS links"
        )))
        .bind(first_id(before))
        .bind(before)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("the count of what may go"))?;
        let count = |name: &str| row.get::<i64, _>(name).unsigned_abs();
        Ok(Pruned {
            runs: count("runs"),
            events: count("events"),
            artifacts: count("artifacts"),
            vectors: count("vectors"),
            links: count("links"),
        })
    }

    /// Removes up to `limit` runs that ended before, in one transaction; nothing went where none is left. May be stopped
    /// at any moment and called again. Where a store outside has their vectors, too (`stored_outside`), these are noted
    /// for [`Record::removed_vectors`].
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn prune(
        &self,
        older_than: Duration,
        limit: i64,
        stored_outside: bool,
    ) -> Result<Pruned, Error> {
        let before = Utc::now() - older_than;
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let old: Vec<(Uuid, Uuid)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{OLD} ORDER BY r.run_id LIMIT $3 FOR UPDATE OF r SKIP LOCKED"
        )))
        .bind(first_id(before))
        .bind(before)
        .bind(limit)
        .fetch_all(&mut *tx)
        .await
        .map_err(Error::sql("the runs that may go"))?;
        let (runs, events): (Vec<Uuid>, Vec<Uuid>) = old.into_iter().unzip();
        if stored_outside {
            // A run that ended before its vector was committed may have one outside all the same.
            let vectors: Vec<Uuid> = runs.iter().map(|run| EmbeddingRecord::vector_id(RunId(*run))).collect();
            sqlx::query(
                "INSERT INTO removed_vectors (vector_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING",
            )
            .bind(&vectors)
            .execute(&mut *tx)
            .await
            .map_err(Error::sql("the note of vectors to be removed"))?;
        }
        let mut pruned = Pruned::default();
        for (table, count) in [
            ("artifacts", Some(&mut pruned.artifacts)),
            ("embedding_records", Some(&mut pruned.vectors)),
            ("enriched_trends", None),
            ("provenance_log", Some(&mut pruned.links)),
            ("escalations", None),
            ("run_branches", None),
            ("manifests", None),
            ("reserved_posts", None),
            ("reserved_spending", None),
            ("gate_answers", None),
            ("callbacks", None),
            ("work_orders", None),
            ("runs", Some(&mut pruned.runs)),
        ] {
            let gone =
                sqlx::query(sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE run_id = ANY($1)")))
                    .bind(&runs)
                    .execute(&mut *tx)
                    .await
                    .map_err(Error::sql("the removal of old runs"))?;
            if let Some(count) = count {
                *count = gone.rows_affected();
            }
        }
        let approvals = sqlx::query(
            "DELETE FROM approvals a WHERE a.run_id = ANY($1)
               AND NOT EXISTS (SELECT FROM publications p WHERE p.approval_id = a.approval_id)",
        );
        approvals.bind(&runs).execute(&mut *tx).await.map_err(Error::sql("the removal of old approvals"))?;
        let gone = sqlx::query(
            "DELETE FROM events e WHERE e.event_id = ANY($1)
               AND NOT EXISTS (SELECT FROM runs r WHERE r.event_id = e.event_id)",
        )
        .bind(&events)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the removal of old events"))?;
        pruned.events = gone.rows_affected();
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(pruned)
    }

    /// Removes up to `limit` events of others from before, and as many firings by the clock or by events whose run is gone,
    /// or that had none: neither can come again. Firings by hand stay, without their input, as dedup keys do. How many rows
    /// were touched, and how many of them were events; call it again until none is.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn prune_outside(&self, older_than: Duration, limit: i64) -> Result<(u64, u64), Error> {
        let before = Utc::now() - older_than;
        let mut touched = 0;
        for statement in [
            "DELETE FROM firings WHERE firing_id IN (
                 SELECT firing_id FROM firings f
                 WHERE firing_id < $1 AND outcome IS NOT NULL AND kind <> 'manual'
                   AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = f.run_id)
                 ORDER BY firing_id LIMIT $2)",
            "UPDATE firings SET input = '{}' WHERE firing_id IN (
                 SELECT firing_id FROM firings
                 WHERE firing_id < $1 AND outcome IS NOT NULL AND kind = 'manual' AND input <> '{}'
                 ORDER BY firing_id LIMIT $2)",
        ] {
            let done = sqlx::query(statement).bind(first_id(before)).bind(limit).execute(&self.pool).await;
            touched += done.map_err(Error::sql("the removal of old firings"))?.rows_affected();
        }
        let gone = sqlx::query(
            "DELETE FROM events WHERE event_id IN (
                 SELECT event_id FROM events WHERE outside AND received_at < $1 ORDER BY received_at LIMIT $2)",
        );
        let gone = gone.bind(before).bind(limit).execute(&self.pool).await;
        let events = gone.map_err(Error::sql("the removal of old events"))?.rows_affected();
        Ok((touched + events, events))
    }

    /// Counts the events that [`Record::prune_outside`] would remove.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn prunable_outside(&self, older_than: Duration) -> Result<u64, Error> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE outside AND received_at < $1")
            .bind(Utc::now() - older_than)
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the count of what may go"))?;
        Ok(count.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_made_later_are_higher_than_the_first_of_a_moment() {
        let now = Utc::now();
        assert!(first_id(now) <= Uuid::now_v7());
        assert!(first_id(now + chrono::TimeDelta::seconds(1)) > Uuid::now_v7());
    }
}
