//! Real binaries, started as a person would start them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use local::{Signal, Supervised, spawn_supervised};

use crate::Servers;

/// A running binary of the fleet.
#[derive(Debug)]
pub struct Worker {
    process: Supervised,
    log: PathBuf,
}

/// How a worker is started.
#[derive(Debug, Clone, Default)]
pub struct Start<'a> {
    /// Settings, such as `worker.takeover_after=2s`.
    pub set: &'a [&'a str],
    /// Environment beside the servers' URLs.
    pub environment: &'a [(&'a str, &'a str)],
}

impl Worker {
    /// Starts `tidemill-<name>` against the servers of a test.
    #[must_use]
    pub fn start(servers: &Servers, name: &str, start: &Start<'_>) -> Self {
        Self::start_program(servers, name, &binary(name), start)
    }

    /// Starts a process of another build.
    #[must_use]
    pub fn start_program(servers: &Servers, name: &str, program: &Path, start: &Start<'_>) -> Self {
        let log = servers.folder().join(format!("{name}-{}.log", uuid::Uuid::now_v7()));
        let file = std::fs::File::create(&log).expect("a log file");
        let process = spawn_supervised(&program.display().to_string(), |command| {
            command.current_dir(servers.folder()).stdin(std::process::Stdio::null());
            command.stdout(file.try_clone().expect("a log file")).stderr(file);
            command.args(["--redis-url", &servers.redis_url(), "--database-url", servers.database_url()]);
            for setting in start.set {
                command.args(["--set", setting]);
            }
            for (name, value) in start.environment {
                command.env(name, value);
            }
        })
        .expect("a worker");
        Self { process, log }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its exit code, once it has ended of itself; `None` while it runs or where a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        self.process.ended().and_then(|status| status.code())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Waits for its end.
    pub async fn wait(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        self.process.wait(limit).await
    }
}

/// The path of one of the fleet's binaries: beside the test's own, where cargo puts them.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).map(Path::to_owned).expect("the target folder");
    let name = if name == "tidemill" { name.to_owned() } else { format!("tidemill-{name}") };
    let file = folder.join(name);
    assert!(file.is_file(), "{} is not built: run `cargo build --workspace` first", file.display());
    file
}
