//! Notifications on their way: due ones are taken, sent, and end as delivered or given up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use crate::micros::micros;
use crate::{Error, Record};

/// A notification that this process is to send.
#[derive(Debug, Clone, PartialEq)]
pub struct DueNotification {
    /// Its id, the same for every try.
    pub notification_id: Uuid,
    /// What the target is told.
    pub document: serde_json::Value,
    /// Tries, with this one.
    pub attempts: i32,
}

/// How a target fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetTrouble {
    /// The target.
    pub target: String,
    /// Notifications that were tried in vain and will be tried again.
    pub waiting: u64,
    /// Notifications that were given up of late.
    pub given_up: u64,
    /// What it said last.
    pub reason: Option<String>,
    /// Since when the oldest of them waits, or waited.
    pub since: DateTime<Utc>,
}

impl Record {
    /// Takes what is due for a target; after `time` it is due again, whatever became of this process.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn claim_notifications(
        &self,
        target: &str,
        limit: i64,
        time: Duration,
    ) -> Result<Vec<DueNotification>, Error> {
        let rows = sqlx::query(
            "UPDATE notifications SET attempts = attempts + 1, next_at = now() + $3 * interval '1 microsecond'
             WHERE notification_id IN (
                 SELECT notification_id FROM notifications
                 WHERE target = $1 AND state = 'pending' AND next_at <= now() AND give_up_at > now()
                 ORDER BY next_at LIMIT $2 FOR UPDATE SKIP LOCKED)
             RETURNING notification_id, document::text AS document, attempts",
        )
        .bind(target)
        .bind(limit)
        .bind(micros(time))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the claim of notifications"))?;
        Ok(rows
            .iter()
            .map(|row| DueNotification {
                notification_id: row.get("notification_id"),
                document: serde_json::from_str(row.get("document")).unwrap_or_default(),
                attempts: row.get("attempts"),
            })
            .collect())
    }

    /// Notes that the target has a notification.
    ///
    /// # Errors
    /// [`Error::Sql`]; it is sent again then, under the same id.
    pub async fn notification_delivered(&self, id: Uuid) -> Result<(), Error> {
        sqlx::query(
            "UPDATE notifications SET state = 'delivered', reason = NULL, settled_at = now() WHERE notification_id = $1",
        )
        .bind(id)
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the note of a notification"))?;
        Ok(())
    }

    /// Notes why a target did not take a notification, and when it is tried again.
    ///
    /// # Errors
    /// [`Error::Sql`]; it is due then once its claim is over.
    pub async fn postpone_notification(&self, id: Uuid, reason: &str, after: Duration) -> Result<(), Error> {
        sqlx::query(
            "UPDATE notifications SET reason = $2, next_at = now() + $3 * interval '1 microsecond'
             WHERE notification_id = $1 AND state = 'pending'",
        )
        .bind(id)
        .bind(reason)
        .bind(micros(after))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the postponement of a notification"))?;
        Ok(())
    }

    /// Gives up what could not be sent in its time; returns the target of each, and what it said last.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn give_up_notifications(&self) -> Result<Vec<(String, Option<String>)>, Error> {
        sqlx::query_as(
            "UPDATE notifications SET state = 'given_up', settled_at = now()
             WHERE state = 'pending' AND give_up_at <= now() RETURNING target, reason",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the giving up of notifications"))
    }

    /// Targets that did not take what they were sent: what waits still, and what was given up within `recent`.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn notification_troubles(&self, recent: Duration) -> Result<Vec<TargetTrouble>, Error> {
        let rows = sqlx::query(
            "SELECT p.target, count(*) FILTER (WHERE p.state = 'pending') AS waiting,
                    count(*) FILTER (WHERE p.state = 'given_up') AS given_up, min(n.happened_at) AS since,
                    (array_agg(p.reason ORDER BY p.next_at DESC) FILTER (WHERE p.reason IS NOT NULL))[1] AS reason
             FROM notifications p JOIN notices n USING (notice_id)
             WHERE (p.state = 'pending' AND (p.reason IS NOT NULL OR p.next_at < now() - interval '1 minute'))
                OR (p.state = 'given_up' AND p.settled_at > now() - $1 * interval '1 microsecond')
             GROUP BY p.target ORDER BY p.target",
        )
        .bind(micros(recent))
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the troubles of notifications"))?;
        Ok(rows
            .iter()
            .map(|row| TargetTrouble {
                target: row.get("target"),
                waiting: row.get::<i64, _>("waiting").unsigned_abs(),
                given_up: row.get::<i64, _>("given_up").unsigned_abs(),
                reason: row.get("reason"),
                since: row.get("since"),
            })
            .collect())
    }
}
