//! What a process says, and with which code it ends, when it cannot begin.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
use std::process::Output;

use local::{PrivateRedis, RedisOptions};
use testkit::{Authority, Servers, binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const PROCESSES: [&str; 7] = ["gateway", "planner", "etl", "embedding", "judge", "agent", "publisher"];

/// Runs a process to its end in a folder of its own.
async fn ended(folder: &Path, name: &str, arguments: &[&str]) -> (i32, String) {
    let run = Command::new(binary(name)).current_dir(folder).args(arguments).kill_on_drop(true).output();
    let Output { status, stderr, .. } =
        tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it ends").unwrap();
    (status.code().expect("it ends of itself"), String::from_utf8_lossy(&stderr).into_owned())
}

/// Asserts the exit code, that one line says each of these words, and that nothing panicked.
fn assert_refused(name: &str, (code, said): &(i32, String), expected: i32, words: &[&str]) {
    assert_eq!(*code, expected, "{name}: {said}");
    assert!(!said.contains("panicked"), "{name}: {said}");
    let last = said.lines().filter(|line| line.starts_with("tidemill")).collect::<Vec<_>>();
    assert_eq!(last.len(), 1, "{name} gives one message: {said}");
    for word in words {
        assert!(said.contains(word), "{name} does not say `{word}`: {said}");
    }
}

#[tokio::test]
async fn wrong_keys_and_units_are_refused_with_file_line_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidemill.yaml");
    for (text, words) in [
        ("worker:\n  concurency: 4\n", ["tidemill.yaml:2", "concurency", "concurrency"]),
        ("worker:\n  grace: 5\n", ["tidemill.yaml:2", "grace", "5s"]),
        ("worker:\n  grace: soon\n", ["tidemill.yaml:2", "grace", "soon"]),
        ("gatway:\n  address: x\n", ["tidemill.yaml:1", "gatway", "gateway"]),
        ("worker: [1, 2\n", ["tidemill.yaml:", "worker", "2"]),
        ("worker:\n  concurrency: many\n", ["tidemill.yaml:2", "concurrency", "many"]),
    ] {
        std::fs::write(&file, text).unwrap();
        for name in PROCESSES {
            let refused = ended(folder.path(), name, &[]).await;
            let words: Vec<&str> = if text.contains("[1") { words[..1].to_vec() } else { words.to_vec() };
            assert_refused(name, &refused, 64, &words);
        }
    }
}

#[tokio::test]
async fn files_of_urls_that_are_missing_or_empty_or_beside_a_url_are_refused_by_key_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "\n").unwrap();
    let (empty, database) = (empty.display().to_string(), "database.url=postgres://me:hush@h/d");
    for (sets, words) in [
        (vec!["database.url_file=/none"], ["database.url_file", "/none"]),
        (vec![r#"database.url={"file":"/none"}"#], ["database.url.file", "/none"]),
        (vec![&format!("database.url_file={empty}")], ["database.url_file", &empty]),
        (vec![database, &format!("database.url_file={empty}")], ["database.url_file", "both given"]),
    ] {
        let flags: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        for name in PROCESSES {
            let refused = ended(folder.path(), name, &flags).await;
            assert_refused(name, &refused, 64, &words);
            assert!(!refused.1.contains("hush"), "{}", refused.1);
        }
    }
}

#[tokio::test]
async fn wrong_flags_are_refused_and_help_has_an_example() {
    let folder = tempfile::tempdir().unwrap();
    for name in PROCESSES {
        assert_eq!(ended(folder.path(), name, &["--moon"]).await.0, 64);
        assert_eq!(ended(folder.path(), name, &["--set", "worker"]).await.0, 64);
        let help = Command::new(binary(name)).arg("--help").output().await.unwrap();
        assert!(help.status.success());
        let text = String::from_utf8(help.stdout).unwrap();
        assert!(text.contains("Example:") && text.contains("Exit codes:"), "{text}");
    }
}

#[tokio::test]
async fn missing_servers_are_told_with_the_remedy() {
    let servers = Servers::start().await;
    let (redis, database) = (servers.redis_url(), servers.database_url().to_owned());
    for name in PROCESSES {
        let unset = ended(servers.folder(), name, &[]).await;
        assert_refused(name, &unset, 64, &["database.url", "tidemill up"]);
        let no_redis = ["--redis-url", "redis://127.0.0.1:1", "--database-url", &database];
        assert_refused(
            name,
            &ended(servers.folder(), name, &no_redis).await,
            69,
            &["Redis cannot be reached", "redis.url"],
        );
        let no_database = ["--redis-url", &redis, "--database-url", "postgres://x@127.0.0.1:1/x"];
        assert_refused(
            name,
            &ended(servers.folder(), name, &no_database).await,
            69,
            &["PostgreSQL cannot be reached", "refused", "database.url"],
        );
        let nonsense = ["--redis-url", "what", "--database-url", &database];
        assert_refused(name, &ended(servers.folder(), name, &nonsense).await, 64, &["redis.url"]);
        let nonsense = ["--redis-url", &redis, "--database-url", "what"];
        assert_refused(name, &ended(servers.folder(), name, &nonsense).await, 64, &["database.url"]);
    }
}

#[tokio::test]
async fn a_database_without_the_schema_is_refused() {
    let servers = Servers::start_own().await;
    let postgres = servers.postgres.as_ref().unwrap();
    postgres.create_database("bare").unwrap();
    let url = postgres.url_of("bare");
    let flags = ["--redis-url", &servers.redis_url(), "--database-url", &url];
    for name in PROCESSES {
        assert_refused(name, &ended(servers.folder(), name, &flags).await, 69, &["tidemill migrate"]);
    }
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused() {
    let servers = Servers::start().await;
    let evicting = PrivateRedis::start(RedisOptions {
        folder: servers.folder().join("evicting"),
        appendonly: false,
        extra: vec![("maxmemory-policy".to_owned(), "allkeys-lru".to_owned())],
    })
    .await
    .unwrap();
    let flags = ["--redis-url", &evicting.url(), "--database-url", servers.database_url()];
    for name in PROCESSES {
        assert_refused(
            name,
            &ended(servers.folder(), name, &flags).await,
            69,
            &["allkeys-lru", "noeviction"],
        );
    }
}

/// Speaks enough of Redis's protocol to call itself an old one.
async fn old_redis() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let info = "redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n";
                let info = format!("${}\r\n{info}\r\n", info.len());
                let mut bytes = vec![0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    // One answer to each command of the pipeline: each begins with its count of words.
                    let text = String::from_utf8_lossy(&bytes[..read]).to_uppercase();
                    let commands = text.split('*').skip(1);
                    for command in commands {
                        let answer = if command.contains("\nINFO") { &info } else { "+OK\r\n" };
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    url
}

#[tokio::test]
async fn an_old_redis_is_refused() {
    let servers = Servers::start().await;
    let flags = ["--redis-url", &old_redis().await, "--database-url", servers.database_url()];
    for name in PROCESSES {
        assert_refused(name, &ended(servers.folder(), name, &flags).await, 69, &["6.2.14", "7.0.5"]);
    }
}

#[tokio::test]
async fn a_busy_port_is_told_with_its_setting() {
    let servers = Servers::start().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["--redis-url", &servers.redis_url(), "--database-url", servers.database_url()];
    for name in PROCESSES {
        let refused = ended(servers.folder(), name, &[&flags[..], &["--admin", &address]].concat()).await;
        assert_refused(name, &refused, 69, &[&address, "admin.address"]);
    }
    let busy = format!("gateway.address={address}");
    let refused = ended(servers.folder(), "gateway", &[&flags[..], &["--set", &busy]].concat()).await;
    assert_refused("gateway", &refused, 69, &[&address, "gateway.address"]);
}

/// Flags for servers that take TLS alone, with this authority for Redis.
fn over_tls(servers: &Servers, redis: &str, ca: &Path, database: &str) -> Vec<String> {
    let mut flags = vec!["--redis-url".to_owned(), redis.to_owned()];
    flags.extend(["--database-url".to_owned(), database.to_owned()]);
    if redis.starts_with("rediss") {
        let [_, certificate, key] = servers.redis_certificates();
        let ca = format!("redis.ca_file={}", ca.display());
        flags.extend([ca, certificate, key].into_iter().flat_map(|set| ["--set".to_owned(), set]));
    }
    flags
}

#[tokio::test]
async fn servers_that_cannot_be_trusted_and_plain_text_to_tls_are_told_with_the_remedy() {
    let servers = Servers::start_tls().await;
    let ports = servers.ports.unwrap();
    let (ca, wrong) = (servers.ca_file(), servers.folder().join("wrong.pem"));
    drop(Authority::new(servers.folder(), "wrong"));
    let (redis, database) = (servers.redis_url(), servers.database_url().to_owned());
    let plain_redis = format!("redis://localhost:{}", ports.redis);
    let other_name = format!("rediss://127.0.0.1:{}", ports.redis);
    let over_tls = |redis: &str, ca: &Path, database: &str| over_tls(&servers, redis, ca, database);
    let mode = |host: &str, mode: &str, ca: &Path| {
        format!("{}?sslmode={mode}&sslrootcert={}", servers.database_at(host), ca.display())
    };
    for (flags, words) in [
        (over_tls(&redis, &wrong, &database), ["Redis cannot be reached", "redis.ca_file"]),
        (over_tls(&other_name, &ca, &database), ["Redis cannot be reached", "write the host in redis.url"]),
        (over_tls(&plain_redis, &ca, &database), ["Redis cannot be reached", "rediss://"]),
        (
            over_tls(&redis, &ca, &mode("localhost", "verify-full", &wrong)),
            ["PostgreSQL cannot be reached", "database.ca_file"],
        ),
        (
            over_tls(&redis, &ca, &mode("127.0.0.1", "verify-full", &ca)),
            ["PostgreSQL cannot be reached", "write the host in database.url"],
        ),
        (
            over_tls(&redis, &ca, &mode("localhost", "disable", &ca)),
            ["PostgreSQL cannot be reached", "sslmode=verify-full"],
        ),
        (
            over_tls(&redis, &ca, &database)[..6].to_vec(),
            ["Redis cannot be reached", "redis.certificate_file"],
        ),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        for name in PROCESSES {
            assert_refused(name, &ended(servers.folder(), name, &flags).await, 69, &words);
        }
    }
}

#[tokio::test]
async fn tls_to_servers_that_serve_none_is_told_with_the_remedy() {
    let servers = Servers::start().await;
    let (redis, database) = (servers.redis_url(), servers.database_url().to_owned());
    let plain = testkit::free_port();
    let redis_by_tcp = PrivateRedis::start(RedisOptions {
        folder: servers.folder().join("plain"),
        appendonly: false,
        extra: vec![("port".to_owned(), plain.to_string())],
    });
    let _redis_by_tcp = redis_by_tcp.await.unwrap();
    let asks_redis = ["--redis-url", &format!("rediss://localhost:{plain}"), "--database-url", &database];
    let asks_database = ["--redis-url", &redis, "--database-url", &format!("{database}&sslmode=require")];
    for (flags, words) in [
        (asks_redis, ["Redis cannot be reached", "write redis://"]),
        (asks_database, ["PostgreSQL cannot be reached", "ssl = on"]),
    ] {
        assert_refused("etl", &ended(servers.folder(), "etl", &flags).await, 69, &words);
    }
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_by_key() {
    let servers = Servers::start_tls().await;
    let (redis, database) = (servers.redis_url(), servers.database_url().to_owned());
    let missing = servers.folder().join("missing.pem");
    let flags = over_tls(&servers, &redis, &missing, &database);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_refused(
        "etl",
        &ended(servers.folder(), "etl", &flags).await,
        64,
        &["redis.ca_file", "missing.pem"],
    );
    let set = format!("database.ca_file={}", missing.display());
    let flags = ["--redis-url", &redis, "--database-url", &database, "--set", &set];
    let refused = ended(servers.folder(), "etl", &flags).await;
    assert_refused("etl", &refused, 64, &["database.ca_file", "missing.pem"]);
}
