//! Which intent serves a source: the record's answer, kept for a few seconds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use record::{Intent, Record};
use tokio::sync::Mutex;

/// How old a kept answer may be.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// An answer, and when it was had.
type Kept = (Instant, Arc<Vec<Intent>>);

/// The active intents, re-read every five seconds.
#[derive(Debug, Clone)]
pub struct Intents {
    record: Record,
    kept: Arc<Mutex<Option<Kept>>>,
}

impl Intents {
    /// Reads through this record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { record, kept: Arc::default() }
    }

    /// The active intents, the one to prefer first. Empty until a planner has registered some.
    ///
    /// # Errors
    /// [`record::Error`] where nothing is kept and the record does not answer.
    pub async fn active(&self) -> Result<Arc<Vec<Intent>>, record::Error> {
        let mut kept = self.kept.lock().await;
        if let Some((at, intents)) = kept.as_ref()
            && at.elapsed() < KEPT_FOR
            && !intents.is_empty()
        {
            return Ok(Arc::clone(intents));
        }
        let intents = Arc::new(self.record.active_intents().await?);
        *kept = Some((Instant::now(), Arc::clone(&intents)));
        Ok(intents)
    }

    /// The intent that serves a source.
    ///
    /// # Errors
    /// As [`Intents::active`].
    pub async fn serving(&self, tenant: &str, source: &str) -> Result<Option<Intent>, record::Error> {
        Ok(self.active().await?.iter().find(|intent| intent.serves(tenant, source)).cloned())
    }
}
