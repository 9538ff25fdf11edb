//! The ledger of effects outside: a row is `sent` before the first byte leaves, and tells afterwards what is known.

mod chain;
mod claim;
mod revoke;
mod settle;

use chrono::{DateTime, Utc};
use model::{RunId, RunState, Sha256Digest, sha256};
use serde::Serialize;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::{Error, LoadedRun, Record};

pub use claim::{Claim, Claimed};
pub use revoke::{DueRevocation, OpenRevocation, Revocation, RevocationRequest, RevocationState};

/// Where a ledger row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
    /// What a person asked to be withdrawn, and what came of it.
    pub revocation: Option<Revocation>,
    /// Whether nothing was sent since the record was put back from a backup, while something may have been before.
    #[serde(skip)]
    pub restored: bool,
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
                       reason, sent_at, deadline, resend, restored, state = 'sent' AND deadline <= now() AS overdue, \
                       (SELECT to_json(r)::text FROM revocations r \
                        WHERE r.publication_id = publications.publication_id) AS revocation";

impl Record {
    /// The ledger, newest first; of one tenant, where named.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where a row is of another version.
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
    /// [`Error::Sql`]; [`Error::Unreadable`] where a row is of another version.
    pub async fn publication(&self, id: Uuid) -> Result<Option<Publication>, Error> {
        Ok(self.select("publication_id = $1 AND $2::text IS NULL LIMIT $3", Some(id), None, 1).await?.pop())
    }

    /// The rows of one run, oldest first.
    ///
    /// # Errors
    /// [`Error::Sql`]; [`Error::Unreadable`] where a row is of another version.
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
        revocation: row
            .get::<Option<&str>, _>("revocation")
            .map(serde_json::from_str)
            .transpose()
            .map_err(|e| unreadable(&format!("its revocation: {e}")))?,
        restored: row.get("restored"),
    })
}

/// Locks a run, and the branch of it that is meant; `false` where that no longer stands as loaded, or the run ended.
async fn lock_run(connection: &mut PgConnection, run: &LoadedRun) -> Result<bool, Error> {
    let now: Option<(i32, String)> =
        sqlx::query_as("SELECT seq, state FROM runs WHERE run_id = $1 FOR UPDATE")
            .bind(run.run.0)
            .fetch_optional(&mut *connection)
            .await
            .map_err(Error::sql("the lock of a run"))?;
    let stands = |seq: i32, state: &str| seq == run.seq && state == run.state.as_str();
    let Some((seq, state)) = now else { return Ok(false) };
    if run.branch == 0 {
        return Ok(stands(seq, &state));
    }
    let is_open = state.parse().is_ok_and(RunState::is_open);
    let now: Option<(i32, String)> =
        sqlx::query_as("SELECT seq, state FROM run_branches WHERE run_id = $1 AND branch = $2 FOR UPDATE")
            .bind(run.run.0)
            .bind(run.branch)
            .fetch_optional(connection)
            .await
            .map_err(Error::sql("the lock of a branch"))?;
    Ok(is_open && now.is_some_and(|(seq, state)| stands(seq, &state)))
}
