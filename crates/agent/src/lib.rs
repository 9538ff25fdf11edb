//! The agent: performs steps by role. A role has a prompt, a schema and a provider; what it proposes, the rails decide.

mod assignment;
mod brains;
mod calling;
pub mod config;
mod effect;
mod error;
pub mod handler;
mod orchestrator;
mod output;
mod outside;
mod prompt;
mod role;
pub mod tools;

use fleet::{Fault, Process, WorkOrders};

/// Looks at providers and roles as the agent does when it starts; nobody is asked, and nothing is started.
///
/// # Errors
/// [`Fault`] of kind usage, naming the provider or role.
pub fn check(config: &config::Section) -> Result<(), Fault> {
    config.check_tenants()?;
    role::open(config).map(drop)
}

/// Serves the agents' stream until the process is told to stop.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section, unavailable where Redis is away at start.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: config::Section = process.section("agent")?;
    if config.providers.is_empty() {
        tracing::warn!("no provider is configured: every job of the agent will fail, see `agent.providers`");
    }
    let tools: tools::config::Section = process.section("tools")?;
    let toolbox = tools::Toolbox::new(&tools, config.breaker)?.recalling(&process);
    let orders = WorkOrders::new(process.record.clone());
    let registrar = fleet::Registrar::new(process.clone());
    let agent = handler::Agent::new(&config, process.metrics.clone())?
        .keeping(orders, process.breakers.clone())
        .with_registrar(registrar)
        .with_tools(toolbox);
    fleet::serve(process, agent).await
}
