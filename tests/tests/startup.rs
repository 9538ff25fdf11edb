//! What a process says, and with which code it ends, when it cannot begin.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::process::Output;

use local::{PrivateRedis, RedisOptions};
use testkit::{Servers, binary};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

const PROCESSES: [&str; 6] = ["gateway", "planner", "etl", "embedding", "judge", "publisher"];

/// Runs a process to its end in a folder of its own.
async fn ended(folder: &std::path::Path, name: &str, arguments: &[&str]) -> (i32, String) {
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
