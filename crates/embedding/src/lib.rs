//! The embedding worker: a vector for each trend, stored under the trend's own id, and the nearest earlier trends.

mod batcher;
mod handler;

use fleet::{Fault, Process};
use recall::Index;
use recall::config::Section;

/// Serves the embedding stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section, model folder or Weaviate class, unavailable where Redis or the Weaviate
/// server is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: Section = process.section("embedding")?;
    let index = Index::open(&process, &config).await?;
    let handler = handler::Embedding::new(index.embedder, index.store, &config);
    fleet::serve(process, handler).await
}
