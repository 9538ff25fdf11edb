//! Leases: of several processes that could do clock work, one does, by PostgreSQL's clock.

use std::time::Duration;

use crate::micros::micros;
use crate::{Error, Record};

/// A lease that is held until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What for.
    pub name: &'static str,
    /// By whom.
    pub holder: String,
}

impl Record {
    /// Takes or renews a lease; `false` where another holds it.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn lease(&self, lease: &Lease, time: Duration) -> Result<bool, Error> {
        let held = sqlx::query(
            "INSERT INTO leases (name, holder, expires_at) VALUES ($1, $2, now() + $3 * interval '1 microsecond')
             ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, expires_at = EXCLUDED.expires_at
             WHERE leases.holder = EXCLUDED.holder OR leases.expires_at < now()",
        )
        .bind(lease.name)
        .bind(&lease.holder)
        .bind(micros(time))
        .execute(&self.pool)
        .await
        .map_err(Error::sql("a lease"))?;
        Ok(held.rows_affected() == 1)
    }

    /// Gives a lease back early.
    ///
    /// # Errors
    /// [`Error::Sql`]; the lease then expires by itself.
    pub async fn release(&self, lease: &Lease) -> Result<(), Error> {
        sqlx::query("DELETE FROM leases WHERE name = $1 AND holder = $2")
            .bind(lease.name)
            .bind(&lease.holder)
            .execute(&self.pool)
            .await
            .map_err(Error::sql("the release of a lease"))?;
        Ok(())
    }
}
