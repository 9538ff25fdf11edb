//! The gateway: events in, decisions in, answers out. Nothing is answered 202 before it is committed to the record.

mod admission;
mod auth;
mod backfills;
mod begin;
mod blame;
mod body;
mod cloud;
pub mod config;
mod connection;
mod course;
mod diagnostics;
mod documents;
mod error;
mod escalations;
mod events;
mod extract;
mod fleet_view;
mod follow;
mod goals;
mod intake;
mod letters;
mod openapi;
mod people;
mod rate;
mod recall;
mod resolve;
mod revoke;
mod run_view;
mod runs;
mod serve;
mod triggers;
mod work;
mod workflows;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use bytes::Bytes;
use fleet::{Declared, Door, Fault, Process, Workflows};
use rails::Policy;
use text::Languages;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};

use auth::Tokens;
use config::Section;
use error::Problem;
use intake::Intake;
use rate::Rates;
use serve::Server;

/// Clients that follow events at once, each with a connection to Redis.
const FOLLOWERS: usize = 200;

/// What every request handler shares.
pub(crate) struct Shared {
    pub(crate) process: Process,
    pub(crate) config: Section,
    pub(crate) policy: Policy,
    pub(crate) languages: Languages,
    pub(crate) tokens: Tokens,
    pub(crate) rates: Rates,
    pub(crate) door: Door,
    pub(crate) workflows: Workflows,
    /// What registrations know of agents.
    pub(crate) declared: Declared,
    pub(crate) intake: Intake,
    /// Made with the first question.
    pub(crate) index: OnceCell<::recall::Index>,
    /// Places for those who follow events.
    pub(crate) followers: Arc<Semaphore>,
    /// What `/openapi.json` shows.
    pub(crate) description: Bytes,
}

pub(crate) type App = Arc<Shared>;

/// Serves HTTP until the process is told to stop; requests under way are finished.
///
/// # Errors
/// [`Fault`] of kind usage for a wrong section or policy, unavailable where the address is busy.
pub async fn run(process: Process) -> Result<(), Fault> {
    let config: Section = process.section("gateway")?;
    let policy = process.settings.shared.policy.read()?;
    let listener = TcpListener::bind(&config.address).await.map_err(|e| {
        Fault::unavailable(format!(
            "the address {} cannot be bound: {e}; set gateway.address (port 0 takes a free one)",
            config.address
        ))
    })?;
    let address = listener.local_addr().map_err(|e| Fault::bug(e.to_string()))?;
    let shutdown = process.shutdown.clone();
    let grace = process.settings.shared.worker.grace;
    let languages = Languages::new(&text::Config::default().languages)
        .map_err(|e| Fault::bug(format!("the usual languages: {e}")))?;
    let (metrics, limits) = (process.metrics.clone(), config.clone());
    let server = Server::new(router(process, config, policy, languages)?, &limits, metrics, shutdown.clone());
    tracing::info!(address = %address, "serving");
    tokio::select! {
        () = server.serve(listener) => Ok(()),
        () = async { shutdown.cancelled().await; tokio::time::sleep(grace).await } => Ok(()),
    }
}

fn router(process: Process, config: Section, policy: Policy, languages: Languages) -> Result<Router, Fault> {
    let (routes, description) = openapi::routed().split_for_parts();
    let description =
        description.to_json().map_err(|e| Fault::bug(format!("the API cannot be described: {e}")))?.into();
    let shared = Arc::new(Shared {
        tokens: Tokens::new(process.record.clone()),
        rates: Rates::new(&config.rate),
        door: Door::new(&process),
        workflows: Workflows::new(process.record.clone()),
        declared: Declared::of(&process),
        intake: Intake::start(process.clone()),
        index: OnceCell::new(),
        followers: Arc::new(Semaphore::new(FOLLOWERS)),
        description,
        policy,
        languages,
        config,
        process,
    });
    Ok(routes
        .fallback(|| async { Problem::not_found("there is no such address; docs/api.md lists them") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admission::admit))
        // Events have their own limits, line by line.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared))
}
