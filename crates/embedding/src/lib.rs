//! The embedding worker: a vector for each trend, stored under the trend's own id, and the nearest earlier trends.

mod batcher;
pub mod config;
mod error;
mod feed;
mod handler;

use std::sync::Arc;

use fleet::{Fault, Process};
use vectors::{Embedded, VectorStore, WindowConfig};

/// Serves the embedding stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section or model folder, unavailable where Redis is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("embedding")?;
    let embedder = config.embedder()?;
    let window = &config.window;
    let store: Arc<dyn VectorStore> = Arc::new(Embedded::new(WindowConfig {
        max_age: window.max_age,
        max_count: window.max_count,
        dimensions: embedder.dimensions(),
    }));
    tracing::info!(model = embedder.model(), dimensions = embedder.dimensions(), "embedding with");
    let feed = feed::Feed::new(process.record.clone(), Arc::clone(&store), embedder.model(), window.max_age);
    let following = tokio::spawn(feed.follow(process.shutdown.clone()));
    let handler = handler::Embedding::new(embedder, store, &config);
    let served = fleet::serve(process, handler).await;
    following.abort();
    served
}
