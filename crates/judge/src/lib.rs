//! The judge: reports policy violations and the measures that the workflow's conditions weigh.

pub mod config;
mod error;
mod handler;

use fleet::{Fault, Process};

/// Serves the judge's stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section or policy, unavailable where Redis is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let _section: config::Section = process.section("judge")?;
    let policy = process.settings.shared.policy.read()?;
    fleet::serve(process, handler::Judge::new(policy)).await
}
