//! What the reconciler reads: which open runs, and which open branches of them, have been due for longer than they should.

use std::time::Duration;

use model::{Job, JobKey, RunId};
use sqlx::Row;
use uuid::Uuid;

use crate::micros::micros;
use crate::{BranchKey, Error, Record};

/// A run or branch that is `running` and should have a job in a stream or a retry set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutstandingRun {
    /// The job it should have.
    pub job: Job,
    /// The workflow version, which says the step's worker.
    pub pipeline_version: String,
    /// The stream partition.
    pub partition: u16,
    /// How long until the job is due; zero where it is due.
    pub due_in: Duration,
}

/// How many running runs and branches there are, by version, step and partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCount {
    /// The workflow version.
    pub pipeline_version: String,
    /// The step.
    pub step: String,
    /// The stream partition.
    pub partition: u16,
    /// How many.
    pub count: u64,
    /// How many of them were due longer ago than asked.
    pub overdue: u64,
    /// For how long one of them has not moved on, at most. Tries that are to come again move nothing on.
    pub longest: Duration,
}

impl Record {
    /// Counts running runs and branches, and those due longer ago than `after`, by PostgreSQL's clock.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn running_counts(&self, after: Duration) -> Result<Vec<RunningCount>, Error> {
        let rows = sqlx::query(
            "SELECT pipeline_version, step, partition, count(*) AS count,
                    count(*) FILTER (WHERE due_at < now() - $1 * interval '1 microsecond') AS overdue,
                    greatest(0, extract(epoch FROM now() - min(moved_at)) * 1000)::bigint AS longest_ms
             FROM runs WHERE state = 'running' AND state IN ('running', 'waiting', 'parked') GROUP BY 1, 2, 3
             UNION ALL
             SELECT r.pipeline_version, b.step, r.partition, count(*),
                    count(*) FILTER (WHERE b.due_at < now() - $1 * interval '1 microsecond'),
                    greatest(0, extract(epoch FROM now() - min(b.moved_at)) * 1000)::bigint
             FROM run_branches b JOIN runs r USING (run_id)
             WHERE b.state = 'running' AND b.state IN ('running', 'waiting', 'parked')
               AND r.state IN ('running', 'waiting', 'parked')
             GROUP BY 1, 2, 3",
        )
        .bind(micros(after))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the count of running runs"))?;
        Ok(rows
            .iter()
            .map(|row| RunningCount {
                pipeline_version: row.get("pipeline_version"),
                step: row.get("step"),
                partition: row.get::<i16, _>("partition").unsigned_abs(),
                count: row.get::<i64, _>("count").unsigned_abs(),
                overdue: row.get::<i64, _>("overdue").unsigned_abs(),
                longest: Duration::from_millis(row.get::<i64, _>("longest_ms").unsigned_abs()),
            })
            .collect())
    }

    /// The jobs of running runs and branches at these steps that were due longer ago than `after`, in the order of run and
    /// branch after `cursor`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn overdue_jobs(
        &self,
        after: Duration,
        partition: u16,
        steps: &[(String, String)],
        cursor: Option<BranchKey>,
        limit: i64,
    ) -> Result<Vec<JobKey>, Error> {
        let (versions, names): (Vec<&str>, Vec<&str>) =
            steps.iter().map(|(version, step)| (version.as_str(), step.as_str())).unzip();
        let rows = sqlx::query(
            "WITH s AS (SELECT * FROM UNNEST($3::text[], $4::text[]) AS s(pipeline_version, step)),
             whole AS (
                 SELECT r.run_id, 0 AS branch, r.seq FROM runs r JOIN s USING (pipeline_version, step)
                 WHERE r.state = 'running' AND r.state IN ('running', 'waiting', 'parked')
                   AND r.due_at < now() - $1 * interval '1 microsecond' AND r.partition = $2 AND r.run_id > $5
                 ORDER BY r.run_id LIMIT $6),
             parts AS (
                 SELECT b.run_id, b.branch, b.seq
                 FROM run_branches b JOIN runs r USING (run_id)
                 JOIN s ON s.pipeline_version = r.pipeline_version AND s.step = b.step
                 WHERE b.state = 'running' AND b.state IN ('running', 'waiting', 'parked')
                   AND r.state IN ('running', 'waiting', 'parked')
                   AND b.due_at < now() - $1 * interval '1 microsecond' AND r.partition = $2
                   AND (b.run_id, b.branch) > ($5, $7)
                 ORDER BY b.run_id, b.branch LIMIT $6)
             SELECT * FROM whole UNION ALL SELECT * FROM parts ORDER BY run_id, branch LIMIT $6",
        )
        .bind(micros(after))
        .bind(partition.cast_signed())
        .bind(versions)
        .bind(names)
        .bind(cursor.map_or(Uuid::nil(), |key| key.run.0))
        .bind(limit)
        .bind(cursor.map_or(0, |key| key.branch))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the overdue runs"))?;
        Ok(rows.iter().map(key).collect())
    }

    /// Runs that stand at one of these forks and have no branches yet: their workflow begins with it.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn unopened_forks(&self, forks: &[(String, String)], limit: i64) -> Result<Vec<RunId>, Error> {
        let (versions, names): (Vec<&str>, Vec<&str>) =
            forks.iter().map(|(version, step)| (version.as_str(), step.as_str())).unzip();
        let runs: Vec<Uuid> = sqlx::query_scalar(
            "SELECT r.run_id FROM runs r JOIN UNNEST($1::text[], $2::text[]) AS s(pipeline_version, step)
                    USING (pipeline_version, step)
             WHERE r.state = 'running' AND r.state IN ('running', 'waiting', 'parked') AND r.seq = 0
               AND NOT EXISTS (SELECT FROM run_branches b WHERE b.run_id = r.run_id)
             ORDER BY r.run_id LIMIT $3",
        )
        .bind(versions)
        .bind(names)
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the runs that begin with a fork"))?;
        Ok(runs.into_iter().map(RunId).collect())
    }

    /// The present jobs of those of the runs that are running, and of their running branches. A run that stands at a fork is
    /// among them: its workflow tells that this step has no worker.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn present_jobs(&self, runs: &[RunId]) -> Result<Vec<OutstandingRun>, Error> {
        let rows = sqlx::query(
            "SELECT run_id, 0 AS branch, seq, step, attempt, traceparent, enriched_trend_id, pipeline_version, partition,
                    greatest(0, extract(epoch FROM due_at - now()) * 1000)::bigint AS due_in_ms
             FROM runs WHERE run_id = ANY($1) AND state = 'running'
             UNION ALL
             SELECT b.run_id, b.branch, b.seq, b.step, b.attempt, coalesce(b.traceparent, r.traceparent),
                    r.enriched_trend_id, r.pipeline_version, r.partition,
                    greatest(0, extract(epoch FROM b.due_at - now()) * 1000)::bigint
             FROM run_branches b JOIN runs r USING (run_id)
             WHERE b.run_id = ANY($1) AND b.state = 'running' AND r.state IN ('running', 'waiting', 'parked')
             ORDER BY run_id, branch",
        )
        .bind(runs.iter().map(|run| run.0).collect::<Vec<_>>())
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the present jobs of runs"))?;
        Ok(rows.iter().map(read).collect())
    }

    /// The branch of an escalation that was resolved; `None` where there is no such escalation, or it is open.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn resolved(&self, escalation: Uuid) -> Result<Option<BranchKey>, Error> {
        let found: Option<(Uuid, i32)> = sqlx::query_as(
            "SELECT run_id, branch FROM escalations WHERE escalation_id = $1 AND resolved_at IS NOT NULL",
        )
        .bind(escalation)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the look-up of an escalation"))?;
        Ok(found.map(|(run, branch)| BranchKey { run: RunId(run), branch }))
    }

    /// Raises the priority of open escalations that are past due; returns how many.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn raise_overdue_escalations(&self) -> Result<u64, Error> {
        let raised = sqlx::query(
            "UPDATE escalations SET priority = 'high' WHERE resolved_at IS NULL AND due_at < now() AND priority <> 'high'",
        )
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the raise of overdue escalations"))?;
        Ok(raised.rows_affected())
    }
}

fn key(row: &sqlx::postgres::PgRow) -> JobKey {
    JobKey { run: RunId(row.get("run_id")), branch: row.get("branch"), seq: row.get("seq") }
}

fn read(row: &sqlx::postgres::PgRow) -> OutstandingRun {
    OutstandingRun {
        job: Job {
            key: key(row),
            step: row.get("step"),
            attempt: row.get("attempt"),
            traceparent: row.get("traceparent"),
            enriched_trend_id: row.get("enriched_trend_id"),
        },
        pipeline_version: row.get("pipeline_version"),
        partition: row.get::<i16, _>("partition").unsigned_abs(),
        due_in: Duration::from_millis(row.get::<i64, _>("due_in_ms").unsigned_abs()),
    }
}
