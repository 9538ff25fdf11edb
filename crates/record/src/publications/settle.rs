//! Settling: what an outlet answered, what a person says, what nobody can say.

use model::{Actor, RunId};
use rails::Facts;
use sqlx::PgConnection;
use uuid::Uuid;

use super::chain::Chain;
use super::{Publication, PublicationState, lock_run};
use crate::notices::{self, NoticeKind};
use crate::{Error, Item, LoadedRun, Record, Routed, Won, beyond};

/// A row whose sender is gone, and whose run will not ask for it.
const ABANDONED: &str = "p.state = 'sent' AND p.deadline < now() AND NOT EXISTS (
    SELECT FROM runs r WHERE r.run_id = p.run_id AND r.state = 'running' AND r.step = p.step)
  AND NOT EXISTS (
    SELECT FROM run_branches b WHERE b.run_id = p.run_id AND b.state = 'running' AND b.step = p.step)";

impl Record {
    /// Writes an outlet's answer and, in the same transaction, the run's transition. The answer stays written even
    /// where the run's compare-and-set loses. Returns the transition if it won. Where another process took the claim
    /// over since, only a delivery is news: anything else is left to that process.
    ///
    /// # Errors
    /// [`Error::Sql`]: retried by the caller; the row stays `sent` meanwhile. [`Error::Unreadable`] where a link of the
    /// run's chain cannot be made.
    pub async fn settle_effect(
        &self,
        claim: &Publication,
        state: PublicationState,
        reference: Option<&str>,
        reason: Option<&str>,
        item: &Item,
        route: &(dyn Fn(&LoadedRun, &Facts) -> Routed + Sync),
    ) -> Result<Option<Won>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        beyond::lock(&mut tx, item).await?;
        // The run first, as claim and cancel do, so that they cannot wait for each other.
        let chain = Chain::lock(&mut tx, item.run.run).await?;
        if state != PublicationState::Confirmed && is_taken_over(&mut tx, claim).await? {
            return Ok(None);
        }
        let settled = settle_row(&mut tx, claim.publication_id, state, reference, reason, None).await?;
        let mut actor = None;
        let routed = |run: &LoadedRun, facts: &Facts| {
            let routed = route(run, facts);
            actor = Some(routed.advance.actor.clone());
            Ok::<_, Error>(routed)
        };
        let won = beyond::act(&mut tx, &self.policies, item, routed).await?;
        if settled && won.is_none() {
            let words = reference.or(reason).unwrap_or_default();
            let actor = actor.unwrap_or_else(|| route(&item.run, &Facts::default()).advance.actor);
            chain.append(&mut tx, state.as_str(), words, &actor).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(won)
    }

    /// A person's answer to an `unknown` row, with the run's transition and the escalation's end in one transaction.
    /// `None` where the row is no longer `unknown` or the run moved on; nothing was written then.
    ///
    /// # Errors
    /// [`Error::Sql`], and what the route refuses.
    pub async fn settle_by_person<E: From<Error>>(
        &self,
        publication: &Publication,
        answer: rails::Settled,
        who: &str,
        item: &Item,
        route: impl FnMut(&LoadedRun, &Facts) -> Result<Routed, E>,
    ) -> Result<Option<Won>, E> {
        let state = match answer {
            rails::Settled::Delivered => PublicationState::Confirmed,
            rails::Settled::Resend => PublicationState::Sent,
            rails::Settled::Abandon => PublicationState::Abandoned,
        };
        let reason = format!("{who} answered {answer:?}").to_lowercase();
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        beyond::lock(&mut tx, item).await?;
        lock_run(&mut tx, &item.run).await?;
        if !settle_row(&mut tx, publication.publication_id, state, None, Some(&reason), Some(who)).await? {
            return Ok(None);
        }
        let Some(won) = beyond::act(&mut tx, &self.policies, item, route).await? else { return Ok(None) };
        sqlx::query(
            "UPDATE escalations SET resolved_at = now(), resolution = 'settled', resolved_by = $3
             WHERE run_id = $1 AND branch = $4 AND seq = $2 AND resolved_at IS NULL",
        )
        .bind(item.run.run.0)
        .bind(item.run.seq)
        .bind(who)
        .bind(item.run.branch)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the end of an escalation"))?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(Some(won))
    }

    /// Makes `unknown` what is still `sent` past its deadline while its run no longer stands at the sending step, so
    /// that no job will ask its outlet. Returns how many rows that were.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the run's chain head is no SHA-256.
    /// What was settled before it stays settled.
    pub async fn give_up_overdue_publications(&self, actor: &Actor) -> Result<u64, Error> {
        let overdue: Vec<(Uuid, Uuid)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT p.publication_id, p.run_id FROM publications p WHERE {ABANDONED} ORDER BY p.deadline LIMIT 100"
        )))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the overdue publications"))?;
        let mut given_up = 0;
        for (publication, run) in overdue {
            given_up += u64::from(self.give_up(publication, RunId(run), actor).await?);
        }
        Ok(given_up)
    }

    async fn give_up(&self, publication: Uuid, run: RunId, actor: &Actor) -> Result<bool, Error> {
        let reason = "its sender died and its run moved on";
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let chain = Chain::lock(&mut tx, run).await?;
        let settled = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE publications p SET state = 'unknown', reason = $2, settled_at = now()
             WHERE p.publication_id = $1 AND {ABANDONED}"
        )))
        .bind(publication)
        .bind(reason)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the settling of an overdue publication"))?;
        if settled.rows_affected() == 0 {
            return Ok(false);
        }
        chain.append(&mut tx, PublicationState::Unknown.as_str(), reason, actor).await?;
        notices::of_publication(&mut tx, NoticeKind::PublicationUnknown, publication, reason).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(true)
    }

    /// A person's answer to an `unknown` row for which its run, as it was seen, does not wait: the ledger alone is settled.
    /// `false` where the row is no longer `unknown`, or the run, or the branch that was seen, moved on: it may wait for the
    /// answer by now.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the run's chain head is no SHA-256.
    pub async fn settle_row_by_person(
        &self,
        publication: &Publication,
        state: PublicationState,
        who: &str,
        seen: &LoadedRun,
    ) -> Result<bool, Error> {
        let reason = format!("{who} answered {}", state.as_str());
        let actor = Actor::person(who);
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let chain = Chain::lock(&mut tx, publication.run_id).await?;
        if !stands_at(&mut tx, seen).await?
            || !settle_row(&mut tx, publication.publication_id, state, None, Some(&reason), Some(who)).await?
        {
            return Ok(false);
        }
        chain.append(&mut tx, state.as_str(), &reason, &actor).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(true)
    }
}

/// Whether a run that is locked, or the branch of it that is meant, stands where it was seen; the branch is locked, too.
async fn stands_at(connection: &mut PgConnection, seen: &LoadedRun) -> Result<bool, Error> {
    let of_run = "SELECT seq FROM runs WHERE run_id = $1 AND $2 = 0";
    let of_branch = "SELECT seq FROM run_branches WHERE run_id = $1 AND branch = $2 FOR UPDATE";
    let now: Option<i32> = sqlx::query_scalar(if seen.branch == 0 { of_run } else { of_branch })
        .bind(seen.run.0)
        .bind(seen.branch)
        .fetch_optional(connection)
        .await
        .map_err(Error::sql("where a run stands"))?;
    Ok(now == Some(seen.seq))
}

/// Whether a claim belongs to another process by now, or was withdrawn.
async fn is_taken_over(connection: &mut PgConnection, claim: &Publication) -> Result<bool, Error> {
    sqlx::query_scalar(
        "SELECT coalesce((SELECT state = 'sent' AND deadline <> $2 FROM publications WHERE publication_id = $1), true)",
    )
    .bind(claim.publication_id)
    .bind(claim.deadline)
    .fetch_one(connection)
    .await
    .map_err(Error::sql("the look-up of a claim"))
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
