//! The planner: what is wanted of each source, and the clock work that keeps every run moving.
//!
//! Several planners may run. Registration is idempotent, resumption goes through a consumer group, and the clock work
//! is done by whoever holds the lease in PostgreSQL.

mod clock;
pub mod config;
mod error;
mod expiry;
mod intents;
mod migrate;
pub mod notify;
mod reconcile;
mod relay;
mod resume;
mod sources;
mod standstill;
mod triggers;

use fleet::{Fault, Process};
use tokio::task::JoinSet;

/// Looks at sources, triggers and targets of notifications as a planner does when it starts; nothing is polled or sent.
///
/// # Errors
/// [`Fault`] of kind usage, naming what is wrong.
pub fn check(planner: &config::Section, notifications: &notify::Section) -> Result<(), Fault> {
    sources::check(&planner.sources)?;
    triggers::check(planner)?;
    notify::check(notifications)?;
    Ok(())
}

/// Plans until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section or workflow, unavailable where a server is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("planner")?;
    let notifications: notify::Section = process.section("notifications")?;
    let polled = sources::check(&config.sources)?;
    let checked = triggers::check(&config)?;
    let receivers = notify::check(&notifications)?;
    intents::register(&process.record, &config, &fleet::Declared::of(&process)).await?;
    notify::register(&process.record, &receivers).await?;
    triggers::register(&process, checked).await?;
    let fleet_id = process.record.fleet_id().await?.to_string();
    let relay = config.relay.clone();
    let mut tasks = JoinSet::new();
    tasks.spawn(sources::run(process.clone(), polled));
    tasks.spawn(relay::run(process.clone(), relay.enabled, fleet_id.clone()));
    tasks.spawn(triggers::run(process.clone(), fleet_id, relay.length));
    tasks.spawn(notify::run(process.clone(), notifications, receivers));
    tasks.spawn(resume::run(process.clone()));
    tasks.spawn(migrate::run(process.clone()));
    tasks.spawn(expiry::run(process.clone()));
    tasks.spawn(reconcile::run(process, config));
    while let Some(ended) = tasks.join_next().await {
        // One that lacks a part of its work is better replaced.
        ended.map_err(|e| Fault::bug(format!("the planner's work broke off: {e}")))?;
    }
    Ok(())
}
