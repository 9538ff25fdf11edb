//! Revocations: a person asks that a post be withdrawn, a process that holds its outlet's secrets does it.
//!
//! The ledger row stays `confirmed` and keeps its key, so nothing sends the post again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{Actor, RunId, Sha256Digest};
use serde::{Deserialize, Serialize};
use sqlx::Row;
use uuid::Uuid;

use super::chain::Chain;
use super::{Publication, PublicationState};
use crate::micros::micros;
use crate::notices::{self, NoticeKind};
use crate::{Error, Record};

/// Where a revocation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum RevocationState {
    /// A person asked; a publisher will do it.
    Requested,
    /// The outlet has the post no more.
    Revoked,
    /// The outlet cannot withdraw, or refused. It may be asked for again.
    Refused,
}

impl RevocationState {
    fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Revoked => "revoked",
            Self::Refused => "refused",
        }
    }
}

/// What a person asked to be withdrawn, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Revocation {
    /// Where it stands.
    pub state: RevocationState,
    /// Who asked.
    pub requested_by: String,
    /// What they noted.
    pub note: Option<String>,
    /// When they asked.
    pub requested_at: DateTime<Utc>,
    /// Tries so far.
    pub attempts: i32,
    /// When the next try is due, or the present one is given up.
    pub next_at: DateTime<Utc>,
    /// What the outlet said last.
    pub detail: Option<String>,
    /// When it was revoked or refused.
    pub settled_at: Option<DateTime<Utc>>,
}

/// What came of asking for a revocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationRequest {
    /// It is committed.
    Asked,
    /// Somebody asked before; it stands like this.
    Before(RevocationState),
    /// Nothing is out that could be withdrawn: the publication is in this state.
    NotOut(PublicationState),
}

/// A revocation that this process is to carry out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRevocation {
    /// The publication.
    pub publication_id: Uuid,
    /// Its key.
    pub publication_key: Sha256Digest,
    /// Its outlet.
    pub outlet: String,
    /// Its run.
    pub run_id: RunId,
    /// Tries, with this one.
    pub attempts: i32,
}

/// A revocation that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRevocation {
    /// The publication.
    pub publication_id: Uuid,
    /// Its outlet.
    pub outlet: String,
    /// Tries so far.
    pub attempts: i32,
    /// What the outlet said last.
    pub detail: Option<String>,
}

impl Record {
    /// Revocations that wait, the oldest 100.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn open_revocations(&self) -> Result<Vec<OpenRevocation>, Error> {
        let rows = sqlx::query(
            "SELECT publication_id, outlet, r.attempts, r.detail FROM revocations r JOIN publications USING (publication_id)
             WHERE r.state = 'requested' ORDER BY r.requested_at LIMIT 100",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the revocations"))?;
        Ok(rows
            .iter()
            .map(|row| OpenRevocation {
                publication_id: row.get("publication_id"),
                outlet: row.get("outlet"),
                attempts: row.get("attempts"),
                detail: row.get("detail"),
            })
            .collect())
    }

    /// Commits a person's wish that a post be withdrawn, with a link in its run's chain.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the run's chain head is no SHA-256.
    pub async fn request_revocation(
        &self,
        publication: &Publication,
        who: &str,
        note: Option<&str>,
    ) -> Result<RevocationRequest, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let chain = Chain::lock_if_there(&mut tx, publication.run_id).await?;
        let state: String =
            sqlx::query_scalar("SELECT state FROM publications WHERE publication_id = $1 FOR UPDATE")
                .bind(publication.publication_id)
                .fetch_one(&mut *tx)
                .await
                .map_err(Error::sql("the lock of a publication"))?;
        let state = PublicationState::parse(&state).unwrap_or(publication.state);
        // What a person gave up may be out all the same, and nobody can settle it any more.
        if !matches!(state, PublicationState::Confirmed | PublicationState::Abandoned) {
            return Ok(RevocationRequest::NotOut(state));
        }
        let asked = sqlx::query(
            "INSERT INTO revocations AS r (publication_id, state, requested_by, note) VALUES ($1, 'requested', $2, $3)
             ON CONFLICT (publication_id) DO UPDATE SET state = 'requested', requested_by = EXCLUDED.requested_by,
                 note = EXCLUDED.note, requested_at = now(), attempts = 0, next_at = now(), detail = NULL, settled_at = NULL
             WHERE r.state = 'refused'",
        )
        .bind(publication.publication_id)
        .bind(who)
        .bind(note)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("a revocation"))?;
        if asked.rows_affected() == 0 {
            let revoked: bool =
                sqlx::query_scalar("SELECT state = 'revoked' FROM revocations WHERE publication_id = $1")
                    .bind(publication.publication_id)
                    .fetch_one(&mut *tx)
                    .await
                    .map_err(Error::sql("a revocation"))?;
            let state = if revoked { RevocationState::Revoked } else { RevocationState::Requested };
            return Ok(RevocationRequest::Before(state));
        }
        if let Some(chain) = chain {
            let words = format!("{}: {}", publication.outlet, note.unwrap_or_default());
            let words = words.trim_end_matches(": ");
            chain.append(&mut tx, "revocation_asked", words, &Actor::person(who)).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(RevocationRequest::Asked)
    }

    /// Takes the next revocation that is due at one of these outlets. It is another's turn once `time` is over: whoever
    /// took it may have died.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the publication key is no SHA-256.
    pub async fn claim_revocation(
        &self,
        outlets: &[String],
        time: Duration,
    ) -> Result<Option<DueRevocation>, Error> {
        let row = sqlx::query(
            "UPDATE revocations r SET attempts = r.attempts + 1, next_at = now() + $2 * interval '1 microsecond'
             FROM publications p
             WHERE p.publication_id = r.publication_id AND r.publication_id = (
                 SELECT d.publication_id FROM revocations d JOIN publications o USING (publication_id)
                 WHERE d.state = 'requested' AND d.next_at <= now() AND o.outlet = ANY($1)
                 ORDER BY d.next_at LIMIT 1 FOR UPDATE OF d SKIP LOCKED)
             RETURNING p.publication_id, p.publication_key, p.outlet, p.run_id, r.attempts",
        )
        .bind(outlets)
        .bind(micros(time))
        .fetch_optional(&self.pool)
        .await
        .map_err(Error::sql("the claim of a revocation"))?;
        let Some(row) = row else { return Ok(None) };
        let publication_id: Uuid = row.get("publication_id");
        let publication_key = Sha256Digest::from_slice(row.get("publication_key")).ok_or_else(|| {
            Error::unreadable(format_args!("publication {publication_id}"), "a digest has another length")
        })?;
        Ok(Some(DueRevocation {
            publication_id,
            publication_key,
            outlet: row.get("outlet"),
            run_id: RunId(row.get("run_id")),
            attempts: row.get("attempts"),
        }))
    }

    /// Puts a revocation off: its outlet is away.
    ///
    /// # Errors
    /// [`Error::Sql`]; it is then due once the time of its claim is over.
    pub async fn postpone_revocation(
        &self,
        publication: Uuid,
        detail: &str,
        after: Duration,
    ) -> Result<(), Error> {
        sqlx::query(
            "UPDATE revocations SET detail = $2, next_at = now() + $3 * interval '1 microsecond'
             WHERE publication_id = $1 AND state = 'requested'",
        )
        .bind(publication)
        .bind(detail)
        .bind(micros(after))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the postponement of a revocation"))?;
        Ok(())
    }

    /// Writes how a revocation ended, with a link in the run's chain; `false` where another process was faster.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where the run's chain head is no SHA-256.
    /// What was done outside may be done again.
    pub async fn settle_revocation(
        &self,
        due: &DueRevocation,
        state: RevocationState,
        detail: &str,
        actor: &Actor,
    ) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let chain = Chain::lock_if_there(&mut tx, due.run_id).await?;
        let settled = sqlx::query(
            "UPDATE revocations SET state = $2, detail = $3, settled_at = now()
             WHERE publication_id = $1 AND state = 'requested'",
        )
        .bind(due.publication_id)
        .bind(state.as_str())
        .bind(detail)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("the settling of a revocation"))?;
        if settled.rows_affected() == 0 {
            return Ok(false);
        }
        let what = if state == RevocationState::Revoked { "revoked" } else { "revocation_refused" };
        if let Some(chain) = chain {
            chain.append(&mut tx, what, &format!("{}: {detail}", due.outlet), actor).await?;
        }
        if state == RevocationState::Refused {
            let kind = NoticeKind::RevocationRefused;
            notices::of_publication(&mut tx, kind, due.publication_id, detail).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(true)
    }
}
