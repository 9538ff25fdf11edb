//! Work orders: tasks that workers outside have under way and complete by a callback.

use std::time::Duration;

use model::{RunId, RunState, Sha256Digest};
use rails::Facts;
use sqlx::{PgConnection, Row};

use crate::{BranchKey, Error, Item, LoadedRun, Record, Routed, Won, beyond, manifests};

/// A task that is handed to a worker outside.
#[derive(Debug, Clone)]
pub struct NewWorkOrder<'a> {
    /// Digest of the callback's token.
    pub token: Sha256Digest,
    /// What callbacks are signed with.
    pub signing_key: &'a str,
    /// The run or branch.
    pub key: BranchKey,
    /// Where it stands.
    pub seq: i32,
    /// The step.
    pub step: &'a str,
    /// How often the run has come to it.
    pub visit: u32,
}

/// What is known of a task that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handed {
    /// What the worker completed it with, JSON.
    pub answer: Option<String>,
    /// For how long a worker has had it; zero where none has taken it.
    pub since: Duration,
    /// How long ago the worker gave a sign of life by itself.
    pub heard: Option<Duration>,
}

/// A task as its callback finds it.
#[derive(Debug, Clone)]
pub struct WorkOrder {
    /// Digest of the callback's token.
    pub token: Sha256Digest,
    /// What callbacks are signed with.
    pub signing_key: String,
    /// The run or branch.
    pub key: BranchKey,
    /// The step.
    pub step: String,
    /// How often the run had come to it.
    pub visit: u32,
    /// Whether it waits for its worker still.
    pub open: bool,
}

/// What became of a completion.
#[derive(Debug)]
pub enum Completed {
    /// It is kept, and the run goes on at once.
    Woken(Box<Won>),
    /// It is kept; the run is held back, and takes it when it goes on.
    Kept,
    /// It came too late, or again: nothing was changed.
    Late,
    /// The run moved on while this was written: look again.
    Moved,
}

impl Record {
    /// Notes that a task is handed out, or was before; an order that was closed is opened anew.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn hand_out(&self, order: &NewWorkOrder<'_>) -> Result<Handed, Error> {
        let row = sqlx::query(
            "INSERT INTO work_orders AS w (token_sha256, signing_key, run_id, branch, seq, step, visit)
             VALUES ($1, $2, $3, $4, $5, $6, $7)
             ON CONFLICT (token_sha256) DO UPDATE SET
                 signing_key = $2, run_id = $3, branch = $4, seq = $5, step = $6, visit = $7, closed_at = NULL,
                 taken_at = CASE WHEN w.closed_at IS NULL AND w.run_id = $3 THEN w.taken_at END,
                 heard_at = CASE WHEN w.closed_at IS NULL AND w.run_id = $3 THEN w.heard_at END,
                 answered_at = CASE WHEN w.closed_at IS NULL AND w.run_id = $3 THEN w.answered_at END,
                 answer = CASE WHEN w.closed_at IS NULL AND w.run_id = $3 THEN w.answer END
             RETURNING answer::text AS answer, (extract(epoch FROM now() - taken_at) * 1000)::bigint AS since,
                       (extract(epoch FROM now() - heard_at) * 1000)::bigint AS heard",
        )
        .bind(&order.token.0[..])
        .bind(order.signing_key)
        .bind(order.key.run.0)
        .bind(order.key.branch)
        .bind(order.seq)
        .bind(order.step)
        .bind(i64::from(order.visit))
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("a work order"))?;
        let age = |millis: i64| Duration::from_millis(u64::try_from(millis).unwrap_or_default());
        Ok(Handed {
            answer: row.get("answer"),
            since: row.get::<Option<i64>, _>("since").map(age).unwrap_or_default(),
            heard: row.get::<Option<i64>, _>("heard").map(age),
        })
    }

    /// Notes that a worker has taken a task: from now on it is waited for.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn take_work(&self, token: Sha256Digest) -> Result<(), Error> {
        sqlx::query("UPDATE work_orders SET taken_at = now() WHERE token_sha256 = $1 AND taken_at IS NULL")
            .bind(&token.0[..])
            .execute(&self.pool)
            .await
            .map_err(Error::sql("a task that was taken"))?;
        Ok(())
    }

    /// Gives an order up: a completion of it comes too late, and whoever asks for the task again begins anew.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn close_work_order(&self, token: Sha256Digest) -> Result<(), Error> {
        sqlx::query("UPDATE work_orders SET closed_at = now(), answer = NULL WHERE token_sha256 = $1")
            .bind(&token.0[..])
            .execute(&self.pool)
            .await
            .map_err(Error::sql("the end of a work order"))?;
        Ok(())
    }

    /// The order of a token; `None` where there never was one.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn work_order(&self, token: Sha256Digest) -> Result<Option<WorkOrder>, Error> {
        let row = sqlx::query(
            "SELECT signing_key, run_id, branch, step, visit, answered_at IS NULL AND closed_at IS NULL AS open
             FROM work_orders WHERE token_sha256 = $1",
        )
        .bind(&token.0[..])
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("a work order"))?;
        Ok(row.map(|row| WorkOrder {
            token,
            signing_key: row.get("signing_key"),
            key: BranchKey { run: RunId(row.get("run_id")), branch: row.get("branch") },
            step: row.get("step"),
            visit: u32::try_from(row.get::<i64, _>("visit")).unwrap_or_default(),
            open: row.get("open"),
        }))
    }

    /// Notes a worker's sign of life; `false` where nobody waits for it any more.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn hear_of_work(&self, token: Sha256Digest) -> Result<bool, Error> {
        let heard = sqlx::query(
            "UPDATE work_orders SET heard_at = now(), taken_at = coalesce(taken_at, now())
             WHERE token_sha256 = $1 AND answered_at IS NULL AND closed_at IS NULL",
        )
        .bind(&token.0[..])
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a worker's sign of life"))?;
        Ok(heard.rows_affected() == 1)
    }

    /// Keeps what a worker completed its task with, once, and has the run go on at once, in one transaction. Of a call that
    /// acts outside the ledger's row is not waited for any longer.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn complete_work<E: From<Error>>(
        &self,
        token: Sha256Digest,
        answer: &str,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Completed, E> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let run = item.run.memory.as_ref().map(|_| &item.run);
        let locked = manifests::lock(&mut tx, run.into_iter()).await?;
        let held = locked.get(&item.run.run).is_some_and(|kept| kept.memory.paused.is_some());
        if held && item.run.branch != 0 && item.run.state == RunState::Running {
            return Ok(Completed::Moved);
        }
        let kept = sqlx::query(
            "UPDATE work_orders SET answered_at = now(), answer = $2::json
             WHERE token_sha256 = $1 AND answered_at IS NULL AND closed_at IS NULL",
        )
        .bind(&token.0[..])
        .bind(answer)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the completion of a work order"))?;
        if kept.rows_affected() == 0 {
            return Ok(Completed::Late);
        }
        let completed = if item.run.state == RunState::Running {
            let Some(won) = beyond::act(&mut tx, &self.policies, item, route).await? else {
                return Ok(Completed::Moved);
            };
            sqlx::query(
                "UPDATE publications SET deadline = now() WHERE run_id = $1 AND step = $2 AND state = 'sent'",
            )
            .bind(item.run.run.0)
            .bind(&item.run.step)
            .execute(&mut *tx)
            .await
            .map_err(Error::sql("the deadline of a claim"))?;
            Completed::Woken(Box::new(won))
        } else {
            Completed::Kept
        };
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(completed)
    }
}

/// The answer of a step was refused: whoever does the step again asks its worker anew.
pub(crate) async fn forget_answer(connection: &mut PgConnection, run: &LoadedRun) -> Result<(), Error> {
    sqlx::query(
        "UPDATE work_orders SET closed_at = now(), answer = NULL
         WHERE run_id = $1 AND branch = $2 AND step = $3 AND answered_at IS NOT NULL AND closed_at IS NULL",
    )
    .bind(run.run.0)
    .bind(run.branch)
    .bind(&run.step)
    .execute(connection)
    .await
    .map_err(Error::sql("a refused answer of a work order"))?;
    Ok(())
}

/// A run, or one of its branches, begins another life, whose visits are counted anew: what was answered in the one before is
/// not taken for an answer in this.
pub(crate) async fn close_all(connection: &mut PgConnection, key: BranchKey) -> Result<(), Error> {
    sqlx::query(
        "UPDATE work_orders SET closed_at = now(), answer = NULL
         WHERE run_id = $1 AND $2 IN (0, branch) AND closed_at IS NULL",
    )
    .bind(key.run.0)
    .bind(key.branch)
    .execute(connection)
    .await
    .map_err(Error::sql("the work orders of a run's life"))?;
    Ok(())
}
