//! The breakers of what every job needs: while it is away, nothing is read and nothing taken over.
//!
//! A worker has two: one for the record, one for what its handler needs beside it, such as a vector store. They are apart,
//! so that what waits for the one does not wait for the other.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use futures::future::BoxFuture;
use record::BreakerKind;
use tokio::sync::watch;

use crate::{Breakers, Handler, Process};

type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Open while something does not answer; a probe closes it.
#[derive(Clone)]
pub(crate) struct Breaker {
    what: &'static str,
    /// What people call it.
    name: String,
    breakers: Breakers,
    probe: Probe,
    open: Arc<watch::Sender<bool>>,
}

impl Breaker {
    fn new(what: &'static str, name: String, process: &Process, probe: Probe) -> Self {
        let (breakers, open) = (process.breakers.clone(), Arc::new(watch::Sender::new(false)));
        Self { what, name, breakers, probe, open }
    }

    /// Open while PostgreSQL does not answer.
    pub(crate) fn of_record(worker: &str, process: &Process) -> Self {
        let record = process.record.clone();
        let probe = move || -> BoxFuture<'static, Result<(), String>> {
            let record = record.clone();
            Box::pin(async move { record.ping().await.map_err(|error| error.to_string()) })
        };
        Self::new("the record", worker.to_owned(), process, Arc::new(probe))
    }

    /// Open while what the handler needs does not answer it.
    pub(crate) fn of_handler<H: Handler>(handler: Arc<H>, process: &Process) -> Self {
        let probe = move || -> BoxFuture<'static, Result<(), String>> {
            let handler = Arc::clone(&handler);
            Box::pin(async move { handler.probe().await.map_err(|failure| failure.reason) })
        };
        let name = format!("{}: what every job needs", H::WORKER);
        Self::new("what every job needs", name, process, Arc::new(probe))
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Opens the breaker and, if it was closed, starts the probe that closes it.
    pub(crate) fn trip(&self, error: &dyn Display) {
        if self.open.send_replace(true) {
            return;
        }
        tracing::warn!(%error, "{} is away: reading pauses", self.what);
        self.breakers.opened(BreakerKind::Stage, &self.name, &error.to_string());
        let breaker = self.clone();
        tokio::spawn(async move {
            let mut pace = pace();
            while let Err(error) = (breaker.probe)().await {
                tracing::debug!(error, "{} is still away", breaker.what);
                tokio::time::sleep(next(&mut pace)).await;
            }
            tracing::info!("{} is back: reading resumes", breaker.what);
            breaker.breakers.closed(BreakerKind::Stage, &breaker.name);
            breaker.open.send_replace(false);
        });
    }

    /// Waits until the breaker is closed. Cancel-safe.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        drop(self.open.subscribe().wait_for(|open| !open).await);
    }
}

/// Delays between tries of something that is out: 100 ms growing to 2 s, with jitter, without end.
pub(crate) fn pace() -> backoff::ExponentialBackoff {
    ExponentialBackoffBuilder::new()
        .with_initial_interval(Duration::from_millis(100))
        .with_max_interval(Duration::from_secs(2))
        .with_max_elapsed_time(None)
        .build()
}

/// The next delay.
pub(crate) fn next(pace: &mut backoff::ExponentialBackoff) -> Duration {
    pace.next_backoff().unwrap_or(Duration::from_secs(2))
}
