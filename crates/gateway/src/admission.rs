//! What is looked at before any handler: the size of the headers, who asks, and how often.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::rate::Sender;
use crate::serve::Peer;

/// Names and values of a request's headers, in bytes, at most.
const MOST: usize = 16 << 10;

/// Lets a request through to its handler, which finds its caller, or why there is none, among the extensions.
pub(crate) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let size: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if size > MOST {
        return Problem::headers_too_large(MOST).into_response();
    }
    let caller = Caller::of(&app, request.headers()).await;
    let sender = match (&caller, request.extensions().get::<Peer>()) {
        (Ok(caller), _) => Some(Sender::Token(caller.id())),
        (Err(_), peer) => peer.map(|peer| Sender::at(peer.0)),
    };
    if let Some(Err(wait)) = sender.map(|sender| app.rates.take(sender)) {
        app.process.metrics.requests_limited.inc();
        return Problem::too_often(wait).into_response();
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}
