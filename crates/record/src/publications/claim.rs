//! Claims: the row is `sent` before the first byte leaves.

use std::time::Duration;

use model::Sha256Digest;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{COLUMNS, Publication, lock_run, publication_key, read};
use crate::micros::micros;
use crate::{Error, LoadedRun, Record};

/// A claim to send one content through one outlet.
#[derive(Debug, Clone)]
pub struct Claim<'a> {
    /// The run, as it was loaded.
    pub run: &'a LoadedRun,
    /// The outlet.
    pub outlet: &'a str,
    /// The effect's name, part of the key.
    pub effect: &'a str,
    /// How long until whoever finds the row may stop waiting for its sender.
    pub deadline: Duration,
}

/// What a claim met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The row is `sent` and ours: send now, and finish before the deadline.
    Ours(Publication),
    /// The row is `sent` and overdue: nothing was sent of it, but the record was put back from a backup, and something may
    /// have been before. Its outlet is to be asked first.
    Restored(Publication),
    /// A row of the same key is there already; nobody sends.
    Earlier(Publication),
    /// The run moved on, or ended: nothing was written.
    Stale,
    /// The run's exact content has no approval.
    NotApproved,
}

impl Record {
    /// Claims an effect: under the run's lock, with its `seq` checked and its approval found, `sent` is inserted.
    ///
    /// # Errors
    /// [`Error::Sql`]: nothing was claimed, unless the reply alone was lost; then the claim is found `sent`.
    /// [`Error::Unreadable`] where the row that was found is of another version.
    pub async fn claim(&self, claim: &Claim<'_>) -> Result<Claimed, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        if !lock_run(&mut tx, claim.run).await? {
            return Ok(Claimed::Stale);
        }
        let Some(content) = claim.run.content_sha256 else { return Ok(Claimed::NotApproved) };
        let key = publication_key(&claim.run.tenant, claim.run.event_id, &claim.run.step, claim.effect);
        if let Some(earlier) = find(&mut tx, key, claim.outlet).await? {
            return Ok(Claimed::Earlier(earlier));
        }
        let approval: Option<Uuid> = sqlx::query_scalar(
            "SELECT approval_id FROM approvals WHERE run_id = $1 AND content_sha256 = $2 ORDER BY approved_at DESC LIMIT 1",
        )
        .bind(claim.run.run.0)
        .bind(&content.0[..])
        .fetch_optional(&mut *tx)
        .await
        .map_err(Error::sql("the look-up of an approval"))?;
        let Some(approval) = approval else { return Ok(Claimed::NotApproved) };
        let inserted = sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO publications (publication_id, publication_key, outlet, tenant, run_id, approval_id,
                                       content_sha256, step, seq, state, sent_at, restored, resend, deadline)
             SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 'sent', now(), e.epoch > 1,
                    -- The event of a run that is new may have come before: where the outlet cannot tell, it is sent.
                    e.epoch > 1 AND r.epoch >= e.epoch,
                    CASE WHEN e.epoch > 1 THEN now() ELSE now() + $10 * interval '1 microsecond' END
             FROM runs r, (SELECT max(epoch) AS epoch FROM epochs) e WHERE r.run_id = $5
             ON CONFLICT DO NOTHING RETURNING {COLUMNS}"
        )))
        .bind(Uuid::now_v7())
        .bind(&key.0[..])
        .bind(claim.outlet)
        .bind(&claim.run.tenant)
        .bind(claim.run.run.0)
        .bind(approval)
        .bind(&content.0[..])
        .bind(&claim.run.step)
        .bind(claim.run.seq)
        .bind(micros(claim.deadline))
        .fetch_optional(&mut *tx)
        .await
        .map_err(Error::sql("a claim"))?;
        let claimed = match inserted {
            Some(row) => match read(&row)? {
                row if row.restored => Claimed::Restored(row),
                row => Claimed::Ours(row),
            },
            // Another run of the same origin claimed it between our look and our insert.
            None => find(&mut tx, key, claim.outlet).await?.map_or(Claimed::Stale, Claimed::Earlier),
        };
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(claimed)
    }

    /// Takes over a row past its deadline for a resend that is known to be safe, under the run's lock and with its `seq`
    /// checked. The deadline that was read is the claim's identity, and is set anew: of two that saw the same row one
    /// resends. `None` where the row or the run moved on.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where a row is of another version.
    pub async fn reclaim(
        &self,
        seen: &Publication,
        run: &LoadedRun,
        deadline: Duration,
    ) -> Result<Option<Publication>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        if !lock_run(&mut tx, run).await? {
            return Ok(None);
        }
        let taken = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE publications SET deadline = now() + $3 * interval '1 microsecond', resend = false, restored = false
             WHERE publication_id = $1 AND state = 'sent' AND deadline = $2 AND deadline <= now()
             RETURNING {COLUMNS}"
        )))
        .bind(seen.publication_id)
        .bind(seen.deadline)
        .bind(micros(deadline))
        .fetch_optional(&mut *tx)
        .await
        .map_err(Error::sql("the take-over of a claim"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        taken.map(|row| read(&row)).transpose()
    }

    /// Gives back a claim that was taken over, and of which nothing was sent since: it stands as it was found, past its deadline.
    /// One that another process took over since stays.
    ///
    /// # Errors
    /// [`Error::Sql`]: the claim is found again once its new deadline has passed.
    pub async fn give_back(&self, claim: &Publication, found: &Publication) -> Result<(), Error> {
        sqlx::query(
            "UPDATE publications SET deadline = $3, resend = $4, restored = $5
             WHERE publication_id = $1 AND state = 'sent' AND deadline = $2",
        )
        .bind(claim.publication_id)
        .bind(claim.deadline)
        .bind(found.deadline)
        .bind(found.resend)
        .bind(found.restored)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a claim that is given back"))?;
        Ok(())
    }

    /// Gives back a claim of which nothing was sent, so that a later try may claim anew. A claim that another process
    /// took over since stays.
    ///
    /// # Errors
    /// [`Error::Sql`]: the row stays `sent`, and its outlet is asked once the deadline has passed.
    pub async fn withdraw(&self, claim: &Publication) -> Result<(), Error> {
        sqlx::query(
            "DELETE FROM publications WHERE publication_id = $1 AND state = 'sent' AND deadline = $2",
        )
        .bind(claim.publication_id)
        .bind(claim.deadline)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the withdrawal of a claim"))?;
        Ok(())
    }
}

async fn find(
    connection: &mut PgConnection,
    key: Sha256Digest,
    outlet: &str,
) -> Result<Option<Publication>, Error> {
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM publications WHERE publication_key = $1 AND outlet = $2 AND state <> 'rejected'"
    )))
    .bind(&key.0[..])
    .bind(outlet)
    .fetch_optional(connection)
    .await
    .map_err(Error::sql("the look-up of a publication"))?
    .map(|row| read(&row))
    .transpose()
}
