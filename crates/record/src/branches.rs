//! Branches of runs: each a row with a state, a `seq` and a chain of its own.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use model::{RunId, RunState, Sha256Digest, Usage, genesis};
use serde::Serialize;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::compare_and_set::{Artifacts, entry};
use crate::provenance::{BeyondEntry, ProvenanceEntry, trace_id};
use crate::{Error, LoadedRun, Record, Routed};

/// A branch of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct BranchView {
    /// Its number, through the workflow.
    pub branch: i32,
    /// The step that opened it.
    pub fork: String,
    /// `running`, `waiting` and `parked` are open.
    pub state: String,
    /// Where it stands.
    pub step: String,
    /// Its transition counter.
    pub seq: i32,
    /// Handler failures at this step.
    pub attempt: i32,
    /// Why it stands so.
    pub reason: String,
    /// When its job is due.
    pub due_at: DateTime<Utc>,
    /// When it was opened last.
    pub opened_at: DateTime<Utc>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
}

impl Record {
    /// The branches of a run, by number.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn branches(&self, run: RunId) -> Result<Vec<BranchView>, Error> {
        let rows = sqlx::query(
            "SELECT branch, fork_step, state, step, seq, attempt, reason, due_at, opened_at, ended_at
             FROM run_branches WHERE run_id = $1 ORDER BY branch",
        )
        .bind(run.0)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the branches of a run"))?;
        Ok(rows
            .iter()
            .map(|row| BranchView {
                branch: row.get("branch"),
                fork: row.get("fork_step"),
                state: row.get("state"),
                step: row.get("step"),
                seq: row.get("seq"),
                attempt: row.get("attempt"),
                reason: row.get("reason"),
                due_at: row.get("due_at"),
                opened_at: row.get("opened_at"),
                ended_at: row.get("ended_at"),
            })
            .collect())
    }

    /// The branch of a run that stands at this step: the run itself, or the one of its branches that does.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn branch_at(&self, run: RunId, step: &str) -> Result<i32, Error> {
        let branch: Option<i32> = sqlx::query_scalar(
            "SELECT branch FROM run_branches
             WHERE run_id = $1 AND step = $2 AND state IN ('running', 'waiting', 'parked') LIMIT 1",
        )
        .bind(run.0)
        .bind(step)
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the look-up of a branch"))?;
        Ok(branch.unwrap_or(0))
    }
}

/// Advances a branch that still stands where it was loaded, of a run that is open; returns its new `seq`, `None` for a
/// loser. Its artifacts and its link are inserted in the same statement.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    run: &LoadedRun,
    routed: &Routed,
) -> Result<Option<i32>, Error> {
    let transition = &routed.transition;
    let link = entry(run, routed).link(run.chain_head)?;
    let mut artifacts = Artifacts::default();
    artifacts.collect(run, routed);
    sqlx::query_scalar(
        "WITH won AS (
             UPDATE run_branches b SET seq = b.seq + 1, state = $6, step = $7, attempt = $8,
                    due_at = now() + $9 * interval '1 microsecond', reason = $10, chain_head = $11,
                    chain_len = b.chain_len + 1,
                    traceparent = CASE WHEN $5 = 'running' AND $6 = 'running' THEN b.traceparent
                                       ELSE coalesce($12, b.traceparent) END,
                    moved_at = CASE WHEN $16 THEN b.moved_at ELSE now() END,
                    ended_at = CASE WHEN $6 IN ('running', 'waiting', 'parked') THEN NULL ELSE now() END
             FROM runs r
             WHERE b.run_id = $1 AND b.branch = $2 AND b.seq = $3 AND b.chain_len = $4 AND b.state = $5
               AND r.run_id = b.run_id AND r.state IN ('running', 'waiting', 'parked')
             RETURNING b.seq),
         chained AS (
             INSERT INTO provenance_log (run_id, branch, pos, body, hash) SELECT $1, $2, $4 + 1, $13, $11 FROM won),
         kept AS (
             INSERT INTO artifacts (run_id, branch, seq, name, body)
             SELECT $1, $2, $3, a.name, a.body::json FROM UNNEST($14::text[], $15::text[]) AS a(name, body), won)
         SELECT seq FROM won",
    )
    .bind(run.run.0)
    .bind(run.branch)
    .bind(run.seq)
    .bind(run.chain_len)
    .bind(run.state.as_str())
    .bind(transition.state.as_str())
    .bind(&transition.step)
    .bind(transition.attempt)
    .bind(routed.delay_micros())
    .bind(&transition.reason)
    .bind(&link.hash.0[..])
    .bind(run.traceparent.as_deref())
    .bind(link.body)
    .bind(artifacts.names)
    .bind(artifacts.bodies)
    .bind(routed.stays(run))
    .fetch_optional(connection)
    .await
    .map_err(Error::sql("the advance of a branch"))
}

/// What becomes of a branch without a job of its own.
pub(crate) struct Change<'a> {
    pub(crate) branch: i32,
    pub(crate) to: Becomes<'a>,
    pub(crate) reason: &'a str,
}

#[derive(Clone, Copy)]
pub(crate) enum Becomes<'a> {
    /// A fork opens it at a step, `running`; or finds that it needs no job, and it ends with this state at once.
    Opened { fork: &'a str, step: &'a str, state: RunState },
    /// It is held back with its run where it stands.
    Held { fork: &'a str, step: &'a str },
    /// It goes on with its run, its tries begun anew.
    Resumed { fork: &'a str, step: &'a str },
    /// A join or the run's end closes it where it stands.
    Closed,
}

struct Present {
    fork: String,
    step: String,
    seq: i32,
    attempt: i32,
    chain_head: Sha256Digest,
    chain_len: i32,
}

/// Opens and closes branches, each with a fresh `seq` and a link in its chain; returns their numbers and `seq`s.
pub(crate) async fn change(
    connection: &mut PgConnection,
    run: &LoadedRun,
    routed: &Routed,
    changes: &[Change<'_>],
) -> Result<Vec<(i32, i32)>, Error> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i32> = changes.iter().map(|change| change.branch).collect();
    let mut present = present(connection, run.run, &numbers).await?;
    let mut rows = Rows::default();
    for change in changes {
        let before = present.remove(&change.branch).unwrap_or_else(|| Present {
            fork: String::new(),
            step: String::new(),
            seq: -1,
            attempt: 0,
            chain_head: genesis(run.run, change.branch),
            chain_len: 0,
        });
        rows.push(run, routed, change, before)?;
    }
    let seqs = numbers.into_iter().zip(rows.seqs.iter().copied()).collect();
    rows.write(connection, run).await?;
    Ok(seqs)
}

async fn present(
    connection: &mut PgConnection,
    run: RunId,
    numbers: &[i32],
) -> Result<HashMap<i32, Present>, Error> {
    let rows = sqlx::query(
        "SELECT branch, fork_step, step, seq, attempt, chain_head, chain_len
         FROM run_branches WHERE run_id = $1 AND branch = ANY($2) ORDER BY branch FOR UPDATE",
    )
    .bind(run.0)
    .bind(numbers)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the lock of branches"))?;
    rows.iter()
        .map(|row| {
            let number: i32 = row.get("branch");
            let head = Sha256Digest::from_slice(row.get("chain_head")).ok_or_else(|| {
                let name = format!("branch {number} of run {run}");
                Error::unreadable(name, "its chain head is no SHA-256")
            })?;
            let present = Present {
                fork: row.get("fork_step"),
                step: row.get("step"),
                seq: row.get("seq"),
                attempt: row.get("attempt"),
                chain_head: head,
                chain_len: row.get("chain_len"),
            };
            Ok((number, present))
        })
        .collect()
}

/// The arrays that one UNNEST takes.
#[derive(Default)]
struct Rows<'a> {
    numbers: Vec<i32>,
    forks: Vec<String>,
    states: Vec<&'static str>,
    steps: Vec<String>,
    seqs: Vec<i32>,
    attempts: Vec<i32>,
    heads: Vec<Vec<u8>>,
    lens: Vec<i32>,
    reasons: Vec<&'a str>,
    bodies: Vec<String>,
}

impl<'a> Rows<'a> {
    fn push(
        &mut self,
        run: &LoadedRun,
        routed: &Routed,
        change: &Change<'a>,
        before: Present,
    ) -> Result<(), Error> {
        let (what, from, state, step, attempt) = match change.to {
            Becomes::Opened { fork, step, state } => ("opened", fork, state, step, 0),
            Becomes::Held { step, .. } => ("paused", step, RunState::Parked, step, before.attempt),
            Becomes::Resumed { step, .. } => ("resumed", step, RunState::Running, step, 0),
            Becomes::Closed => {
                let step = before.step.as_str();
                ("closed", step, RunState::Cancelled, step, before.attempt)
            }
        };
        let seq = before.seq + 1;
        let link = ProvenanceEntry {
            run: run.run,
            branch: change.branch,
            pos: before.chain_len + 1,
            kind: "transition",
            what,
            seq,
            step: from,
            state: state.as_str(),
            next: step,
            attempt,
            reason: change.reason,
            actor: &routed.advance.actor,
            at: routed.advance.at,
            model: None,
            worker_output_prompt: None,
            usage: Usage::default(),
            input_sha256: None,
            output_sha256: None,
            content_sha256: None,
            gates: &[],
            trace_id: trace_id(run.traceparent.as_deref()),
            planner_intent: &run.planner_intent,
            beyond: Some(BeyondEntry::of(run)),
        }
        .link(before.chain_head)?;
        self.numbers.push(change.branch);
        self.states.push(state.as_str());
        self.steps.push(step.to_owned());
        self.forks.push(match change.to {
            Becomes::Opened { fork, .. } | Becomes::Held { fork, .. } | Becomes::Resumed { fork, .. } => {
                fork.to_owned()
            }
            Becomes::Closed => before.fork,
        });
        self.seqs.push(seq);
        self.attempts.push(attempt);
        self.heads.push(link.hash.0.to_vec());
        self.lens.push(link.pos);
        self.reasons.push(change.reason);
        self.bodies.push(link.body);
        Ok(())
    }

    async fn write(self, connection: &mut PgConnection, run: &LoadedRun) -> Result<(), Error> {
        sqlx::query(
            "WITH given AS (
                 SELECT * FROM UNNEST($2::int[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::bytea[],
                                      $9::int[], $10::text[], $11::text[])
                      AS g(branch, fork_step, state, step, seq, attempt, chain_head, chain_len, reason, body)),
             chained AS (
                 INSERT INTO provenance_log (run_id, branch, pos, body, hash)
                 SELECT $1, branch, chain_len, body, chain_head FROM given)
             INSERT INTO run_branches AS b (run_id, branch, fork_step, state, step, seq, attempt, due_at, chain_head,
                                            chain_len, reason, traceparent, ended_at)
             SELECT $1, branch, fork_step, state, step, seq, attempt, now(), chain_head, chain_len, reason, $12,
                    CASE WHEN state IN ('running', 'parked') THEN NULL ELSE now() END
             FROM given
             ON CONFLICT (run_id, branch) DO UPDATE
             SET fork_step = EXCLUDED.fork_step, state = EXCLUDED.state, step = EXCLUDED.step, seq = EXCLUDED.seq,
                 attempt = EXCLUDED.attempt, due_at = EXCLUDED.due_at, chain_head = EXCLUDED.chain_head,
                 chain_len = EXCLUDED.chain_len, reason = EXCLUDED.reason, moved_at = now(),
                 traceparent = coalesce(EXCLUDED.traceparent, b.traceparent), ended_at = EXCLUDED.ended_at,
                 opened_at = CASE WHEN EXCLUDED.state = 'running' AND b.state <> 'parked' THEN now()
                                  ELSE b.opened_at END",
        )
        .bind(run.run.0)
        .bind(self.numbers)
        .bind(self.forks)
        .bind(self.states)
        .bind(self.steps)
        .bind(self.seqs)
        .bind(self.attempts)
        .bind(self.heads)
        .bind(self.lens)
        .bind(self.reasons)
        .bind(self.bodies)
        .bind(run.traceparent.as_deref())
        .execute(connection)
        .await
        .map_err(Error::sql("the change of branches"))?;
        Ok(())
    }
}

/// Ends what was asked about branches that were closed.
pub(crate) async fn withdraw_questions(
    connection: &mut PgConnection,
    run: RunId,
    branches: &[i32],
    by: &str,
) -> Result<(), Error> {
    sqlx::query(
        "UPDATE escalations SET resolved_at = now(), resolution = 'cancelled', resolved_by = $3
         WHERE run_id = $1 AND branch = ANY($2) AND resolved_at IS NULL",
    )
    .bind(run.0)
    .bind(branches)
    .bind(by)
    .execute(connection)
    .await
    .map_err(Error::sql("the end of escalations"))?;
    Ok(())
}

/// Counts the branches that are open, for whoever reads the run's row alone.
pub(crate) async fn count_open(connection: &mut PgConnection, run: Uuid) -> Result<(), Error> {
    sqlx::query(
        "UPDATE runs SET open_branches = (SELECT count(*) FROM run_branches
             WHERE run_id = $1 AND state IN ('running', 'waiting', 'parked')) WHERE run_id = $1",
    )
    .bind(run)
    .execute(connection)
    .await
    .map_err(Error::sql("the count of open branches"))?;
    Ok(())
}
