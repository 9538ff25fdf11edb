//! The gateway: events in, decisions in, answers out. Nothing is answered 202 before it is committed to the record.

mod auth;
mod cloud;
pub mod config;
mod error;
mod escalations;
mod events;
mod extract;
mod fleet_view;
mod follow;
mod intake;
mod letters;
mod people;
mod recall;
mod resolve;
mod revoke;
mod runs;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fleet::{Door, Fault, Process, Workflows};
use rails::Policy;
use text::Languages;
use tokio::net::TcpListener;
use tokio::sync::{OnceCell, Semaphore};

use auth::Tokens;
use config::Section;
use error::Problem;
use intake::Intake;

/// Clients that follow events at once, each with a connection to Redis.
const FOLLOWERS: usize = 200;

/// What every request handler shares.
pub(crate) struct Shared {
    pub(crate) process: Process,
    pub(crate) config: Section,
    pub(crate) policy: Policy,
    pub(crate) languages: Languages,
    pub(crate) tokens: Tokens,
    pub(crate) door: Door,
    pub(crate) workflows: Workflows,
    pub(crate) intake: Intake,
    /// Made with the first question.
    pub(crate) index: OnceCell<::recall::Index>,
    /// Places for those who follow events.
    pub(crate) followers: Arc<Semaphore>,
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
    let app = router(process, config, policy, languages);
    tracing::info!(address = %address, "serving");
    let served = axum::serve(listener, app).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        served = served => served.map_err(|e| Fault::bug(format!("serving ended: {e}"))),
        () = async { shutdown.cancelled().await; tokio::time::sleep(grace).await } => Ok(()),
    }
}

fn router(process: Process, config: Section, policy: Policy, languages: Languages) -> Router {
    let shared = Arc::new(Shared {
        tokens: Tokens::new(process.record.clone()),
        door: Door::new(&process),
        workflows: Workflows::new(process.record.clone()),
        intake: Intake::start(process.clone()),
        index: OnceCell::new(),
        followers: Arc::new(Semaphore::new(FOLLOWERS)),
        policy,
        languages,
        config,
        process,
    });
    Router::new()
        .route("/v1/events", post(events::accept).get(follow::follow))
        .route("/v1/runs", get(runs::list))
        .route("/v1/runs/{id}", get(runs::show))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/runs/{id}/retry", post(runs::retry))
        .route("/v1/escalations", get(escalations::list))
        .route("/v1/escalations/{id}", get(escalations::show))
        .route("/v1/escalations/{id}/resolve", post(resolve::resolve))
        .route("/escalations/{id}/resolve", post(resolve::resolve))
        .route("/v1/publications", get(people::publications))
        .route("/v1/publications/{id}/settle", post(people::settle))
        .route("/v1/publications/{id}/revoke", post(revoke::revoke))
        .route("/v1/publications/{id}/feedback", post(people::feedback))
        .route("/v1/incidents", get(people::incidents))
        .route("/v1/dead-letters", get(letters::list))
        .route("/v1/dead-letters/replay", post(letters::replay))
        .route("/v1/recall", get(recall::recall))
        .route("/v1/fleet", get(fleet_view::show))
        .fallback(|| async { Problem::not_found("there is no such address; docs/api.md lists them") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        // Events have their own limits, line by line.
        .layer(DefaultBodyLimit::disable())
        .with_state(shared)
}
