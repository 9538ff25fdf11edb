//! The admin port: `/healthz`, `/readyz`, `/metrics`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Fault, Process};

/// Binds the admin address and serves it until the process stops.
///
/// # Errors
/// [`Fault`] where the address is wrong (usage) or busy (unavailable).
pub(crate) async fn serve(
    process: &Process,
    stopped: CancellationToken,
) -> Result<std::net::SocketAddr, Fault> {
    let address = &process.settings.shared.admin.address;
    let listener = TcpListener::bind(address).await.map_err(|e| {
        Fault::unavailable(format!(
            "the admin address {address} cannot be bound: {e}; set admin.address or pass --admin (port 0 takes a free one)"
        ))
    })?;
    let bound = listener.local_addr().map_err(|e| Fault::bug(e.to_string()))?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(process.clone());
    tokio::spawn(async move {
        let served = axum::serve(listener, router).with_graceful_shutdown(stopped.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the admin port stopped");
        }
    });
    Ok(bound)
}

async fn ready(State(process): State<Process>) -> (StatusCode, String) {
    if process.shutdown.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
    }
    if let Err(error) = process.record.ping().await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
    }
    if let Err(error) = process.streams.ping().await {
        return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"));
    }
    (StatusCode::OK, "ready\n".to_owned())
}

async fn metrics(State(process): State<Process>) -> impl IntoResponse {
    match process.metrics.render() {
        Ok(text) => (
            StatusCode::OK,
            [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")],
            text,
        ),
        Err(error) => {
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], error.to_string())
        }
    }
}
