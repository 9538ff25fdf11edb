//! What people answered to the gates of a run, each bound to what stood before the gate.

use model::{RunId, Sha256Digest};
use rails::{Answer, Basis};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Record};

impl Record {
    /// What people answered to a run's gates.
    ///
    /// # Errors
    /// [`Error::Sql`], [`Error::Unreadable`].
    pub async fn gate_answers(&self, run: RunId) -> Result<Vec<Answer>, Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        Ok(answers(&mut connection, &[run.0]).await?.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Keeps an answer. A later one to the same gate, of the same, takes the place of the earlier one.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn answer_gate(&self, run: RunId, answer: &Answer) -> Result<(), Error> {
        let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
        write(&mut connection, run, answer).await
    }
}

/// The answers of several runs, each with its run.
pub(crate) async fn answers(
    connection: &mut PgConnection,
    runs: &[Uuid],
) -> Result<Vec<(RunId, Answer)>, Error> {
    let rows = sqlx::query(
        "SELECT run_id, gate, subject, basis, answered_by FROM gate_answers WHERE run_id = ANY($1) ORDER BY run_id, gate",
    )
    .bind(runs)
    .fetch_all(connection)
    .await
    .map_err(Error::sql("the answers to gates"))?;
    rows.iter().map(read).collect()
}

/// Keeps an answer in the transaction that commits its decision.
pub(crate) async fn write(connection: &mut PgConnection, run: RunId, answer: &Answer) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO gate_answers (run_id, gate, subject, basis, answered_by) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (run_id, gate, subject) DO UPDATE SET basis = EXCLUDED.basis, answered_by = EXCLUDED.answered_by,
             answered_at = now()",
    )
    .bind(run.0)
    .bind(&answer.gate)
    .bind(&answer.subject.0[..])
    .bind(if answer.basis == Basis::Override { "override" } else { "person" })
    .bind(&answer.by)
    .execute(connection)
    .await
    .map_err(Error::sql("an answer to a gate"))?;
    Ok(())
}

fn read(row: &PgRow) -> Result<(RunId, Answer), Error> {
    let run = RunId(row.get("run_id"));
    let subject: &[u8] = row.get("subject");
    let subject =
        subject.try_into().map_err(|e| Error::unreadable(format_args!("an answer of run {run}"), e))?;
    let basis = if row.get::<&str, _>("basis") == "override" { Basis::Override } else { Basis::Person };
    let answer =
        Answer { gate: row.get("gate"), subject: Sha256Digest(subject), basis, by: row.get("answered_by") };
    Ok((run, answer))
}
