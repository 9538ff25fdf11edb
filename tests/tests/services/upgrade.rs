//! A fleet is upgraded process by process while events flow: builds of both releases do each other's work.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use local::Signal;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Servers, Start, Worker, binary, eventually, within};
use tokio::task::JoinHandle;

use crate::fleet::{END, Fleet, QUICK, event};

const WORKERS: [&str; 6] = ["planner", "gateway", "etl", "embedding", "judge", "publisher"];

/// One of the two releases.
#[derive(Clone, Copy, PartialEq)]
enum Release {
    Previous,
    Present,
}

fn program(release: Release, name: &str) -> PathBuf {
    if release == Release::Present {
        return binary(name);
    }
    let commit = include_str!("../../previous-release").lines().find(|line| !line.starts_with('#')).unwrap();
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"));
    let file = if name == "tidemill" { name.to_owned() } else { format!("tidemill-{name}") };
    let file = cache.join("tidemill/releases").join(commit).join(file);
    assert!(file.is_file(), "{} is not built: run scripts/setup-services.sh", file.display());
    file
}

async fn migrate(servers: &Servers, database_url: &str, release: Release) {
    let output = tokio::process::Command::new(program(release, "tidemill"))
        .args(["migrate", "--database-url", database_url])
        .current_dir(servers.folder())
        .output()
        .await
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn start(fleet: &mut Fleet, release: Release, name: &'static str, gateway: &str) {
    let address = format!("gateway.address={gateway}");
    let set: Vec<&str> = QUICK.iter().copied().chain([address.as_str()]).collect();
    let start = Start { set: &set, environment: &[] };
    let worker = Worker::start_program(&fleet.servers, name, &program(release, name), &start);
    fleet.workers.push((name, worker));
}

/// Stops the oldest process of a type as its supervisor would, and starts one of a release in its place.
async fn replace(fleet: &mut Fleet, release: Release, name: &'static str, gateway: &str) {
    let place = fleet.workers.iter().position(|(of, _)| *of == name).unwrap();
    let (_, mut worker) = fleet.workers.remove(place);
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait(END).await.is_some_and(|status| status.success()), "{name}: {}", worker.log());
    start(fleet, release, name, gateway);
    let (_, worker) = fleet.workers.last().unwrap();
    eventually(&format!("{name} starts"), async || worker.log().contains("\"started\"")).await;
}

/// Sends event after event, by the gateway and straight to the stream, until it is told to stop.
struct Load {
    sent: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// Pause between two events.
const PACE: Duration = Duration::from_millis(25);

impl Load {
    fn begin(fleet: &Fleet, gateway: &str, token: &str) -> Self {
        let (sent, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (streams, url, token) =
            (fleet.streams.clone(), format!("http://{gateway}/v1/events"), token.to_owned());
        let (count, stopped) = (Arc::clone(&sent), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let number = count.load(Ordering::Relaxed);
                let (request_id, payload) = event(number);
                if number.is_multiple_of(2) {
                    post(&url, &token, &request_id, &payload).await;
                } else {
                    let payload = payload.to_string();
                    let fields = [("source", "test"), ("request_id", &request_id), ("payload", &payload)]
                        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
                    streams.add_raw("trend:ingest:stream", &fields.to_vec()).await.unwrap();
                }
                count.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PACE).await;
            }
        });
        Self { sent, stop, task }
    }

    async fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.sent.load(Ordering::Relaxed)
    }
}

/// Posts an event until it is taken: while the gateway is replaced nobody is there.
async fn post(url: &str, token: &str, request_id: &str, payload: &Value) {
    let body = json!({ "source": "test", "request_id": request_id, "payload": payload });
    let client = reqwest::Client::builder().timeout(END).build().unwrap();
    eventually("the gateway takes an event", async || {
        let sent = client.post(url).bearer_auth(token).json(&body).send().await;
        sent.is_ok_and(|answer| answer.status() == StatusCode::ACCEPTED)
    })
    .await;
}

/// Waits until this many more runs are published: the processes that stand now can do all the work.
async fn more_published(fleet: &Fleet, when: &str) {
    // By their counts: before the migration the schema has not all that a run shows now.
    let published = async || {
        let counts = fleet.record.run_counts(None).await.unwrap();
        counts.into_iter().find(|(state, _)| state == "published").map_or(0, |(_, count)| count)
    };
    let before = published().await;
    eventually(&format!("events flow {when}"), async || published().await >= before + 20).await;
}

async fn token(fleet: &Fleet) -> String {
    let token = format!("tm_{}", uuid::Uuid::now_v7());
    let roles = ["ingest", "read", "moderate", "operate"].map(str::to_owned);
    fleet.record.add_token("default", "desk", &roles, &token).await.unwrap();
    token
}

/// A text so thin that a person is asked; answers with the escalation.
async fn asked(fleet: &Fleet, gateway: &str, token: &str) -> uuid::Uuid {
    post(&format!("http://{gateway}/v1/events"), token, "thin", &json!({ "title": "Hm", "body": "Well." }))
        .await;
    eventually("a person is asked", async || {
        fleet.record.open_escalations(None, 10).await.is_ok_and(|open| open.len() == 1)
    })
    .await;
    fleet.record.open_escalations(None, 10).await.unwrap()[0].escalation_id
}

#[tokio::test]
async fn a_fleet_is_upgraded_process_by_process_and_every_event_ends_once() {
    rustls::crypto::ring::default_provider().install_default().ok();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = free.to_string();
    let servers = Servers::start_empty().await;
    migrate(&servers, servers.database_url(), Release::Previous).await;
    let mut fleet = Fleet::on(servers).await;
    for name in WORKERS {
        start(&mut fleet, Release::Previous, name, &gateway);
    }
    let token = token(&fleet).await;
    let escalation = asked(&fleet, &gateway, &token).await;
    let load = Load::begin(&fleet, &gateway, &token);
    more_published(&fleet, "through the release before").await;

    migrate(&fleet.servers, fleet.servers.database_url(), Release::Present).await;
    more_published(&fleet, "through the release before, on the present schema").await;
    replace(&mut fleet, Release::Previous, "judge", &gateway).await;
    // Downstream first: the old write for the new. Then upstream: the new write for the old between them.
    for name in ["publisher", "etl", "planner", "judge", "gateway", "embedding"] {
        replace(&mut fleet, Release::Present, name, &gateway).await;
        more_published(&fleet, &format!("with a {name} of the present release")).await;
    }
    // Somebody goes back for a while, and both releases serve one stream.
    start(&mut fleet, Release::Previous, "etl", &gateway);
    start(&mut fleet, Release::Previous, "publisher", &gateway);
    more_published(&fleet, "through both releases").await;
    for name in ["etl", "publisher"] {
        replace(&mut fleet, Release::Present, name, &gateway).await;
        replace(&mut fleet, Release::Present, name, &gateway).await;
    }
    let sent = load.end().await;

    let resolve = format!("http://{gateway}/v1/escalations/{escalation}/resolve");
    let approved =
        reqwest::Client::new().post(resolve).bearer_auth(&token).json(&json!({ "decision": "approve" }));
    assert_eq!(approved.send().await.unwrap().status(), StatusCode::OK);
    within(Duration::from_secs(120), "every event ends", async || {
        let runs = fleet.runs().await;
        runs.len() == sent + 1 && runs.iter().all(|run| run.state == "published")
    })
    .await;
    let rows = fleet.record.publications(None, 100_000).await.unwrap();
    assert_eq!(rows.len(), sent + 1, "one row of the ledger for each run");
    assert!(rows.iter().all(|row| row.state == record::PublicationState::Confirmed), "{rows:?}");
    assert_eq!(fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap(), []);
    fleet.assert_consistent().await;
}

/// What a transaction of the fleet does that takes tables in another order than the migration.
const OTHER_ORDER: &str = "BEGIN; LOCK TABLE runs IN ROW EXCLUSIVE MODE; SELECT pg_sleep(3);
    LOCK TABLE run_branches IN ROW EXCLUSIVE MODE; COMMIT";

#[tokio::test]
async fn a_migration_gives_way_to_a_fleet_that_takes_the_tables_in_another_order() {
    let servers = Servers::start_own().await;
    let postgres = servers.postgres.as_ref().unwrap();
    postgres.create_database("older").unwrap();
    let url = postgres.url_of("older");
    migrate(&servers, &url, Release::Previous).await;
    std::thread::scope(|threads| {
        let work = threads.spawn(|| postgres.sql("older", OTHER_ORDER));
        let holds =
            "SELECT count(*) FROM pg_locks WHERE relation = 'runs'::regclass AND mode = 'RowExclusiveLock'";
        while postgres.sql("older", holds).unwrap().trim() == "0" {
            assert!(!work.is_finished(), "it held the table when nobody looked");
        }
        let migrated = threads.spawn(|| {
            tokio::runtime::Runtime::new().unwrap().block_on(migrate(&servers, &url, Release::Present));
        });
        work.join().unwrap().expect("the fleet's transaction goes through");
        migrated.join().expect("the migration goes through after it");
    });
}
