//! What people paused, as this process knows it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use record::{PauseKind, Record};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How often the record is looked at: the longest that a pause goes unnoticed.
const LOOK: Duration = Duration::from_secs(1);

/// The pauses, followed until the process stops. While the record is away the last ones that were seen hold.
#[derive(Debug, Clone)]
pub struct Pauses(watch::Receiver<Arc<HashSet<(PauseKind, String)>>>);

impl Pauses {
    /// Reads them once, then follows them.
    pub(crate) async fn follow(record: Record, shutdown: CancellationToken) -> Result<Self, record::Error> {
        let (sender, receiver) = watch::channel(Arc::new(read(&record).await?));
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                match read(&record).await {
                    Ok(now) => {
                        sender.send_if_modified(|known| {
                            let changed = **known != now;
                            *known = Arc::new(now);
                            changed
                        });
                    }
                    Err(error) => tracing::debug!(%error, "the pauses could not be read"),
                }
            }
        });
        Ok(Self(receiver))
    }

    /// Whether this is paused.
    #[must_use]
    pub fn has(&self, kind: PauseKind, name: &str) -> bool {
        self.0.borrow().contains(&(kind, name.to_owned()))
    }

    /// Waits until this is not paused. Cancel-safe.
    pub async fn lifted(&self, kind: PauseKind, name: &str) {
        let what = (kind, name.to_owned());
        // The sender is gone where the process stops: whoever waits then looks at that.
        drop(self.0.clone().wait_for(|paused| !paused.contains(&what)).await);
    }
}

async fn read(record: &Record) -> Result<HashSet<(PauseKind, String)>, record::Error> {
    Ok(record.pauses().await?.into_iter().map(|pause| (pause.kind, pause.name)).collect())
}
