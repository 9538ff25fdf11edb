//! Epochs: a new one begins when the record was put back from a backup, behind what the fleet has done since.
//!
//! What went out after the backup was made, the ledger does not know. So whatever is claimed from then on is asked about
//! before it is sent: a run of an earlier epoch may have been published, and so may the event of a new run that came in
//! before, since its id follows from its source and request id.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Error, Record};

/// What a new epoch found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    /// Its number.
    pub epoch: i32,
    /// Runs that were open.
    pub open_runs: i64,
    /// Links and vectors that were written by transactions of another server, and count as of this one now.
    pub renumbered: u64,
}

impl Record {
    /// Begins a new epoch: new runs belong to it, all others come from before the restore. The orders of people to send
    /// again are taken back, since they may have been carried out; and what followers of the log read by its
    /// transactions is put in front of where this server stands.
    ///
    /// # Errors
    /// [`Error::Sql`]; nothing was written.
    pub async fn begin_epoch(&self, reason: &str) -> Result<Epoch, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        // A backup may lack the sequence behind the column.
        let epoch: i32 = sqlx::query_scalar(
            "INSERT INTO epochs (epoch, reason) OVERRIDING SYSTEM VALUE
             SELECT coalesce(max(epoch), 0) + 1, $1 FROM epochs RETURNING epoch",
        )
        .bind(reason)
        .fetch_one(&mut *tx)
        .await
        .map_err(Error::sql("a new epoch"))?;
        // A default cannot be a parameter. Builds that know nothing of epochs insert by it too.
        sqlx::query(sqlx::AssertSqlSafe(format!("ALTER TABLE runs ALTER COLUMN epoch SET DEFAULT {epoch}")))
            .execute(&mut *tx)
            .await
            .map_err(Error::sql("the epoch of new runs"))?;
        sqlx::query("UPDATE publications SET resend = false WHERE state = 'sent' AND resend")
            .execute(&mut *tx)
            .await
            .map_err(Error::sql("the orders to send again"))?;
        let renumbered = renumber(&mut tx).await?;
        let open_runs: i64 =
            sqlx::query_scalar("SELECT count(*) FROM runs WHERE state IN ('running', 'waiting', 'parked')")
                .fetch_one(&mut *tx)
                .await
                .map_err(Error::sql("the count of open runs"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Epoch { epoch, open_runs, renumbered })
    }

    /// How many of these publications the record does not have.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn absent_publications(&self, publications: &[Uuid]) -> Result<i64, Error> {
        sqlx::query_scalar(
            "SELECT count(*) FROM UNNEST($1::uuid[]) AS p(publication_id)
             WHERE NOT EXISTS (SELECT FROM publications WHERE publication_id = p.publication_id)",
        )
        .bind(publications)
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("the look-up of publications"))
    }

    /// Refuses a log that was written by transactions which this server has yet to see: it was put in from another one.
    pub(crate) async fn check_transactions(&self) -> Result<(), Error> {
        let foreign: bool = sqlx::query_scalar(
            "SELECT coalesce(max(xid) >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint, false)
             FROM provenance_log",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("the look-up of its transactions"))?;
        if foreign {
            return Err(Error::Unfit(
                "the record was put in from another PostgreSQL server: stop the fleet and run `tidemill restored`"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

/// Transactions that another server counted, and this one has not reached, become this one: followers that read below
/// the oldest open transaction would not see their rows, and one whose cursor stands there would see nothing for long.
async fn renumber(connection: &mut PgConnection) -> Result<u64, Error> {
    let this: i64 = sqlx::query_scalar("SELECT pg_current_xact_id()::text::bigint")
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::sql("its own transaction"))?;
    // What every follower has read stays read: it is put before everything.
    let links = sqlx::query(
        "WITH behind AS (
             SELECT xid::text::bigint AS xid, coalesce(run_id, '00000000-0000-0000-0000-000000000000') AS run_id,
                    coalesce(branch, 0) AS branch, coalesce(pos, 0) AS pos
             FROM relay_cursors ORDER BY 1, 2, 3, 4 LIMIT 1)
         UPDATE provenance_log p
         SET xid = CASE WHEN EXISTS (SELECT FROM behind b
                                     WHERE (p.xid, p.run_id, p.branch, p.pos) <= (b.xid, b.run_id, b.branch, b.pos))
                        THEN 0 ELSE $1 END
         WHERE p.xid >= $1",
    )
    .bind(this)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the transactions of the log"))?;
    let vectors = sqlx::query("UPDATE embedding_records SET xid = $1 WHERE xid >= $1")
        .bind(this)
        .execute(&mut *connection)
        .await
        .map_err(Error::sql("the transactions of the vectors"))?;
    sqlx::query(
        "UPDATE relay_cursors SET xid = $1::bigint::text::xid8, run_id = NULL, branch = NULL, pos = NULL
         WHERE xid >= $1::bigint::text::xid8",
    )
    .bind(this)
    .execute(&mut *connection)
    .await
    .map_err(Error::sql("the cursors of the log"))?;
    Ok(links.rows_affected() + vectors.rows_affected())
}
