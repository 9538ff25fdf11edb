//! The publisher: plans the sending of approved content; the runtime claims it in the ledger, then has it performed.

pub mod config;
mod error;
mod gate;
mod handler;
mod outlet;

use fleet::{Fault, Process};

/// Looks at the outlets as a publisher does when it starts; nothing is sent, and no folder is made.
///
/// # Errors
/// [`Fault`] of kind usage, naming the outlet.
pub fn check(config: &config::Section) -> Result<(), Fault> {
    outlet::check(config)
}

/// Serves the publisher's stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section, unavailable where Redis is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("publisher")?;
    let publisher = handler::Publisher::new(&config, &process.breakers)?;
    fleet::serve(process, publisher).await
}
