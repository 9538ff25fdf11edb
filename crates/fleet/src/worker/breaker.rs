//! The breaker of what every job needs: while the record is away, nothing is read and nothing taken over.

use std::sync::Arc;
use std::time::Duration;

use backoff::ExponentialBackoffBuilder;
use backoff::backoff::Backoff;
use record::{BreakerKind, Record};
use tokio::sync::watch;

use crate::{Breakers, Process};

/// Open while PostgreSQL does not answer; a probe closes it.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    worker: &'static str,
    record: Record,
    breakers: Breakers,
    open: Arc<watch::Sender<bool>>,
}

impl Breaker {
    pub(crate) fn new(worker: &'static str, process: &Process) -> Self {
        let (record, breakers) = (process.record.clone(), process.breakers.clone());
        Self { worker, record, breakers, open: Arc::new(watch::Sender::new(false)) }
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Opens the breaker and, if it was closed, starts the probe that closes it.
    pub(crate) fn trip(&self, error: &record::Error) {
        if self.open.send_replace(true) {
            return;
        }
        tracing::warn!(%error, "the record is away: reading pauses");
        self.breakers.opened(BreakerKind::Stage, self.worker, &error.to_string());
        let breaker = self.clone();
        tokio::spawn(async move {
            let mut pace = pace();
            while let Err(error) = breaker.record.ping().await {
                tracing::debug!(%error, "the record is still away");
                tokio::time::sleep(next(&mut pace)).await;
            }
            tracing::info!("the record is back: reading resumes");
            breaker.breakers.closed(BreakerKind::Stage, breaker.worker);
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
