//! Private servers that take connections by TCP over TLS alone, with certificates of a test's own authority.

use std::path::{Path, PathBuf};

use local::{PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions};

use crate::servers::open;
use crate::{Authority, Ports, Servers};

impl Servers {
    /// A Redis and a PostgreSQL that take nothing but TLS by TCP, with the schema applied. Their certificates are for
    /// `localhost`, not for 127.0.0.1; Redis wants one of its clients, too.
    pub async fn start_tls() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        open(folder.path());
        let authority = Authority::new(folder.path(), AUTHORITY);
        let ports = Ports { redis: free_port(), postgres: free_port() };
        let redis = redis(folder.path(), &authority, ports.redis).await;
        let postgres = postgres(folder.path(), &authority, ports.postgres).await;
        let mut servers = Self {
            redis,
            postgres: Some(postgres),
            ports: Some(ports),
            redis_url: format!("rediss://localhost:{}", ports.redis),
            database_url: String::new(),
            folder,
            _postgres_folder: None,
        };
        let (at, ca) = (servers.database_at("localhost"), servers.ca_file());
        servers.database_url = format!("{at}?sslmode=verify-full&sslrootcert={}", ca.display());
        servers.record().await.migrate().await.expect("the schema");
        servers
    }

    /// The certificate of the authority that signed those of [`Servers::start_tls`].
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.folder().join(AUTHORITY).with_extension("pem")
    }

    /// The settings by which a process trusts the Redis of [`Servers::start_tls`], and is trusted.
    #[must_use]
    pub fn redis_certificates(&self) -> [String; 3] {
        let file = |name: &str| self.folder().join(name).display().to_string();
        [
            format!("redis.ca_file={}", self.ca_file().display()),
            format!("redis.certificate_file={}", file("client.pem")),
            format!("redis.key_file={}", file("client.key")),
        ]
    }

    /// The URL of the PostgreSQL of [`Servers::start_tls`] under this host name, without a word of TLS.
    #[must_use]
    pub fn database_at(&self, host: &str) -> String {
        let ports = self.ports.expect("servers that are reached by TCP");
        format!("postgres://tidemill@{host}:{}/tidemill", ports.postgres)
    }
}

const AUTHORITY: &str = "authority";

/// A port that is free now.
#[must_use]
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}

async fn redis(folder: &Path, authority: &Authority, port: u16) -> PrivateRedis {
    let files = authority.sign("redis", &["localhost"]);
    drop(authority.sign("client", &["client"]));
    let extra = [
        ("tls-port", port.to_string()),
        ("tls-cert-file", files.certificate.display().to_string()),
        ("tls-key-file", files.key.display().to_string()),
        ("tls-ca-cert-file", folder.join(AUTHORITY).with_extension("pem").display().to_string()),
        ("tls-auth-clients", "yes".to_owned()),
    ];
    let extra = extra.map(|(name, value)| (name.to_owned(), value)).to_vec();
    PrivateRedis::start(RedisOptions { folder: folder.join("redis"), appendonly: true, extra })
        .await
        .expect("a private Redis")
}

async fn postgres(folder: &Path, authority: &Authority, port: u16) -> PrivatePostgres {
    let files = authority.sign("postgres", &["localhost"]);
    let rules = folder.join("pg_hba.conf");
    std::fs::write(&rules, "local all all trust\nhostssl all all 127.0.0.1/32 trust\n").expect("a file");
    let extra = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("ssl", "on".to_owned()),
        ("ssl_cert_file", files.certificate.display().to_string()),
        ("ssl_key_file", files.key.display().to_string()),
        ("hba_file", rules.display().to_string()),
    ];
    let extra = extra.map(|(name, value)| (name.to_owned(), value)).to_vec();
    PrivatePostgres::start(PostgresOptions { folder: folder.join("postgres"), durable: false, extra })
        .await
        .expect("a private PostgreSQL")
}
