//! What is looked at before any handler: the size of the headers, who asks, and how often.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::rate::Sender;
use crate::serve::Peer;

/// How long an answer may take, the longest wait for a run's end among it: a record that is frozen never answers.
const LONGEST: Duration = Duration::from_secs(90);
/// Names and values of a request's headers, in bytes, at most.
const MOST: usize = 16 << 10;

/// Lets a request through to its handler, which finds its caller, or why there is none, among the extensions.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let size: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MOST {
        return Problem::headers_too_large(MOST).into_response();
    }
    let Ok(caller) = tokio::time::timeout(LONGEST, Caller::of(&app, request.headers())).await else {
        return silent();
    };
    let sender = match (&caller, request.extensions().get::<Peer>()) {
        (Ok(caller), _) => Some(Sender::Token(caller.id())),
        (Err(_), peer) => peer.map(|peer| Sender::at(peer.0)),
    };
    if let Some(Err(wait)) = sender.map(|sender| app.rates.take(sender)) {
        app.process.metrics.requests_limited.inc();
        return Problem::too_often(wait).into_response();
    }
    request.extensions_mut().insert(caller);
    // Events come and go for as long as their sender, or follower, likes; the handlers have limits of their own.
    if request.uri().path() == "/v1/events" {
        return next.run(request).await;
    }
    tokio::time::timeout(LONGEST, next.run(request)).await.unwrap_or_else(|_| silent())
}

fn silent() -> Response {
    Problem::unavailable(format!("no answer from the record within {LONGEST:?}: again later")).into_response()
}
