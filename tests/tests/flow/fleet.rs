//! A whole fleet for one test.

use std::collections::BTreeMap;
use std::time::Duration;

use local::Signal;
use record::{Record, RunFilter, RunSummary};
use serde_json::{Value, json};
use streams::Streams;
use testkit::{Servers, Start, Worker, eventually};
use tidemill_tests::Checked;
use tokio::sync::Mutex;

/// Settings that make a test's fleet quick to notice things.
pub(crate) const QUICK: [&str; 6] = [
    "worker.takeover_after=2s",
    "worker.grace=5s",
    "planner.reconcile_after=2s",
    "embedding.embedder=hashing",
    "planner.values.trend.duplicate_similarity=2",
    "gateway.address=127.0.0.1:0",
];

/// A fleet with its servers.
pub(crate) struct Fleet {
    pub(crate) servers: Servers,
    pub(crate) record: Record,
    pub(crate) streams: Streams,
    pub(crate) workers: Vec<(&'static str, Worker)>,
    /// The check before each gateway, by the gateway's own address.
    checked: Mutex<BTreeMap<String, Checked>>,
}

impl Fleet {
    /// Servers and a schema, without any process.
    pub(crate) async fn quiet() -> Self {
        Self::on(Servers::start().await).await
    }

    pub(crate) async fn on(servers: Servers) -> Self {
        let (record, streams) = (servers.record().await, servers.streams().await);
        Self { servers, record, streams, workers: Vec::new(), checked: Mutex::default() }
    }

    /// The planner and these workers.
    pub(crate) async fn with(names: &[&'static str]) -> Self {
        let mut fleet = Self::quiet().await;
        fleet.start("planner").await;
        for name in names {
            fleet.start(name).await;
        }
        fleet
    }

    pub(crate) async fn start(&mut self, name: &'static str) {
        self.start_with(name, &[], &[]).await;
    }

    pub(crate) async fn start_with(
        &mut self,
        name: &'static str,
        set: &[&str],
        environment: &[(&str, &str)],
    ) {
        let set: Vec<&str> = QUICK.iter().chain(set).copied().collect();
        let worker = Worker::start(&self.servers, name, &Start { set: &set, environment });
        self.workers.push((name, worker));
        if name == "planner" {
            eventually("the planner registers its intents", async || {
                self.record.active_intents().await.is_ok_and(|intents| !intents.is_empty())
            })
            .await;
        }
    }

    pub(crate) fn signal(&mut self, name: &str, signal: Signal) {
        for (_, worker) in self.workers.iter_mut().filter(|(of, _)| *of == name) {
            worker.signal(signal);
        }
    }

    /// Kills the processes of this name, and waits for their death.
    pub(crate) async fn kill(&mut self, name: &str) {
        let (dying, others) = std::mem::take(&mut self.workers).into_iter().partition(|(of, _)| *of == name);
        self.workers = others;
        for (_, mut worker) in dying {
            worker.signal(Signal::SIGKILL);
            assert!(worker.wait(END).await.is_some(), "{name} dies");
        }
    }

    /// What the processes of this name wrote so far.
    pub(crate) fn log(&self, name: &str) -> String {
        self.workers.iter().filter(|(of, _)| *of == name).map(|(_, worker)| worker.log()).collect()
    }

    /// Stops every process and waits for its end.
    pub(crate) async fn stop(&mut self) {
        for (_, worker) in &mut self.workers {
            worker.signal(Signal::SIGTERM);
        }
        for (name, worker) in &mut self.workers {
            assert!(
                worker.wait(END).await.is_some_and(|status| status.success()),
                "{name}: {}",
                worker.log()
            );
        }
        self.workers.clear();
    }

    /// Adds events straight to the ingest stream, as an upstream that speaks Redis does.
    pub(crate) async fn add(&self, events: impl IntoIterator<Item = (String, Value)>) {
        for (request_id, payload) in events {
            let fields = [("source", "test"), ("request_id", &request_id), ("payload", &payload.to_string())]
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
            self.streams.add_raw("trend:ingest:stream", &fields.to_vec()).await.unwrap();
        }
    }

    pub(crate) async fn runs(&self) -> Vec<RunSummary> {
        self.record.runs(&RunFilter::default(), 10_000).await.unwrap()
    }

    /// Waits until `count` runs are there and none is running; returns them.
    pub(crate) async fn settled(&self, count: usize) -> Vec<RunSummary> {
        eventually(&format!("{count} runs are ended or waiting"), async || {
            let runs = self.record.runs(&RunFilter::default(), 10_000).await.unwrap_or_default();
            runs.len() == count && runs.iter().all(|run| run.state != "running")
        })
        .await;
        self.runs().await
    }

    /// Asserts that the chains hold, no stream holds a job, and each published run has exactly one post.
    pub(crate) async fn assert_consistent(&self) {
        let found = self.record.verify(None).await.unwrap();
        assert_eq!(found.broken, [], "the chains hold");
        for worker in ["etl", "embedding", "judge", "agent", "publisher"] {
            eventually(&format!("the {worker} stream is empty"), async || {
                self.streams.backlog(worker).await.is_ok_and(|backlog| backlog.stream + backlog.retry == 0)
            })
            .await;
        }
        let published = self.runs().await.iter().filter(|run| run.state == "published").count();
        assert_eq!(self.posts(), published, "one post for each published run");
    }

    /// How many posts the outlet has.
    pub(crate) fn posts(&self) -> usize {
        let folder = self.servers.folder().join("published");
        let files =
            std::fs::read_dir(folder).map(|entries| entries.filter_map(Result::ok).collect::<Vec<_>>());
        files
            .unwrap_or_default()
            .iter()
            .filter(|file| file.path().extension().is_some_and(|e| e == "md"))
            .count()
    }

    /// The gateway's address, where each of its answers is checked against its description.
    pub(crate) async fn gateway(&self) -> String {
        let own = format!("http://{}", self.unchecked_gateway().await);
        let mut checked = self.checked.lock().await;
        if !checked.contains_key(&own) {
            checked.insert(own.clone(), Checked::before(&own).await);
        }
        checked[&own].url()
    }

    /// The gateway's own address, for tests of connections; from its log.
    pub(crate) async fn unchecked_gateway(&self) -> String {
        let address = |log: &str| {
            log.lines()
                .filter_map(|line| serde_json::from_str::<Value>(line).ok())
                .find(|line| line["message"] == "serving")
                .and_then(|line| line["address"].as_str().map(str::to_owned))
        };
        eventually("the gateway serves", async || address(&self.log("gateway")).is_some()).await;
        address(&self.log("gateway")).unwrap()
    }
}

/// What a process serves at `/metrics`.
pub(crate) async fn metrics(worker: &Worker) -> String {
    rustls::crypto::ring::default_provider().install_default().ok();
    let log = worker.log();
    let started = log.lines().find_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        line["admin"].as_str().map(str::to_owned)
    });
    let url = format!("http://{}/metrics", started.expect("it tells its admin address"));
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// Whatever a test is about: what it told outsiders fits the documentation.
impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() && self.workers.iter().any(|(name, _)| *name == "planner") {
            crate::told::assert_all_documented(&self.servers.redis_url());
        }
    }
}

/// An ordinary text, another one for each number.
pub(crate) fn event(number: usize) -> (String, Value) {
    let words = [
        "harbour", "library", "orchard", "station", "museum", "market", "bridge", "garden", "school",
        "theatre",
    ];
    let (one, two, three) = (words[number % 10], words[(number / 10) % 10], words[(number / 100) % 10]);
    let body = format!(
        "The council opened the new {one} beside the old {two} on Tuesday morning. Number {number} of the programme cost \
         less than the planners of the {three} had feared. Residents welcomed the {one} with music and a long walk \
         through the {two}, and many of them stayed until the evening."
    );
    (format!("event-{number}"), json!({ "title": format!("A new {one} number {number}"), "body": body }))
}

pub(crate) fn events(count: usize) -> Vec<(String, Value)> {
    (0..count).map(event).collect()
}

/// The limit for a process to end in.
pub(crate) const END: Duration = Duration::from_secs(20);
