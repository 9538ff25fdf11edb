//! A fleet of real binaries whose brains do nothing.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use local::{Signal, Supervised, spawn_supervised};
use record::Record;

use crate::{Fault, STAGES};

/// Four steps, one for each worker type, without conditions and effects: what is measured is the carrying.
const WORKFLOW: &str = "name: idle
version: 1
goal: measure what the rails cost
steps:
  - { id: etl, worker: etl, on_success: embedding }
  - { id: embedding, worker: embedding, on_success: judge }
  - { id: judge, worker: judge, on_success: publish }
  - { id: publish, worker: publisher, on_success: { end: done } }
";

/// How long the fleet may take to answer.
const READY: Duration = Duration::from_secs(60);

/// The processes, the gateway's address and a token for it.
#[derive(Debug)]
pub struct IdleFleet {
    processes: Vec<(&'static str, Supervised)>,
    /// The record they write.
    pub record: Record,
    /// `http://` and the gateway's address.
    pub gateway: String,
    /// A token that may add events.
    pub token: String,
}

impl IdleFleet {
    /// Applies the schema, starts a gateway, a planner and a worker of each type, and waits until events are taken.
    ///
    /// # Errors
    /// Where a program is missing or does not become ready.
    pub async fn start(
        programs: &Path,
        folder: &Path,
        database: &str,
        redis: &str,
        relay: bool,
    ) -> Result<Self, Fault> {
        std::fs::create_dir_all(folder)?;
        let workflow = folder.join("idle.yaml");
        std::fs::write(&workflow, WORKFLOW)?;
        let record = Record::connect(database, 2).await?;
        record.migrate().await?;
        let token = uuid::Uuid::new_v4().to_string();
        record.add_token(model::DEFAULT_TENANT, "bench", &["ingest".to_owned()], &token).await?;
        let settings = [
            format!("planner.workflows={}", serde_json::json!([workflow])),
            r#"planner.intents=[{"source":"*","purpose":"measure","workflow":"idle"}]"#.to_owned(),
            "gateway.address=127.0.0.1:0".to_owned(),
            "gateway.high_water=1000000".to_owned(),
            "worker.high_water=1000000".to_owned(),
            "embedding.embedder=hashing".to_owned(),
            format!("planner.relay.enabled={relay}"),
        ];
        let mut fleet = Self { processes: vec![], record, gateway: String::new(), token };
        let mut start = |name: &'static str| -> Result<PathBuf, Fault> {
            let log = folder.join(format!("{name}.log"));
            let file = std::fs::File::create(&log)?;
            let program = programs.join(format!("tidemill-{name}"));
            if !program.is_file() {
                return Err(format!("{} is not there: `make bench` builds it", program.display()).into());
            }
            let again = file.try_clone()?;
            let process = spawn_supervised(&program.display().to_string(), |command| {
                command.current_dir(folder).stdin(std::process::Stdio::null()).stdout(file).stderr(again);
                command.args(["--redis-url", redis, "--database-url", database]);
                command.args(settings.iter().flat_map(|setting| ["--set", setting]));
            })?;
            fleet.processes.push((name, process));
            Ok(log)
        };
        start("planner")?;
        for name in STAGES {
            start(name)?;
        }
        let log = start("gateway")?;
        fleet.gateway = fleet.ready(&log).await?;
        Ok(fleet)
    }

    async fn ready(&mut self, gateway_log: &Path) -> Result<String, Fault> {
        let until = Instant::now() + READY;
        while Instant::now() < until {
            for (name, process) in &mut self.processes {
                if process.ended().is_some() {
                    let log = std::fs::read_to_string(gateway_log.with_file_name(format!("{name}.log")))?;
                    return Err(format!("{name} ended: {}", log.lines().last().unwrap_or_default()).into());
                }
            }
            let log = std::fs::read_to_string(gateway_log)?;
            let address = log
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
                .find(|line| line["message"] == "serving")
                .and_then(|line| line["address"].as_str().map(str::to_owned));
            if let Some(address) = address
                && !self.record.active_intents().await?.is_empty()
            {
                return Ok(format!("http://{address}"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err(format!("the fleet was not ready within {READY:?}: see {}", gateway_log.display()).into())
    }

    /// The most memory that each process has held, in MiB, as the kernel counts it (`VmHWM`).
    ///
    /// # Errors
    /// Where a process has ended.
    pub fn memory(&self) -> Result<Vec<(&'static str, f64)>, Fault> {
        let peak = |(name, process): &(&'static str, Supervised)| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()))?;
            let kib = status
                .lines()
                .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"))
                .ok_or_else(|| format!("{name} has ended"))?;
            Ok((*name, kib.trim().parse::<f64>()? / 1024.0))
        };
        self.processes.iter().map(peak).collect()
    }

    /// Stops every process.
    ///
    /// # Errors
    /// Where one did not end in its grace period.
    pub async fn stop(mut self) -> Result<(), Fault> {
        let stopping = self
            .processes
            .iter_mut()
            .map(|(_, process)| process.stop(Signal::SIGTERM, Duration::from_secs(30)));
        if futures::future::join_all(stopping).await.contains(&false) {
            return Err("a process did not stop in its grace period".into());
        }
        Ok(())
    }
}
