//! Redis and PostgreSQL reached over TLS.

use testkit::Servers;

use crate::fleet::{Fleet, events};

#[tokio::test]
async fn a_fleet_publishes_over_tls_to_redis_and_postgresql() {
    let mut fleet = Fleet::on(Servers::start_tls().await).await;
    let certificates = fleet.servers.redis_certificates();
    let certificates: Vec<&str> = certificates.iter().map(String::as_str).collect();
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start_with(name, &certificates, &[]).await;
    }
    fleet.add(events(3)).await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
    let postgres = fleet.servers.postgres.as_ref().unwrap();
    let encrypted = postgres.sql(
        "tidemill",
        "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE client_addr IS NOT NULL",
    );
    let encrypted = encrypted.unwrap();
    let (ssl, all) = encrypted.trim().split_once('|').unwrap();
    assert!(ssl == all && ssl != "0", "{encrypted}");
}
