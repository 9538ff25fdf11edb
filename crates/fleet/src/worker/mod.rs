//! The worker loop, one file a stage: read → intake → execute → commit → hand over; beside it heartbeat, takeover,
//! promotion and watching.
//!
//! The stages are joined by channels and share nothing but the [`Engine`]. An entry that was read is *held* until its
//! hand-over is answered, its loss is noticed, or the process stops; whatever stage it is in, dropping it releases it.

mod adopt;
mod branches;
mod breaker;
mod commit;
mod decide;
mod effects;
mod execute;
mod feeds;
mod hand_over;
mod held;
mod intake;
mod read;
mod revoke;
mod route;
mod stop;
mod task;
mod watch;

use std::sync::Arc;

use streams::Lane;
use tokio::sync::{RwLock, Semaphore, mpsc, watch as watch_channel};
use tokio_util::sync::CancellationToken;

use crate::{Fault, Handler, Intents, Process, Workflows};
use breaker::Breaker;
use commit::Finished;
use execute::UnderWay;
use hand_over::Leaving;
use held::Held;

/// What the stages of one worker process share.
pub(crate) struct Engine<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) process: Process,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) workflows: Workflows,
    pub(crate) intents: Intents,
    pub(crate) held: Arc<Held>,
    pub(crate) slots: Arc<Semaphore>,
    /// Of the record.
    pub(crate) breaker: Breaker,
    /// Of what the handler needs beside the record.
    pub(crate) needed: Breaker,
    /// The worker type whose full stream pauses reading, where there is one.
    pub(crate) full_downstream: watch_channel::Sender<Option<String>>,
    /// Read by ordinary jobs, written by a suspect one, which is handled alone.
    pub(crate) solitude: RwLock<()>,
    pub(crate) handling: UnderWay,
    pub(crate) finished: mpsc::UnboundedSender<Finished>,
    pub(crate) leaving: mpsc::UnboundedSender<Vec<Leaving>>,
    /// Cancelled when the grace period is over: whatever is held is given back.
    pub(crate) give_up: CancellationToken,
}

impl<H: Handler> Engine<H> {
    pub(crate) fn config(&self) -> &crate::config::Worker {
        &self.process.settings.shared.worker
    }

    pub(crate) fn labels(&self) -> crate::metrics::WorkerLabels {
        crate::metrics::WorkerLabels { worker: H::WORKER.to_owned() }
    }

    /// Whether something is away that every job needs.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.breaker.is_open() || self.needed.is_open()
    }

    /// Waits until nothing is away that every job needs. Cancel-safe.
    pub(crate) async fn reconnected(&self) {
        while self.is_cut_off() {
            self.breaker.closed().await;
            self.needed.closed().await;
        }
    }

    pub(crate) fn count(&self, outcome: &str) {
        self.process.metrics.jobs.get_or_create(&Self::job_labels(outcome)).inc();
    }

    pub(crate) fn job_labels(outcome: &str) -> crate::JobLabels {
        crate::JobLabels { worker: H::WORKER.to_owned(), outcome: outcome.to_owned() }
    }
}

/// Serves one worker type's streams until the process is told to stop, then drains within the grace period.
///
/// # Errors
/// [`Fault`] where the streams cannot be prepared at start. Later trouble pauses the worker and does not end it.
pub async fn serve<H: Handler>(process: Process, handler: H) -> Result<(), Fault> {
    let partitions = process.settings.shared.streams.partitions.max(1);
    let lanes: Vec<Lane> = (0..partitions)
        .map(|partition| process.streams.lane(H::WORKER, partition, &process.consumer))
        .collect::<Result<_, _>>()?;
    for lane in &lanes {
        lane.ensure_group().await?;
    }
    let (finished, commits) = mpsc::unbounded_channel();
    let (leaving, departures) = mpsc::unbounded_channel();
    let handler = Arc::new(handler);
    let engine = Arc::new(Engine {
        breaker: Breaker::of_record(H::WORKER, &process),
        needed: Breaker::of_handler(Arc::clone(&handler), &process),
        workflows: Workflows::new(process.record.clone()),
        intents: Intents::new(process.record.clone()),
        slots: Arc::new(Semaphore::new(process.settings.shared.worker.concurrency)),
        held: Arc::default(),
        handling: UnderWay::default(),
        full_downstream: watch_channel::Sender::new(None),
        solitude: RwLock::new(()),
        give_up: CancellationToken::new(),
        handler,
        process,
        lanes,
        finished,
        leaving,
    });
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(commit::run(Arc::clone(&engine), commits));
    tasks.spawn(hand_over::run(Arc::clone(&engine), departures));
    tasks.spawn(watch::heartbeat(Arc::clone(&engine)));
    tasks.spawn(watch::presence(Arc::clone(&engine)));
    tasks.spawn(watch::promote(Arc::clone(&engine)));
    tasks.spawn(watch::measure(Arc::clone(&engine)));
    tasks.spawn(watch::record(Arc::clone(&engine)));
    tasks.spawn(revoke::run(Arc::clone(&engine)));
    for index in 0..engine.lanes.len() {
        tasks.spawn(read::read(Arc::clone(&engine), index));
        tasks.spawn(read::take_over(Arc::clone(&engine), index));
    }
    let broken = tokio::select! {
        // Looked at first: told to stop, the stages end one after the other.
        biased;
        () = engine.process.shutdown.cancelled() => None,
        ended = tasks.join_next() => ended,
    };
    if let Some(ended) = broken {
        // A worker that lacks a stage would hold its entries for ever: they are better with another process.
        let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
        return Err(Fault::bug(format!("a stage of the worker broke off: {why}")));
    }
    stop::drain(&engine).await;
    tasks.shutdown().await;
    Ok(())
}
