//! Triggers as the planner registered them, and when their schedules fire.

use chrono::{DateTime, Utc};
use sqlx::Row;
use uuid::Uuid;

use crate::firings::{NewFiring, insert};
use crate::{Error, Record};

/// A trigger as the planner registers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTrigger {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// All that was configured, JSON.
    pub definition: String,
    /// When its schedule fires first; none without one.
    pub next_at: Option<DateTime<Utc>>,
    /// Whether it says something else than before; what says the same keeps its time.
    pub changed: bool,
}

/// A registered trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub tenant: String,
    /// All that was configured, JSON.
    pub definition: String,
    /// Whether the planner still has it.
    pub active: bool,
    /// When its schedule fires next.
    pub next_at: Option<DateTime<Utc>>,
    /// Since when it waits for events.
    pub registered_at: DateTime<Utc>,
}

impl Record {
    /// Who this fleet is.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn fleet_id(&self) -> Result<Uuid, Error> {
        sqlx::query_scalar("SELECT fleet_id FROM fleets")
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the fleet's id"))
    }

    /// Makes exactly these triggers the active ones. One that stays as it was keeps its time; another begins anew.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn register_triggers(&self, triggers: &[NewTrigger]) -> Result<(), Error> {
        let text = |field: fn(&NewTrigger) -> &String| {
            triggers.iter().map(|trigger| field(trigger).as_str()).collect::<Vec<_>>()
        };
        sqlx::query(
            "WITH retired AS (UPDATE triggers SET active = false WHERE active AND name <> ALL($1))
             INSERT INTO triggers AS t (name, tenant, definition, next_at, active)
             SELECT name, tenant, definition, next_at, true
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS g(name, tenant, definition, next_at)
             ON CONFLICT (name) DO UPDATE
             SET tenant = EXCLUDED.tenant, definition = EXCLUDED.definition, next_at = EXCLUDED.next_at, active = true,
                 registered_at = now()
             WHERE NOT t.active OR t.name = ANY($5)",
        )
        .bind(text(|t| &t.name))
        .bind(text(|t| &t.tenant))
        .bind(text(|t| &t.definition))
        .bind(triggers.iter().map(|t| t.next_at).collect::<Vec<_>>())
        .bind(triggers.iter().filter(|t| t.changed).map(|t| t.name.as_str()).collect::<Vec<_>>())
        .execute(&self.pool)
        .await
        .map_err(Error::sql("the registration of triggers"))?;
        Ok(())
    }

    /// Every trigger that was ever registered, by name.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn triggers(&self) -> Result<Vec<Trigger>, Error> {
        let rows = sqlx::query(
            "SELECT name, tenant, definition, active, next_at, registered_at FROM triggers ORDER BY name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of triggers"))?;
        Ok(rows
            .iter()
            .map(|row| Trigger {
                name: row.get("name"),
                tenant: row.get("tenant"),
                definition: row.get("definition"),
                active: row.get("active"),
                next_at: row.get("next_at"),
                registered_at: row.get("registered_at"),
            })
            .collect())
    }

    /// Active triggers whose time has come by PostgreSQL's clock, each with the time that was meant, and what that clock
    /// says.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn due_triggers(&self) -> Result<Vec<(String, DateTime<Utc>, DateTime<Utc>)>, Error> {
        sqlx::query_as(
            "SELECT name, next_at, now() FROM triggers WHERE active AND next_at <= now() ORDER BY next_at, name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(Error::sql("the look-up of schedules"))
    }

    /// Fires times of a schedule, of which the first was due at `meant_for`, and sets its next time, in one transaction.
    /// `false` where another planner was faster.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn fire_schedule(
        &self,
        trigger: &str,
        firings: &[NewFiring],
        meant_for: DateTime<Utc>,
        next: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let moved =
            sqlx::query("UPDATE triggers SET next_at = $3 WHERE name = $1 AND next_at = $2 AND active")
                .bind(trigger)
                .bind(meant_for)
                .bind(next)
                .execute(&mut *tx)
                .await
                .map_err(Error::sql("a schedule"))?;
        if moved.rows_affected() == 1 {
            insert(&mut tx, firings).await?;
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(moved.rows_affected() == 1)
    }
}
