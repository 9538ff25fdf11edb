//! Starting and stopping a process: configure, connect, check, run, drain, exit with a code that means something.

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use model::Actor;
use record::{NewDeadLetter, Record};
use serde::Serialize;
use serde::de::DeserializeOwned;
use streams::Streams;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Overrides;
use crate::metrics::WorkerLabels;
use crate::restore::refuse_unsaid_restore;
use crate::{Breakers, Fault, FaultKind, Metrics, Pauses, Settings, admin, telemetry};

/// Threads for blocking work, at most: it waits for cores and disks, and each thread keeps the stack it once used.
const BLOCKING: usize = 32;

/// What a running process has: cheap to clone.
#[derive(Debug, Clone)]
pub struct Process {
    /// Its configuration.
    pub settings: Settings,
    /// The record.
    pub record: Record,
    /// The streams.
    pub streams: Streams,
    /// Its metrics.
    pub metrics: Metrics,
    /// The gates of the policy documents, as they stood when the process started.
    pub gates: Arc<rails::GatePolicies>,
    /// What people paused.
    pub pauses: Pauses,
    /// What is out, as this process sees it.
    pub breakers: Breakers,
    /// Cancelled when the process should stop.
    pub shutdown: CancellationToken,
    /// This process among those of its type: its name in consumer groups.
    pub consumer: String,
    /// How it signs provenance.
    pub actor: Actor,
}

impl Process {
    /// The process's own section of the configuration.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file and line.
    pub fn section<T: DeserializeOwned + Serialize + Default>(&self, name: &str) -> Result<T, Fault> {
        self.settings.section(name)
    }

    /// Waits for `time`, or until the process should stop. Cancel-safe.
    pub async fn idle(&self, time: Duration) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = tokio::time::sleep(time) => {}
        }
    }

    /// Stores what cannot be processed as a dead letter that touches no run; logged and counted.
    ///
    /// # Errors
    /// [`record::Error`].
    pub async fn bury(&self, letter: &NewDeadLetter) -> Result<(), record::Error> {
        self.record.bury(letter).await?;
        self.tell_buried(letter);
        Ok(())
    }

    /// As [`Process::bury`], unless the entry is a letter already, or the origin has had one of this day whose entry id
    /// begins alike.
    ///
    /// # Errors
    /// [`record::Error::Sql`].
    pub async fn bury_daily(&self, letter: &NewDeadLetter, alike: &str) -> Result<(), record::Error> {
        if self.record.bury_daily(letter, alike).await? {
            self.tell_buried(letter);
        }
        Ok(())
    }

    fn tell_buried(&self, letter: &NewDeadLetter) {
        tracing::warn!(
            entry = letter.entry_id,
            stream = letter.stream,
            reason = letter.reason,
            "dead letter"
        );
        let worker = self.actor.name.trim_start_matches("tidemill-").to_owned();
        self.metrics.dead_letters.get_or_create(&WorkerLabels { worker }).inc();
    }
}

#[derive(Debug, clap::Parser)]
struct Flags {
    #[command(flatten)]
    overrides: Overrides,
}

/// Runs a process from its command line to its exit code: `name` is its worker type, `run` its work, which ends soon
/// after [`Process::shutdown`] is cancelled.
pub fn launch<F, Fut>(name: &'static str, version: &'static str, about: &'static str, run: F) -> ExitCode
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = Result<(), Fault>>,
{
    let binary = format!("tidemill-{name}");
    let example = format!(
        "Example:\n  {binary} --redis-url redis://127.0.0.1:6379 --database-url postgres://tidemill@127.0.0.1/tidemill\n\n\
         Any key of the reference configuration may also be given as TIDEMILL_<SECTION>__<KEY>.\n\
         Exit codes: 0 stopped as asked, 64 bad usage or configuration, 69 a service is missing or unfit, 70 a bug."
    );
    let command = Flags::command().bin_name(binary.clone()).version(version).about(about).after_help(example);
    let flags = match command.try_get_matches().and_then(|m| Flags::from_arg_matches(&m)) {
        Ok(flags) => flags,
        Err(error) => {
            let code = if error.use_stderr() { FaultKind::Usage as u8 } else { 0 };
            return if error.print().is_ok() {
                ExitCode::from(code)
            } else {
                ExitCode::from(FaultKind::Bug as u8)
            };
        }
    };
    // Every reqwest client needs a provider; a second installation, by a test, is no fault.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime =
        match tokio::runtime::Builder::new_multi_thread().max_blocking_threads(BLOCKING).enable_all().build()
        {
            Ok(runtime) => runtime,
            Err(error) => return exit(&binary, Err(Fault::bug(format!("no runtime: {error}")))),
        };
    let result = runtime.block_on(Box::pin(live(name, version, flags, run)));
    // Blocking work that nobody waits for any more must not hold the process.
    runtime.shutdown_timeout(Duration::from_secs(1));
    exit(&binary, result)
}

fn exit(binary: &str, result: Result<(), Fault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            #[expect(clippy::print_stderr, reason = "the last word of a process goes to its terminal")]
            {
                eprintln!("{binary}: {fault}");
            }
            ExitCode::from(fault.kind as u8)
        }
    }
}

async fn live<F, Fut>(name: &'static str, version: &'static str, flags: Flags, run: F) -> Result<(), Fault>
where
    F: FnOnce(Process) -> Fut,
    Fut: Future<Output = Result<(), Fault>>,
{
    let settings = Settings::load(&flags.overrides)?;
    let telemetry = telemetry::start(name, &settings.shared.log)?;
    let shared = settings.shared.clone();
    let gates = Arc::new(shared.gates.read()?);
    let (database, redis) = (settings.database()?, settings.redis()?);
    let record = Record::connect(database.endpoint()?, database.connections).await?;
    record.check().await?;
    let record = record.judging_by(Arc::clone(&gates));
    let streams = Streams::connect(redis.endpoint()?, shared.streams.clone()).await?;
    refuse_unsaid_restore(&record, &streams).await?;
    let consumer = consumer(name);
    let shutdown = CancellationToken::new();
    let process = Process {
        settings,
        gates,
        pauses: Pauses::follow(record.clone(), shutdown.clone()).await?,
        breakers: Breakers::default(),
        record,
        streams,
        metrics: Metrics::new(),
        shutdown,
        actor: Actor { name: format!("tidemill-{name}"), version: version.to_owned(), id: consumer.clone() },
        consumer,
    };
    watch_signals(process.shutdown.clone())?;
    process.breakers.tell(process.record.clone(), process.consumer.clone(), process.shutdown.clone());
    let stopped = CancellationToken::new();
    let address = admin::serve(&process, stopped.clone()).await?;
    tracing::info!(worker = name, version, consumer = process.consumer, admin = %address, "started");
    let result = run(process).await;
    stopped.cancel();
    match &result {
        Ok(()) => tracing::info!(worker = name, "stopped"),
        Err(fault) => tracing::error!(worker = name, %fault, "ended"),
    }
    telemetry.stop().await;
    result
}

/// A name that no other process has: host, process id and the start's random tail.
fn consumer(name: &str) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let tail = uuid::Uuid::new_v4().simple().to_string();
    format!("{name}@{}-{}-{}", host.trim(), std::process::id(), &tail[..6])
}

fn watch_signals(shutdown: CancellationToken) -> Result<(), Fault> {
    let fault = |e: std::io::Error| Fault::bug(format!("signals cannot be watched: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(fault)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fault)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(fault)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        tracing::info!("stopping");
        shutdown.cancel();
    });
    Ok(())
}
