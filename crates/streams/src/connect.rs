//! Connections, and the checks a process makes before it begins.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::{Manager, Pool, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client};

use crate::names::Keys;
use crate::script::Scripts;
use crate::{Endpoint, Error, Lane, StreamNames};

/// How long a command may take, and a connection to be made.
const RESPONSE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(3);
/// Pooled connections of one process. Each carries many commands at once.
const POOLED: usize = 4;
/// The oldest Redis with the stream commands and script flags that are used here, bugs mended.
const OLDEST: (u32, u32, u32) = (7, 0, 5);

/// What Redis says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// What it does when it is full.
    pub eviction: String,
    /// Whether it logs every write.
    pub appendonly: bool,
    /// Memory in use, in bytes.
    pub used_memory: u64,
    /// The most it may use, in bytes; 0 for no limit.
    pub max_memory: u64,
}

/// The streams: a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Streams {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pool: Pool,
    pub(crate) names: StreamNames,
    pub(crate) scripts: Scripts,
}

impl Streams {
    /// Connects, and refuses a Redis that is too old or that evicts.
    ///
    /// # Errors
    /// [`Error::Url`], [`Error::Tls`], [`Error::Unfit`]: permanent. [`Error::Unreachable`]: unavailable.
    pub async fn connect(endpoint: impl Into<Endpoint>, names: StreamNames) -> Result<Self, Error> {
        let wrong = |e: redis::RedisError| Error::Url(e.to_string());
        let endpoint = endpoint.into();
        let info = endpoint.connection_info()?;
        // Nagle's algorithm would hold small commands back.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let client = Client::open(info.clone()).map_err(wrong)?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(RESPONSE))
            .set_connection_timeout(Some(CONNECT));
        let manager = Manager::new_with_config(info, config).map_err(wrong)?;
        let pool = Pool::builder(manager)
            .max_size(POOLED)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(RESPONSE))
            .create_timeout(Some(CONNECT))
            .build()
            .map_err(|e| Error::Unfit(format!("the connection pool cannot be made: {e}")))?;
        let streams = Self { inner: Arc::new(Inner { client, pool, names, scripts: Scripts::new() }) };
        streams.check().await.map_err(|error| match error {
            Error::Redis { source, .. } => endpoint.unreachable(&source.to_string()),
            Error::Connection { why, .. } => endpoint.unreachable(&why),
            error => error,
        })?;
        Ok(streams)
    }

    pub(crate) async fn connection(&self, doing: &'static str) -> Result<deadpool_redis::Connection, Error> {
        self.inner.pool.get().await.map_err(|e| Error::Connection { doing, why: e.to_string() })
    }

    /// A connection without a response timeout, for blocking reads: a timed-out read would be a ghost delivery.
    pub(crate) async fn patient_connection(&self) -> Result<MultiplexedConnection, Error> {
        let config =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(CONNECT));
        self.inner
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|e| Error::Connection { doing: "reading", why: e.to_string() })
    }

    async fn check(&self) -> Result<(), Error> {
        let server = self.server().await?;
        if parsed(&server.version) < OLDEST {
            return Err(Error::Unfit(format!(
                "Redis is version {}; Tidemill needs 7.0.5 or newer: upgrade the server",
                server.version
            )));
        }
        if server.eviction != "noeviction" {
            return Err(Error::Unfit(format!(
                "Redis evicts keys when it is full (maxmemory-policy {}), which would lose jobs: run `CONFIG SET maxmemory-policy noeviction`",
                server.eviction
            )));
        }
        Ok(())
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Redis`]: unavailable.
    pub async fn server(&self) -> Result<ServerInfo, Error> {
        let doing = "the check of its version";
        let mut connection = self.connection(doing).await?;
        let info: String =
            redis::cmd("INFO").query_async(&mut connection).await.map_err(Error::redis(doing))?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim().to_owned()
        };
        let bytes = |name: &str| field(name).parse().unwrap_or(0);
        Ok(ServerInfo {
            version: field("redis_version"),
            eviction: field("maxmemory_policy"),
            appendonly: field("aof_enabled") == "1",
            used_memory: bytes("used_memory"),
            max_memory: bytes("maxmemory"),
        })
    }

    /// The server's clock, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Redis`]: unavailable.
    pub async fn now_ms(&self) -> Result<i64, Error> {
        let doing = "a look at its clock";
        let mut connection = self.connection(doing).await?;
        let (seconds, micros): (i64, i64) =
            redis::cmd("TIME").query_async(&mut connection).await.map_err(Error::redis(doing))?;
        Ok(seconds * 1000 + micros / 1000)
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// [`Error::Connection`], [`Error::Redis`]: unavailable.
    pub async fn ping(&self) -> Result<(), Error> {
        let mut connection = self.connection("a ping").await?;
        redis::cmd("PING").query_async(&mut connection).await.map_err(Error::redis("a ping"))
    }

    /// How many partitions the work streams have.
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.inner.names.partitions.max(1)
    }

    /// One partition of a worker type's stream, as one consumer sees it.
    ///
    /// # Errors
    /// [`Error::UnknownWorker`].
    pub fn lane(&self, worker: &str, partition: u16, consumer: &str) -> Result<Lane, Error> {
        Ok(Lane::new(self.clone(), self.keys(worker, partition)?, partition, consumer.to_owned()))
    }

    pub(crate) fn keys(&self, worker: &str, partition: u16) -> Result<Keys, Error> {
        self.inner.names.keys(worker, partition)
    }
}

fn parsed(version: &str) -> (u32, u32, u32) {
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}
