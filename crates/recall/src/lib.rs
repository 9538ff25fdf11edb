//! The index of what was embedded: which embedder, which store, and how it keeps up with the record.
//!
//! The embedder and the gateway each hold one, and an agent whose orchestrator recalls: the first to find what a new trend
//! repeats, the others to answer recall.
//! The embedded store is a window in each of them, which follows the record; a Weaviate server is shared, and what is
//! embedded is in it already.

mod answer;
pub mod config;
mod feed;

use std::sync::Arc;

use fleet::{Fault, Process};
use tokio::sync::watch;
use vectors::{Class, Embedded, Embedder, VectorStore, WindowConfig};

use config::Section;

pub use answer::{RecallError, Recalled, answer};
pub use feed::entry;

/// An embedder and what it embedded, as far as the store reaches.
#[derive(Debug, Clone)]
pub struct Index {
    /// Turns texts into vectors.
    pub embedder: Arc<dyn Embedder>,
    /// Finds the nearest.
    pub store: Arc<dyn VectorStore>,
    caught_up: watch::Receiver<bool>,
}

impl Index {
    /// Loads the embedder, which may take a second, and begins to follow the record, until the process stops; or checks the
    /// Weaviate server.
    ///
    /// # Errors
    /// [`Fault`] of kind usage: the model's folder, the settings of endpoint or server, or the server's class do not fit.
    /// Unavailable: the server is away.
    pub async fn open(process: &Process, section: &Section) -> Result<Self, Fault> {
        let configured = section.clone();
        let loaded = tokio::task::spawn_blocking(move || configured.embedder()).await;
        let embedder = loaded.map_err(|e| Fault::bug(format!("the embedder could not be loaded: {e}")))??;
        tracing::info!(model = embedder.model(), dimensions = embedder.dimensions(), "embedding with");
        if let Some(weaviate) = section.weaviate()? {
            prepare(&weaviate, embedder.dimensions()).await?;
            tracing::info!(?weaviate, "vectors are kept in");
            let (_, caught_up) = watch::channel(true);
            return Ok(Self { embedder, store: Arc::new(weaviate), caught_up });
        }
        let window = &section.window;
        let store: Arc<dyn VectorStore> = Arc::new(Embedded::new(WindowConfig {
            max_age: window.max_age,
            max_count: window.max_count,
            dimensions: embedder.dimensions(),
        }));
        let (feed, caught_up) =
            feed::Feed::new(process.record.clone(), Arc::clone(&store), embedder.model(), window.max_age);
        tokio::spawn(feed.follow(process.shutdown.clone()));
        Ok(Self { embedder, store, caught_up })
    }

    /// Waits until everything that was embedded before has been read once. Cancel-safe.
    pub async fn caught_up(&self) {
        // The feed is gone where the process stops: whoever waits is going, too.
        drop(self.caught_up.clone().wait_for(|done| *done).await);
    }
}

/// Makes or checks the server's class, for vectors of this length.
///
/// # Errors
/// [`Fault`] of kind usage where the class does not fit, unavailable where the server is away.
pub async fn prepare(weaviate: &vectors::Weaviate, dimensions: usize) -> Result<(), Fault> {
    weaviate.prepare(Some(dimensions)).await.map_err(|error| match error.class() {
        Class::Permanent => Fault::usage(format!(
            "embedding.weaviate: {error}; name another embedding.weaviate.class, which is then made as it must be and \
             filled by `tidemill vectors rebuild`"
        )),
        _ => Fault::unavailable(format!("embedding.weaviate: {error}")),
    })
}
