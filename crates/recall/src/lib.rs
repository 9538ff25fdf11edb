//! The index of what was embedded: which embedder, which window, and how it keeps up with the record.
//!
//! The embedder and the gateway each hold one: the first to find what a new trend repeats, the second to answer recall.

pub mod config;
mod feed;

use std::sync::Arc;

use fleet::{Fault, Process};
use tokio::sync::watch;
use vectors::{Embedded, Embedder, VectorStore, WindowConfig};

use config::Section;

/// An embedder and what it embedded, as far as the window reaches.
#[derive(Debug, Clone)]
pub struct Index {
    /// Turns texts into vectors.
    pub embedder: Arc<dyn Embedder>,
    /// Finds the nearest.
    pub store: Arc<dyn VectorStore>,
    caught_up: watch::Receiver<bool>,
}

impl Index {
    /// Loads the embedder, which may take a second, and begins to follow the record, until the process stops.
    ///
    /// # Errors
    /// [`Fault`] of kind usage: the model's folder or the endpoint's settings are wrong.
    pub fn open(process: &Process, section: &Section) -> Result<Self, Fault> {
        let embedder = section.embedder()?;
        let window = &section.window;
        let store: Arc<dyn VectorStore> = Arc::new(Embedded::new(WindowConfig {
            max_age: window.max_age,
            max_count: window.max_count,
            dimensions: embedder.dimensions(),
        }));
        tracing::info!(model = embedder.model(), dimensions = embedder.dimensions(), "embedding with");
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
