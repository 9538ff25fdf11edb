//! The ledger of effects outside: a row is `sent` before the first byte leaves, and tells afterwards what is known.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{RunId, Sha256Digest, sha256};
use serde::Serialize;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, Item, LoadedRun, Record, Routed, advance, extras};

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
    /// A row of the same key is there already; nobody sends.
    Earlier(Publication),
    /// The run moved on, or ended: nothing was written.
    Stale,
    /// The run's exact content has no approval.
    NotApproved,
}

/// Where a ledger row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PublicationState {
    /// Claimed; it may be under way, or its sender may be gone.
    Sent,
    /// The outlet has it.
    Confirmed,
    /// The outlet refused it for good.
    Rejected,
    /// Nobody can say.
    Unknown,
    /// A person gave it up; the key stays taken.
    Abandoned,
}

impl PublicationState {
    /// The name that API and tables use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Abandoned => "abandoned",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Sent, Self::Confirmed, Self::Rejected, Self::Unknown, Self::Abandoned]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A ledger row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Publication {
    /// Its id.
    pub publication_id: Uuid,
    /// SHA-256 over tenant, origin, step and effect: the same over retries and re-runs.
    pub publication_key: Sha256Digest,
    /// The outlet.
    pub outlet: String,
    /// The tenant.
    pub tenant: String,
    /// The run.
    pub run_id: RunId,
    /// The content that was, or was to be, sent.
    pub content_sha256: Sha256Digest,
    /// The step that sends.
    pub step: String,
    /// Its state.
    pub state: PublicationState,
    /// The outlet's own reference.
    pub reference: Option<String>,
    /// What is known, in words.
    pub reason: Option<String>,
    /// When it was claimed.
    pub sent_at: DateTime<Utc>,
    /// Until when its sender may be sending.
    pub deadline: DateTime<Utc>,
    /// Whether the deadline has passed, by PostgreSQL's clock.
    pub overdue: bool,
    /// Whether a person ordered that it be sent again.
    pub resend: bool,
}

/// The key of an effect: the same for every try, retry and re-run of one origin.
#[must_use]
pub fn publication_key(tenant: &str, origin: Uuid, step: &str, effect: &str) -> Sha256Digest {
    let separator: &[u8] = &[0x1f];
    sha256(&[
        tenant.as_bytes(),
        separator,
        origin.as_bytes(),
        separator,
        step.as_bytes(),
        separator,
        effect.as_bytes(),
    ])
}

const COLUMNS: &str = "publication_id, publication_key, outlet, tenant, run_id, content_sha256, step, state, reference, \
                       reason, sent_at, deadline, resend, deadline <= now() AS overdue";

impl Record {
    /// Claims an effect: under the run's lock, with its `seq` checked and its approval found, `sent` is inserted.
    ///
    /// # Errors
    /// [`Error::Sql`]: nothing was claimed, unless the reply alone was lost; then the claim is found `sent`.
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
                                       content_sha256, step, seq, state, sent_at, deadline)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 'sent', now(), now() + $10 * interval '1 microsecond')
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
        .bind(i64::try_from(claim.deadline.as_micros()).unwrap_or(i64::MAX))
        .fetch_optional(&mut *tx)
        .await
        .map_err(Error::sql("a claim"))?;
        let claimed = match inserted {
            Some(row) => Claimed::Ours(read(&row)?),
            // Another run of the same origin claimed it between our look and our insert.
            None => find(&mut tx, key, claim.outlet).await?.map_or(Claimed::Stale, Claimed::Earlier),
        };
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(claimed)
    }

    /// Takes over a row past its deadline for a resend that is known to be safe: the deadline is set anew, so that
    /// two processes cannot both resend.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn reclaim(&self, publication: Uuid, deadline: Duration) -> Result<bool, Error> {
        let taken = sqlx::query(
            "UPDATE publications SET deadline = now() + $2 * interval '1 microsecond', resend = false
             WHERE publication_id = $1 AND state = 'sent' AND deadline <= now()",
        )
        .bind(publication)
        .bind(i64::try_from(deadline.as_micros()).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the take-over of a claim"))?;
        Ok(taken.rows_affected() == 1)
    }

    /// Gives back a claim of which nothing was sent, so that a later try may claim anew.
    ///
    /// # Errors
    /// [`Error::Sql`]: the row stays `sent`, and its outlet is asked once the deadline has passed.
    pub async fn withdraw(&self, publication: Uuid) -> Result<(), Error> {
        sqlx::query("DELETE FROM publications WHERE publication_id = $1 AND state = 'sent'")
            .bind(publication)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("the withdrawal of a claim"))?;
        Ok(())
    }

    /// Writes an outlet's answer and, in the same transaction, the run's transition. The answer stays written even
    /// where the run's compare-and-set loses. Returns the run's new `seq` if it won.
    ///
    /// # Errors
    /// [`Error::Sql`]: retried by the caller; the row stays `sent` meanwhile.
    pub async fn settle_effect(
        &self,
        publication: Uuid,
        state: PublicationState,
        reference: Option<&str>,
        reason: Option<&str>,
        item: Item,
        routed: Routed,
    ) -> Result<Option<i32>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        // The run first, as claim and cancel do, so that they cannot wait for each other.
        lock_run(&mut tx, &item.run).await?;
        settle_row(&mut tx, publication, state, reference, reason, None).await?;
        let (items, routed) = ([item], [routed]);
        let won = advance::compare_and_set(&mut tx, &items, &routed, &[true]).await?;
        extras::write(&mut tx, &items, &routed, &won).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(won[0])
    }

    /// A person's answer to an `unknown` row, with the run's transition and the escalation's end in one transaction.
    /// `None` where the row is no longer `unknown` or the run moved on; nothing was written then.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn settle_by_person(
        &self,
        publication: &Publication,
        answer: rails::Settled,
        who: &str,
        item: Item,
        routed: Routed,
    ) -> Result<Option<i32>, Error> {
        let state = match answer {
            rails::Settled::Delivered => PublicationState::Confirmed,
            rails::Settled::Resend => PublicationState::Sent,
            rails::Settled::Abandon => PublicationState::Abandoned,
        };
        let reason = format!("{who} answered {answer:?}").to_lowercase();
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        lock_run(&mut tx, &item.run).await?;
        if !settle_row(&mut tx, publication.publication_id, state, None, Some(&reason), Some(who)).await? {
            return Ok(None);
        }
        let seq = item.run.seq;
        let run = item.run.run;
        let (items, routed) = ([item], [routed]);
        let won = advance::compare_and_set(&mut tx, &items, &routed, &[true]).await?;
        if won[0].is_none() {
            return Ok(None);
        }
        extras::write(&mut tx, &items, &routed, &won).await?;
        sqlx::query(
            "UPDATE escalations SET resolved_at = now(), resolution = 'settled', resolved_by = $3
             WHERE run_id = $1 AND branch = 0 AND seq = $2 AND resolved_at IS NULL",
        )
        .bind(run.0)
        .bind(seq)
        .bind(who)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the end of an escalation"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(won[0])
    }

    /// Makes `unknown` what is still `sent` past its deadline while its run no longer stands at the sending step, so
    /// that no job will ask its outlet. Returns how many rows that were.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn give_up_overdue_publications(&self) -> Result<u64, Error> {
        let given_up = sqlx::query(
            "UPDATE publications p SET state = 'unknown', reason = 'its sender died and its run moved on', settled_at = now()
             WHERE p.state = 'sent' AND p.deadline < now()
               AND NOT EXISTS (SELECT FROM runs r WHERE r.run_id = p.run_id AND r.state = 'running' AND r.step = p.step)",
        )
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the settling of overdue publications"))?;
        Ok(given_up.rows_affected())
    }

    /// The ledger, newest first; of one tenant, where named.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn publications(&self, tenant: Option<&str>, limit: i64) -> Result<Vec<Publication>, Error> {
        self.select(
            "$1::uuid IS NULL AND ($2::text IS NULL OR tenant = $2) ORDER BY publication_id DESC LIMIT $3",
            None,
            tenant,
            limit,
        )
        .await
    }

    /// One row.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn publication(&self, id: Uuid) -> Result<Option<Publication>, Error> {
        Ok(self.select("publication_id = $1 AND $2::text IS NULL LIMIT $3", Some(id), None, 1).await?.pop())
    }

    /// The rows of one run, oldest first.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn publications_of(&self, run: RunId) -> Result<Vec<Publication>, Error> {
        self.select(
            "run_id = $1 AND $2::text IS NULL ORDER BY publication_id LIMIT $3",
            Some(run.0),
            None,
            1000,
        )
        .await
    }

    async fn select(
        &self,
        filter: &str,
        id: Option<Uuid>,
        tenant: Option<&str>,
        limit: i64,
    ) -> Result<Vec<Publication>, Error> {
        sqlx::query(sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM publications WHERE {filter}")))
            .bind(id)
            .bind(tenant)
            .bind(limit)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the ledger"))?
            .iter()
            .map(read)
            .collect()
    }
}

/// Locks a run; `false` where it no longer stands as loaded.
async fn lock_run(connection: &mut PgConnection, run: &LoadedRun) -> Result<bool, Error> {
    let now: Option<(i32, String)> =
        sqlx::query_as("SELECT seq, state FROM runs WHERE run_id = $1 FOR UPDATE")
            .bind(run.run.0)
            .fetch_optional(connection)
            .await
            .map_err(Error::sql("the lock of a run"))?;
    Ok(now.is_some_and(|(seq, state)| seq == run.seq && state == run.state.as_str()))
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

/// Moves an unsettled row; `false` where it was settled before. A person settles what is `unknown`, a process what is
/// `sent`.
async fn settle_row(
    connection: &mut PgConnection,
    publication: Uuid,
    state: PublicationState,
    reference: Option<&str>,
    reason: Option<&str>,
    who: Option<&str>,
) -> Result<bool, Error> {
    let from = if who.is_some() { "unknown" } else { "sent" };
    let settled = sqlx::query(
        "UPDATE publications SET state = $2, reference = coalesce($3, reference), reason = $4, settled_by = $5,
                settled_at = CASE WHEN $2 = 'sent' THEN NULL ELSE now() END, resend = $2 = 'sent',
                deadline = CASE WHEN $2 = 'sent' THEN now() ELSE deadline END
         WHERE publication_id = $1 AND state = $6",
    )
    .bind(publication)
    .bind(state.as_str())
    .bind(reference)
    .bind(reason)
    .bind(who)
    .bind(from)
    .execute(connection)
    .await
    .map_err(Error::sql("the settling of a publication"))?;
    Ok(settled.rows_affected() == 1)
}

fn read(row: &sqlx::postgres::PgRow) -> Result<Publication, Error> {
    let publication_id: Uuid = row.get("publication_id");
    let unreadable = |what: &str| Error::unreadable(format_args!("publication {publication_id}"), what);
    let digest = |column: &str| {
        Sha256Digest::from_slice(row.get(column)).ok_or_else(|| unreadable("a digest has another length"))
    };
    Ok(Publication {
        publication_id,
        publication_key: digest("publication_key")?,
        outlet: row.get("outlet"),
        tenant: row.get("tenant"),
        run_id: RunId(row.get("run_id")),
        content_sha256: digest("content_sha256")?,
        step: row.get("step"),
        state: PublicationState::parse(row.get("state")).ok_or_else(|| unreadable("its state is unknown"))?,
        reference: row.get("reference"),
        reason: row.get("reason"),
        sent_at: row.get("sent_at"),
        deadline: row.get("deadline"),
        overdue: row.get("overdue"),
        resend: row.get("resend"),
    })
}
