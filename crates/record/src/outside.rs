//! Events of others: stored before their entry is acknowledged, together with what they fire.

use model::{DEFAULT_REGION, DEFAULT_TENANT, OutsideEvent};
use uuid::Uuid;

use crate::firings::{NewFiring, insert};
use crate::{Error, Record};

/// Namespace under which the id of an outside event is derived from tenant, source and id.
const OUTSIDE_NAMESPACE: Uuid = Uuid::from_u128(0x7469_6465_6d69_6c6c_6f75_7473_6964_6531);

impl Record {
    /// Stores an event of others and the firings that follow from it, in one transaction. The same event again changes
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn store_outside(&self, event: &OutsideEvent, firings: &[NewFiring]) -> Result<(), Error> {
        let tenant = event.tenant.as_deref().unwrap_or(DEFAULT_TENANT);
        let name = [tenant, &event.source, &event.id].join("\u{1f}");
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        sqlx::query(
            "INSERT INTO events (event_id, tenant, region, source, request_id, payload, received_at, outside)
             VALUES ($1, $2, $3, $4, $5, $6, now(), true) ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(Uuid::new_v5(&OUTSIDE_NAMESPACE, name.as_bytes()))
        .bind(tenant)
        .bind(DEFAULT_REGION)
        .bind(&event.source)
        .bind(&event.id)
        .bind(&event.bytes)
        .execute(&mut *tx)
        .await
        .map_err(Error::sql("an event of others"))?;
        insert(&mut tx, firings).await?;
        tx.commit().await.map_err(Error::sql("a commit"))
    }

    /// Which of these runs the record knows.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn known_runs(&self, runs: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        sqlx::query_scalar("SELECT run_id FROM runs WHERE run_id = ANY($1)")
            .bind(runs)
            .fetch_all(&self.pool)
            .await
            .map_err(Error::sql("the look-up of runs"))
    }
}
