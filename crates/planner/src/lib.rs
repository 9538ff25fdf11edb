//! The planner: what is wanted of each source, and the clock work that keeps every run moving.
//!
//! Several planners may run. Registration is idempotent, resumption goes through a consumer group, and the clock work
//! is done by whoever holds the lease in PostgreSQL.

mod clock;
pub mod config;
mod error;
mod intents;
pub mod notify;
mod reconcile;
mod relay;
mod resume;
mod sources;
mod triggers;

use fleet::{Fault, Process};

/// Plans until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section or workflow, unavailable where a server is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("planner")?;
    let polled = sources::check(&config.sources)?;
    let notifications: notify::Section = process.section("notifications")?;
    let receivers = notify::check(&notifications)?;
    intents::register(&process.record, &config).await?;
    let triggers = triggers::register(&process, &config).await?;
    let fleet_id = process.record.fleet_id().await?.to_string();
    let relay = config.relay.clone();
    let tasks = [
        tokio::spawn(sources::run(process.clone(), polled)),
        tokio::spawn(relay::run(process.clone(), relay.enabled, triggers.reactive(), fleet_id.clone())),
        tokio::spawn(triggers::run(process.clone(), triggers, fleet_id, relay.length)),
        tokio::spawn(notify::run(process.clone(), notifications, receivers)),
        tokio::spawn(resume::run(process.clone())),
        tokio::spawn(reconcile::run(process.clone(), config)),
    ];
    process.shutdown.cancelled().await;
    for task in tasks {
        task.await.map_err(|e| Fault::bug(format!("the planner's work broke off: {e}")))?;
    }
    Ok(())
}
