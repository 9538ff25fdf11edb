//! The pool, the migrations, and the checks a process makes before it begins.

use std::sync::Arc;
use std::time::Duration;

use rails::GatePolicies;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions};
use sqlx::{Connection, Row};
use tokio::time::Instant;

use crate::{Endpoint, Error};

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!();

/// How long a connection may take to be had.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a ping waits: a server that is frozen answers nothing, and its connections stay open.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long migrations are tried again for while the fleet holds what they want, and the pause between two tries.
const GIVING_WAY: Duration = Duration::from_mins(2);
const MIGRATION_PAUSE: Duration = Duration::from_millis(200);

/// The schema version that this build reads and writes.
pub const SCHEMA_VERSION: i64 = 4;

/// What PostgreSQL says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// Whether it waits for the disk.
    pub fsync: bool,
    /// What a commit waits for.
    pub synchronous_commit: String,
    /// Its clock.
    pub now: chrono::DateTime<chrono::Utc>,
    /// The size of the database, in bytes.
    pub bytes: u64,
}

/// The record: a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Record {
    pub(crate) pool: PgPool,
    pub(crate) policies: Arc<GatePolicies>,
}

impl Record {
    /// Opens a pool of at most `connections`; the first connection is made now.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Tls`]: permanent. [`Error::Unreachable`] where the server refuses or nobody answers within 10 s:
    /// unavailable.
    pub async fn connect(endpoint: impl Into<Endpoint>, connections: u32) -> Result<Self, Error> {
        let endpoint = endpoint.into();
        let unreachable = |why: &dyn std::fmt::Display| endpoint.unreachable(why.to_string());
        let options = endpoint.options()?.application_name("tidemill").statement_cache_capacity(200);
        // The pool would try again for as long as it may, and then say no more than that it took too long.
        let first = tokio::time::timeout(CONNECT, PgConnection::connect_with(&options)).await;
        let first = first.map_err(|_| unreachable(&format_args!("no answer within {CONNECT:?}")))?;
        first.map_err(|e| unreachable(&e))?.close().await.map_err(|e| unreachable(&e))?;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(CONNECT)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(Error::sql("a connection"))?;
        Ok(Self { pool, policies: Arc::default() })
    }

    /// Hands the rails these gates and bounds of spending, with what it counts for them.
    #[must_use]
    pub fn judging_by(self, policies: Arc<GatePolicies>) -> Self {
        Self { policies, ..self }
    }

    /// Applies what is missing of the schema. Safe to call from several processes at once: an advisory lock orders
    /// them. Beside a fleet at work it is the migration that gives way, and tries again for two minutes.
    ///
    /// # Errors
    /// [`Error::Schema`]; permanent unless the server went away.
    pub async fn migrate(&self) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            match self.try_to_migrate().await {
                Err(error) if gave_way(&error) && began.elapsed() < GIVING_WAY => {
                    tokio::time::sleep(MIGRATION_PAUSE).await;
                }
                Err(error) => {
                    return Err(Error::Schema(format!(
                        "the schema could not be brought up to date: {error}"
                    )));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// On a connection of its own: one that failed still holds the advisory lock until it is closed.
    async fn try_to_migrate(&self) -> Result<(), MigrateError> {
        let mut connection = PgConnection::connect_with(&self.pool.connect_options()).await?;
        // Shorter than the second after which PostgreSQL looks for deadlocks, so that it never ends a transaction of the
        // fleet for a migration, and the fleet's queue behind the migration is short.
        sqlx::query("SET lock_timeout = '500ms'").execute(&mut connection).await?;
        let done = MIGRATIONS.run(&mut connection).await;
        connection.close().await.ok();
        done
    }

    /// Refuses a schema of another version, a server that would lose what it said was committed, and a record that was
    /// put in from another server.
    ///
    /// # Errors
    /// [`Error::Schema`], [`Error::Unfit`]: permanent, a person must act. [`Error::Sql`]: unavailable.
    pub async fn check(&self) -> Result<(), Error> {
        self.check_schema().await?;
        let durability: String = sqlx::query_scalar("SHOW synchronous_commit")
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the look-up of synchronous_commit"))?;
        if matches!(durability.as_str(), "off" | "local") {
            return Err(Error::Unfit(format!(
                "PostgreSQL runs with synchronous_commit = {durability}: what it calls committed could be lost; set it to on"
            )));
        }
        self.check_transactions().await
    }

    /// Refuses a schema of another version.
    ///
    /// # Errors
    /// [`Error::Schema`]: permanent, a person must act. [`Error::Sql`]: unavailable.
    pub async fn check_schema(&self) -> Result<(), Error> {
        let present: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
            .fetch_one(&self.pool)
            .await
            .map_err(Error::sql("the look-up of its schema"))?;
        let version: i64 = if present {
            sqlx::query_scalar("SELECT coalesce(max(version), 0) FROM _sqlx_migrations WHERE success")
                .fetch_one(&self.pool)
                .await
                .map_err(Error::sql("the look-up of its schema version"))?
        } else {
            0
        };
        if version < SCHEMA_VERSION {
            return Err(Error::Schema(format!(
                "the record's schema is version {version}, this build needs {SCHEMA_VERSION}: run `tidemill migrate`"
            )));
        }
        // A version only adds to the one before, so that a fleet can be upgraded process by process.
        if version > SCHEMA_VERSION + 1 {
            return Err(Error::Schema(format!(
                "the record's schema is version {version}, this build knows {SCHEMA_VERSION}: install a newer build"
            )));
        }
        Ok(())
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`Error::Sql`], unavailable.
    pub async fn server(&self) -> Result<ServerInfo, Error> {
        let row = sqlx::query(
            "SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
                    current_setting('synchronous_commit') AS synchronous_commit, clock_timestamp() AS now,
                    pg_database_size(current_database()) AS bytes",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(Error::sql("the look at the server"))?;
        Ok(ServerInfo {
            version: row.get("version"),
            fsync: row.get::<&str, _>("fsync") == "on",
            synchronous_commit: row.get("synchronous_commit"),
            now: row.get("now"),
            bytes: row.get::<i64, _>("bytes").unsigned_abs(),
        })
    }

    /// Whether the record answers.
    ///
    /// # Errors
    /// [`Error::Sql`], unavailable.
    pub async fn ping(&self) -> Result<(), Error> {
        let asked = sqlx::query("SELECT 1").execute(&self.pool);
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answered) => answered.map(|_| ()).map_err(Error::sql("a ping")),
            Err(_) => {
                let why = format!("no answer within {PATIENCE:?}");
                Err(Error::Unreachable { why, remedy: "look at the server" })
            }
        }
    }
}

/// Whether a migration did not get a lock: 55P03, or 40P01 where PostgreSQL looks for deadlocks sooner.
fn gave_way(error: &MigrateError) -> bool {
    let (MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) = error else {
        return false;
    };
    source.as_database_error().and_then(|e| e.code()).is_some_and(|code| matches!(&*code, "55P03" | "40P01"))
}
