//! Private servers start, answer, survive a kill, and leave nothing behind.

use std::time::Duration;

use tidemill_local::{
    PostgresOptions, PrivatePostgres, PrivateRedis, RedisOptions, Signal, spawn_supervised,
};

#[tokio::test]
async fn redis_keeps_what_it_was_given_over_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let options = RedisOptions { folder: folder.path().to_owned(), appendonly: true, extra: vec![] };
    let mut redis = PrivateRedis::start(options).await.unwrap();
    assert!(redis.url().starts_with("redis+unix:///"));
    redis.restart().await.unwrap();
    assert!(!redis.has_ended());
    redis.stop().await;
    assert!(redis.has_ended());
}

#[tokio::test]
async fn postgres_starts_again_on_a_folder_whose_server_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let options = PostgresOptions { folder: folder.path().join("pg"), durable: true, extra: vec![] };
    let mut postgres = PrivatePostgres::start(options.clone()).await.unwrap();
    postgres.sql("tidemill", "CREATE TABLE t AS SELECT 7 AS n").unwrap();
    postgres.signal(Signal::SIGKILL);
    while !postgres.has_ended() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    postgres.restart().await.unwrap();
    assert_eq!(postgres.sql("tidemill", "SELECT n FROM t").unwrap().trim(), "7");
    postgres.stop().await;
}

#[tokio::test]
async fn a_supervised_child_ends_when_it_is_stopped() {
    let mut child = spawn_supervised("sleep", |command| {
        command.arg("60");
    })
    .unwrap();
    assert!(child.stop(Signal::SIGTERM, Duration::from_secs(5)).await);
    assert!(child.ended().is_some());
}
