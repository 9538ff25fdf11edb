//! The ETL worker: from an event's payload to a trend and a content draft.

pub mod config;
mod error;
mod handler;

use fleet::{Fault, Process};

/// Serves the ETL stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong `etl` section, unavailable where Redis is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("etl")?;
    let handler = handler::Etl::new(&config)?;
    fleet::serve(process, handler).await
}
