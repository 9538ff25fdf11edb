//! Private servers for one test.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use local::{PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions};
use record::Record;
use streams::{StreamNames, Streams};
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Ports by which servers are reached.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Redis's.
    pub redis: u16,
    /// PostgreSQL's.
    pub postgres: u16,
}

/// One PostgreSQL for all tests of a process that do not stop it, since making its folder takes a second.
static SHARED: OnceCell<(TempDir, PrivatePostgres)> = OnceCell::const_new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A Redis and a database of one test's own, with the schema applied.
#[derive(Debug)]
pub struct Servers {
    /// The Redis: stop it, kill it, start it again.
    pub redis: PrivateRedis,
    /// The PostgreSQL, where the test has one of its own.
    pub postgres: Option<PrivatePostgres>,
    /// Their ports, where they are reached by TCP.
    pub ports: Option<Ports>,
    pub(crate) redis_url: String,
    pub(crate) database_url: String,
    pub(crate) folder: TempDir,
    pub(crate) _postgres_folder: Option<TempDir>,
}

/// What the shared server's folder is called, before the process id: a static is never dropped, so it outlives its process.
const LEFT_BEHIND: &str = "tidemill-tests-";

/// Removes the folders of test processes that ended.
fn remove_left_behind() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let process = name.to_str().and_then(|name| name.strip_prefix(LEFT_BEHIND)?.split('-').next());
        if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
            // Another test process may be at it as well.
            std::fs::remove_dir_all(entry.path()).ok();
        }
    }
}

impl Servers {
    /// A Redis of its own and a fresh database of the shared PostgreSQL.
    pub async fn start() -> Self {
        let servers = Self::start_empty().await;
        servers.record().await.migrate().await.expect("the schema");
        servers
    }

    /// The same, without the schema.
    pub async fn start_empty() -> Self {
        let (_, postgres) = SHARED
            .get_or_init(|| async {
                remove_left_behind();
                let prefix = format!("{LEFT_BEHIND}{}-", std::process::id());
                let folder = tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder");
                let postgres = postgres(folder.path()).await;
                (folder, postgres)
            })
            .await;
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::SeqCst));
        postgres.create_database(&name).expect("a database");
        Self::with(None, postgres.url_of(&name)).await
    }

    /// A Redis and a PostgreSQL of its own, for tests that stop PostgreSQL.
    pub async fn start_own() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let postgres = postgres(folder.path()).await;
        let url = postgres.url();
        let mut servers = Self::with(Some(postgres), url).await;
        servers.record().await.migrate().await.expect("the schema");
        servers._postgres_folder = Some(folder);
        servers
    }

    /// Goes on with a record that was put back from a dump, on the same PostgreSQL or, where `elsewhere`, on another one.
    pub async fn put_back(&mut self, dump: &Path, elsewhere: bool) {
        const NAME: &str = "put_back";
        if elsewhere {
            let folder = tempfile::tempdir().expect("a temporary folder");
            self.postgres = Some(postgres(folder.path()).await);
            self._postgres_folder = Some(folder);
        }
        let postgres = self.postgres.as_ref().expect("a PostgreSQL of the test's own");
        postgres.put_back(NAME, dump).expect("the dump");
        self.database_url = postgres.url_of(NAME);
    }

    async fn with(postgres: Option<PrivatePostgres>, database_url: String) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let redis = PrivateRedis::start(RedisOptions {
            folder: folder.path().join("redis"),
            appendonly: true,
            extra: vec![],
        })
        .await
        .expect("a private Redis");
        let redis_url = redis.url();
        Self { redis, postgres, ports: None, redis_url, database_url, folder, _postgres_folder: None }
    }

    /// The URL of the Redis.
    #[must_use]
    pub fn redis_url(&self) -> String {
        self.redis_url.clone()
    }

    /// The URL of the database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// A folder of the test's own, removed at its end.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A handle on the record.
    pub async fn record(&self) -> Record {
        Record::connect(&self.database_url, 4).await.expect("the record")
    }

    /// A handle on the streams.
    pub async fn streams(&self) -> Streams {
        Streams::connect(&self.redis.url(), StreamNames::default()).await.expect("the streams")
    }
}

/// Lets everyone through to a folder: PostgreSQL runs as another user where the tests run as root.
pub fn open(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).expect("permissions");
}

async fn postgres(folder: &Path) -> PrivatePostgres {
    open(folder);
    PrivatePostgres::start(PostgresOptions { folder: folder.join("postgres"), durable: false, extra: vec![] })
        .await
        .expect("a private PostgreSQL")
}
