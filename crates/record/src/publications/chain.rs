//! Links about the ledger in a run's chain, of which the run itself takes no notice.

use model::{Actor, RunId, Sha256Digest, Usage};
use sqlx::{PgConnection, Row};

use crate::Error;
use crate::provenance::{ProvenanceEntry, trace_id};

/// A run's chain under the run's lock, for links about the ledger: the run itself stays where it is.
pub(super) struct Chain {
    run: RunId,
    row: sqlx::postgres::PgRow,
}

impl Chain {
    /// # Errors
    /// [`Error::Sql`], also where the run is gone.
    pub(super) async fn lock(connection: &mut PgConnection, run: RunId) -> Result<Self, Error> {
        let gone = || Error::sql("the lock of a run")(sqlx::Error::RowNotFound);
        Self::lock_if_there(connection, run).await?.ok_or_else(gone)
    }

    /// `None` where the run was pruned: its publications outlive it.
    pub(super) async fn lock_if_there(
        connection: &mut PgConnection,
        run: RunId,
    ) -> Result<Option<Self>, Error> {
        let row = sqlx::query(
            "SELECT r.seq, r.state, r.step, r.attempt, r.chain_head, r.chain_len, r.content_sha256, r.traceparent, i.purpose
             FROM runs r JOIN intents i USING (intent_id) WHERE r.run_id = $1 FOR UPDATE OF r",
        )
        .bind(run.0)
        .fetch_optional(connection)
        .await
        .map_err(Error::sql("the lock of a run"))?;
        Ok(row.map(|row| Self { run, row }))
    }

    pub(super) async fn append(
        &self,
        connection: &mut PgConnection,
        what: &str,
        reason: &str,
        actor: &Actor,
    ) -> Result<(), Error> {
        let (run, row) = (self.run, &self.row);
        let digest = |column: &str| row.get::<Option<&[u8]>, _>(column).and_then(Sha256Digest::from_slice);
        let head = digest("chain_head")
            .ok_or_else(|| Error::unreadable(format_args!("run {run}"), "its chain head is no SHA-256"))?;
        let link = ProvenanceEntry {
            run,
            branch: 0,
            pos: row.get::<i32, _>("chain_len") + 1,
            kind: "ledger",
            what,
            seq: row.get("seq"),
            step: row.get("step"),
            state: row.get("state"),
            next: row.get("step"),
            attempt: row.get("attempt"),
            reason,
            actor,
            at: chrono::Utc::now(),
            model: None,
            worker_output_prompt: None,
            usage: Usage::default(),
            input_sha256: None,
            output_sha256: None,
            content_sha256: digest("content_sha256"),
            gates: &[],
            trace_id: trace_id(row.get("traceparent")),
            planner_intent: row.get("purpose"),
            beyond: None,
        }
        .link(head)?;
        sqlx::query(
            "WITH grown AS (
                 UPDATE runs SET chain_head = $3, chain_len = chain_len + 1 WHERE run_id = $1 RETURNING chain_len)
             INSERT INTO provenance_log (run_id, branch, pos, body, hash) SELECT $1, 0, chain_len, $2, $3 FROM grown",
        )
        .bind(run.0)
        .bind(link.body)
        .bind(&link.hash.0[..])
        .execute(connection)
        .await
        .map_err(Error::sql("a link about the ledger"))?;
        Ok(())
    }
}
