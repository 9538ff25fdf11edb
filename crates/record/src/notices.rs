//! Notices: things that people are told of. Written where they happen, in the same transaction; the planner spreads each to
//! the targets that want it, as notifications, and sends those.

use std::time::Duration;

use chrono::{DateTime, Utc};
use model::RunId;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::micros::micros;
use crate::{Error, Record};

/// What people can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A person is asked.
    EscalationOpened,
    /// Nobody answered for too long.
    EscalationOverdue,
    /// A budget is used up.
    BudgetOverrun,
    /// Policy held content back.
    IncidentOpened,
    /// An outlet, or what a stage needs, is out.
    BreakerOpened,
    /// A post may have gone out, its run moved on, and nobody can say.
    PublicationUnknown,
    /// A post that a person wanted withdrawn is still out.
    RevocationRefused,
    /// A run ended whose end somebody asked to be told.
    RunEnded,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::EscalationOpened,
        Self::EscalationOverdue,
        Self::BudgetOverrun,
        Self::IncidentOpened,
        Self::BreakerOpened,
        Self::PublicationUnknown,
        Self::RevocationRefused,
        Self::RunEnded,
    ];

    /// The name that configuration, messages and tables use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EscalationOpened => "escalation_opened",
            Self::EscalationOverdue => "escalation_overdue",
            Self::BudgetOverrun => "budget_overrun",
            Self::IncidentOpened => "incident_opened",
            Self::BreakerOpened => "breaker_opened",
            Self::PublicationUnknown => "publication_unknown",
            Self::RevocationRefused => "revocation_refused",
            Self::RunEnded => "run_ended",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A thing that people are told of.
#[derive(Debug, Clone)]
pub struct Notice {
    /// Its id.
    pub notice_id: Uuid,
    /// What kind.
    pub kind: NoticeKind,
    /// The tenant; `None` for what concerns the fleet.
    pub tenant: Option<String>,
    /// The run.
    pub run_id: Option<RunId>,
    /// The event's source.
    pub source: Option<String>,
    /// The run's newest content, as JSON.
    pub content: Option<String>,
    /// What is known of it.
    pub detail: serde_json::Value,
    /// When.
    pub happened_at: DateTime<Utc>,
}

/// A notice for one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewNotification {
    /// The notice.
    pub notice_id: Uuid,
    /// The target's name.
    pub target: String,
    /// What it is told, as JSON.
    pub document: String,
}

impl Record {
    /// Makes a notice of each open escalation that waits for longer than `after`, or past its own due time where that is
    /// `None`; of each one. Returns how many are new.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn notice_overdue_escalations(&self, after: Option<Duration>) -> Result<u64, Error> {
        let made = sqlx::query(
            "INSERT INTO notices (notice_id, kind, subject, tenant, run_id, detail)
             SELECT gen_random_uuid(), 'escalation_overdue', escalation_id::text, tenant, run_id,
                    json_build_object('escalation_id', escalation_id, 'issue_type', issue_type, 'question', question,
                                      'rule', rule, 'opened_at', opened_at, 'due_at', due_at)
             FROM escalations e
             WHERE resolved_at IS NULL AND coalesce(opened_at + $1 * interval '1 microsecond', due_at) < now()
               AND NOT EXISTS (SELECT FROM notices n
                               WHERE n.kind = 'escalation_overdue' AND n.subject = e.escalation_id::text)
             LIMIT 1000 ON CONFLICT DO NOTHING",
        )
        .bind(after.map(micros))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the notices of overdue escalations"))?;
        Ok(made.rows_affected())
    }

    /// Notices for which no targets were sought yet, oldest first. Those of a newer build's kinds are left to it.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn fresh_notices(&self, limit: i64) -> Result<Vec<Notice>, Error> {
        let kinds = NoticeKind::ALL.map(NoticeKind::as_str);
        let rows = sqlx::query(
            "SELECT n.notice_id, n.kind, n.tenant, n.run_id, n.detail::text AS detail, n.happened_at, e.source,
                    (SELECT a.body::text FROM artifacts a WHERE a.run_id = n.run_id AND a.branch = 0 AND a.name = 'content'
                     ORDER BY a.seq DESC LIMIT 1) AS content
             FROM notices n LEFT JOIN runs r USING (run_id) LEFT JOIN events e USING (event_id)
             WHERE n.spread_at IS NULL AND n.kind = ANY($1) ORDER BY n.happened_at, n.notice_id LIMIT $2",
        )
        .bind(&kinds[..])
        .bind(limit)
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the notices"))?;
        Ok(rows
            .iter()
            .filter_map(|row| {
                Some(Notice {
                    notice_id: row.get("notice_id"),
                    kind: NoticeKind::parse(row.get("kind"))?,
                    tenant: row.get("tenant"),
                    run_id: row.get::<Option<Uuid>, _>("run_id").map(RunId),
                    source: row.get("source"),
                    content: row.get("content"),
                    detail: serde_json::from_str(row.get("detail")).unwrap_or_default(),
                    happened_at: row.get("happened_at"),
                })
            })
            .collect())
    }

    /// Keeps notifications for these notices, which are spread then, in one transaction. Each is given up after a time.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn spread_notices(
        &self,
        notices: &[Notice],
        notifications: &[NewNotification],
        give_up_after: Duration,
    ) -> Result<(), Error> {
        sqlx::query(
            "WITH spread AS (
                 UPDATE notices SET spread_at = now() WHERE notice_id = ANY($1) AND spread_at IS NULL
                 RETURNING notice_id)
             INSERT INTO notifications (notification_id, notice_id, target, document, state, give_up_at)
             SELECT gen_random_uuid(), notice_id, target, document::json, 'pending',
                    now() + $5 * interval '1 microsecond'
             FROM UNNEST($2::uuid[], $3::text[], $4::text[]) AS n(notice_id, target, document) JOIN spread USING (notice_id)
             ON CONFLICT DO NOTHING",
        )
        .bind(notices.iter().map(|notice| notice.notice_id).collect::<Vec<_>>())
        .bind(notifications.iter().map(|one| one.notice_id).collect::<Vec<_>>())
        .bind(notifications.iter().map(|one| one.target.as_str()).collect::<Vec<_>>())
        .bind(notifications.iter().map(|one| one.document.as_str()).collect::<Vec<_>>())
        .bind(micros(give_up_after))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the spreading of notices"))?;
        Ok(())
    }

    /// Removes notices that were made longer ago than `after` and wait for nobody. The notice of an overdue escalation
    /// stays while that is open, so that it is told once.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn forget_notices(&self, after: Duration) -> Result<u64, Error> {
        let gone = sqlx::query(
            "DELETE FROM notices n WHERE n.happened_at < now() - $1 * interval '1 microsecond' AND n.spread_at IS NOT NULL
               AND NOT EXISTS (SELECT FROM notifications p WHERE p.notice_id = n.notice_id AND p.state = 'pending')
               AND NOT EXISTS (SELECT FROM escalations e WHERE n.kind = 'escalation_overdue' AND e.resolved_at IS NULL
                                                           AND e.escalation_id::text = n.subject)",
        )
        .bind(micros(after))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the removal of old notices"))?;
        Ok(gone.rows_affected())
    }
}

/// Makes a notice about a publication.
pub(crate) async fn of_publication(
    connection: &mut PgConnection,
    kind: NoticeKind,
    publication: Uuid,
    reason: &str,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO notices (notice_id, kind, subject, tenant, run_id, detail)
         SELECT gen_random_uuid(), $2, concat_ws('/', publication_id, r.requested_at), tenant, run_id,
                json_build_object('publication_id', publication_id, 'outlet', outlet, 'reference', reference, 'reason', $3::text,
                                  'requested_by', r.requested_by)
         FROM publications LEFT JOIN revocations r USING (publication_id) WHERE publication_id = $1
         ON CONFLICT DO NOTHING",
    )
    .bind(publication)
    .bind(kind.as_str())
    .bind(reason)
    .execute(connection)
    .await
    .map_err(Error::sql("a notice about a publication"))?;
    Ok(())
}
