//! Servers go away, forget, and come back.

use testkit::{Servers, eventually};

use crate::fleet::{Fleet, event, events};

#[tokio::test]
async fn a_flushed_redis_loses_no_accepted_event() {
    let fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    fleet.add(events(40)).await;
    eventually("every event is accepted", async || fleet.runs().await.len() == 40).await;
    flush(&fleet).await;
    let mut fleet = fleet;
    fleet.start("publisher").await;
    let runs = fleet.settled(40).await;
    assert!(runs.iter().all(|run| run.state == "published" || run.state == "duplicate"), "{runs:?}");
    fleet.assert_consistent().await;
}

async fn flush(fleet: &Fleet) {
    let socket = fleet.servers.redis_url().trim_start_matches("redis+unix://").to_owned();
    for command in ["FLUSHALL", "SCRIPT FLUSH"] {
        let done = tokio::process::Command::new("redis-cli")
            .arg("-s")
            .arg(&socket)
            .args(command.split(' '))
            .status()
            .await
            .unwrap();
        assert!(done.success());
    }
}

#[tokio::test]
async fn a_redis_that_is_killed_and_started_again_loses_no_accepted_event() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add(events(40)).await;
    eventually("some are accepted", async || !fleet.runs().await.is_empty()).await;
    fleet.servers.redis.kill().await;
    fleet.servers.redis.restart().await.unwrap();
    let accepted = fleet.runs().await.len();
    assert!(accepted > 0);
    fleet.add((100..110).map(event)).await;
    eventually("all that was accepted ends", async || {
        let runs = fleet.runs().await;
        runs.len() >= accepted + 10 && runs.iter().all(|run| run.state != "running")
    })
    .await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn while_postgres_is_stopped_workers_pause_and_nothing_becomes_a_letter() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add(events(20)).await;
    eventually("some are accepted", async || !fleet.runs().await.is_empty()).await;
    let postgres = fleet.servers.postgres.as_mut().unwrap();
    postgres.stop().await;
    fleet.add((20..40).map(event)).await;
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    fleet.servers.postgres.as_mut().unwrap().restart().await.unwrap();
    let runs = fleet.settled(40).await;
    assert!(runs.iter().all(|run| run.state == "published" || run.state == "duplicate"), "{runs:?}");
    assert_eq!(fleet.record.dead_letters(None, 10).await.unwrap(), []);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn jobs_that_wait_longer_than_the_reconciler_does_are_not_added_again() {
    let mut fleet = Fleet::with(&["etl"]).await;
    fleet.add(events(500)).await;
    eventually("all wait for the embedder", async || {
        fleet.streams.backlog("embedding").await.is_ok_and(|backlog| backlog.stream == 500)
    })
    .await;
    // Five postponements and a paged read lie well within five times `reconcile_after`.
    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    assert_eq!(fleet.streams.backlog("embedding").await.unwrap().stream, 500);
    for name in ["embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.settled(500).await;
    fleet.assert_consistent().await;
}
