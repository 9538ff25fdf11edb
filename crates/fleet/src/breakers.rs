//! What this process's breakers tell the record, so that people hear of an outage once, however many processes see it.
//!
//! Opening and closing never wait: they are noted here, and a task of its own tells the record, as soon as that answers. So
//! an outage of PostgreSQL itself is told when it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use record::{BreakerKind, Record};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the record is told what is new.
const LOOK: Duration = Duration::from_millis(500);
/// How often an open breaker is renewed; the record takes one that is silent for a minute for a dead process's.
const RENEWAL: Duration = Duration::from_secs(15);

type Key = (BreakerKind, String);

#[derive(Debug, Clone)]
struct Outage {
    reason: String,
    opened: Instant,
    told: Option<Instant>,
    over: bool,
}

/// The breakers of a process that are open, or were: cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Breakers(Arc<Mutex<BTreeMap<Key, Outage>>>);

impl Breakers {
    fn outages(&self) -> MutexGuard<'_, BTreeMap<Key, Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A breaker is open. Said again of the same outage, this changes nothing.
    pub fn opened(&self, kind: BreakerKind, name: &str, reason: &str) {
        let new =
            || Outage { reason: model::storable(reason), opened: Instant::now(), told: None, over: false };
        // One that closed before it was told, and opened again, is told once.
        self.outages().entry((kind, name.to_owned())).or_insert_with(new).over = false;
    }

    /// A breaker is closed, or was never open.
    pub fn closed(&self, kind: BreakerKind, name: &str) {
        if let Some(outage) = self.outages().get_mut(&(kind, name.to_owned())) {
            outage.over = true;
        }
    }

    /// Tells the record until the process stops.
    pub(crate) fn tell(&self, record: Record, process: String, shutdown: CancellationToken) {
        let breakers = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                if let Err(error) = breakers.round(&record, &process).await {
                    tracing::debug!(%error, "the record cannot be told of breakers yet");
                }
            }
        });
    }

    async fn round(&self, record: &Record, process: &str) -> Result<(), record::Error> {
        let known: Vec<(Key, Outage)> =
            self.outages().iter().map(|(key, outage)| (key.clone(), outage.clone())).collect();
        for ((kind, name), outage) in known {
            let is_new = outage.told.is_none();
            if is_new || (!outage.over && outage.told.is_some_and(|told| told.elapsed() >= RENEWAL)) {
                let age = outage.opened.elapsed();
                let first = record.breaker_is_open(kind, &name, &outage.reason, process, age).await?;
                if first {
                    tracing::warn!(
                        breaker = kind.as_str(),
                        name,
                        reason = outage.reason,
                        "a breaker is open"
                    );
                }
                if let Some(outage) = self.outages().get_mut(&(kind, name.clone())) {
                    outage.told = Some(Instant::now());
                }
            }
            if outage.over {
                record.breaker_is_closed(kind, &name).await?;
                // Unless it opened again meanwhile.
                self.outages().retain(|key, outage| *key != (kind, name.clone()) || !outage.over);
            }
        }
        Ok(())
    }
}
