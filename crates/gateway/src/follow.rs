//! `GET /v1/events`: what happens, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream::{self, Stream};
use model::RunId;
use serde::Deserialize;
use streams::{DATASET_EVENTS, Tail, Tailed};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::extract::Query;
use crate::openapi::Always;

/// Entries read at once.
const PAGE: usize = 200;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct What {
    /// Only this type, such as `io.tidemill.run.published`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// Only of this run.
    run: Option<String>,
}

/// Follows the tenant's events from now on, or from after the id in `Last-Event-ID`. Each is a CloudEvent as JSON.
#[utoipa::path(
    get,
    operation_id = "follow_events",
    path = "/v1/events",
    tag = "events",
    params(What, ("last-event-id" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses(
        (
            status = 200,
            description = "Server-sent events, each with a CloudEvent as its data",
            body = String,
            content_type = "text/event-stream",
        ),
        Always,
    ),
)]
pub(crate) async fn follow(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Query(what): Query<What>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    caller.must("read")?;
    if let Some(run) = &what.run {
        run.parse::<RunId>().map_err(|e| Problem::bad_request(format!("run=`{run}`: {e}")))?;
    }
    let place = Arc::clone(&app.followers).try_acquire_owned();
    let place = place.map_err(|_| Problem::unavailable("too many follow already; try again later"))?;
    let streams = &app.process.streams;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).filter(|id| is_entry_id(id));
    let after = match last {
        Some(id) => id.to_owned(),
        None => streams.newest(DATASET_EVENTS).await?,
    };
    let following = Following {
        tail: streams.tail(DATASET_EVENTS, &after).await?,
        tenant: caller.tenant().to_owned(),
        what,
        waiting: Vec::new(),
        shutdown: app.process.shutdown.clone(),
        _place: place,
    };
    let events = stream::unfold(following, |mut following| async {
        following.next().await.map(|event| (Ok(event), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn is_entry_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(ms, seq)| ms.parse::<u64>().is_ok() && seq.parse::<u64>().is_ok())
}

struct Following {
    tail: Tail,
    tenant: String,
    what: What,
    /// The next ones, the first last.
    waiting: Vec<Tailed>,
    shutdown: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Following {
    /// The next event that is asked for; `None` ends the stream, and the client follows anew.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(tailed) = self.waiting.pop() {
                if let Some(event) = self.wanted(&tailed) {
                    return Some(event);
                }
            }
            if self.shutdown.is_cancelled() {
                return None;
            }
            match self.tail.next(PAGE).await {
                Ok(page) => self.waiting = page.into_iter().rev().collect(),
                Err(error) => {
                    tracing::debug!(%error, "a follower is sent away");
                    return None;
                }
            }
        }
    }

    fn wanted(&self, tailed: &Tailed) -> Option<Event> {
        if tailed.tenant != self.tenant {
            return None;
        }
        let event: serde_json::Value = serde_json::from_str(&tailed.event).ok()?;
        let kind = event["type"].as_str()?;
        let asked = self.what.kind.as_deref().is_none_or(|wanted| wanted == kind)
            && self.what.run.as_deref().is_none_or(|run| event["subject"] == run);
        asked.then(|| Event::default().id(&tailed.id).event(kind).data(&tailed.event))
    }
}
