//! `POST /v1/events`: one JSON event, a JSON array, NDJSON streamed with bounded memory, or CloudEvents.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Buf, BytesMut};
use futures::StreamExt;
use model::{NewEvent, RunId};
use record::Admitted;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::cloud;
use crate::error::{Document, Problem};
use crate::extract::whole;
use crate::openapi::{Always, WithBody};

/// Events of one request, at most: its answer has an item for each.
const MOST: usize = 100_000;
/// Events of one request that are under way at once.
const WINDOW: usize = 512;

type Pending = Result<oneshot::Receiver<Result<Admitted, Problem>>, Problem>;

/// An event as it is sent.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Event)]
#[expect(dead_code, reason = "it describes what model::NewEvent reads")]
struct NewEventBody {
    /// Where it came from: 1 to 200 bytes.
    source: String,
    /// The sender's own id: the same source and id again is the same run.
    request_id: Option<String>,
    /// Any JSON but null; of an object `title`, `body`, `url`, `published_at` and `language` are understood.
    payload: serde_json::Value,
}

/// One event, or several.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Events)]
#[expect(dead_code, reason = "it describes what is read item by item")]
enum EventsBody {
    One(NewEventBody),
    Several(Vec<NewEventBody>),
}

/// What became of the events of a request: of one event its run, of several an item for each.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Taken {
    One(Accepted),
    Several(TakenEvents),
}

/// The run of an event.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    run_id: RunId,
    /// Whether the run is new; an event that was known before has its run already.
    created: bool,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct TakenEvents {
    accepted: usize,
    refused: usize,
    /// One for each event, in order.
    items: Vec<TakenItem>,
}

#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum TakenItem {
    Accepted {
        index: usize,
        #[serde(flatten)]
        accepted: Accepted,
    },
    Refused {
        index: usize,
        error: Document,
    },
}

/// Takes events: committed to the record before they are answered 202.
#[utoipa::path(
    post,
    operation_id = "take_events",
    path = "/v1/events",
    tag = "events",
    request_body(
        description = "JSON, NDJSON (an event a line) or CloudEvents 1.0, also in binary mode",
        content(
            (EventsBody = "application/json"),
            (String = "application/x-ndjson"),
            (Object = "application/cloudevents+json"),
            (Vec<Object> = "application/cloudevents-batch+json"),
        ),
    ),
    params(("traceparent" = Option<String>, Header, description = "W3C trace context, which the run's spans follow")),
    responses((status = 202, description = "Committed", body = Taken), WithBody, Always),
)]
pub(crate) async fn accept(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Taken>), Problem> {
    caller.must("ingest")?;
    room(&app)?;
    let mut batch = Batch::new(&app, &caller, &headers);
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if content_type.contains("ndjson") || content_type.contains("jsonl") {
        lines(&mut batch, body).await?;
        return Ok(batch.answer().await);
    }
    let bytes = whole(body, app.config.max_event).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::bad_request("the body is empty"));
    }
    let mode = cloud::mode(&headers);
    if mode == Some(cloud::Mode::One) {
        return one(&mut batch, &cloud::one(&headers, &bytes)?).await;
    }
    if mode.is_none() && bytes.trim_ascii_start().first() != Some(&b'[') {
        return one(&mut batch, &bytes).await;
    }
    let items: Vec<Box<RawValue>> =
        serde_json::from_slice(&bytes).map_err(|e| Problem::bad_request(format!("not a JSON array: {e}")))?;
    if items.is_empty() {
        return Err(Problem::bad_request("the array is empty"));
    }
    for item in items {
        match mode {
            None => batch.push(item.get().as_bytes()).await,
            Some(_) => match cloud::of_batch(item.get()) {
                Ok(event) => batch.push(&event).await,
                Err(problem) => batch.refuse(problem).await,
            },
        }
    }
    Ok(batch.answer().await)
}

/// Refuses where the backlog is over its high-water mark.
fn room(app: &App) -> Result<(), Problem> {
    if app.intake.backlog() > app.config.high_water {
        return Err(Problem::busy(app.config.retry_after));
    }
    Ok(())
}

async fn one(batch: &mut Batch<'_>, bytes: &[u8]) -> Result<(StatusCode, Json<Taken>), Problem> {
    let pending = batch.submit(bytes).await;
    let admitted = batch.settle(pending).await?;
    Ok((StatusCode::ACCEPTED, Json(Taken::One(Accepted { run_id: admitted.run, created: admitted.created }))))
}

/// Reads NDJSON line by line: memory holds one line, the events under way, and an item of the answer for each line.
async fn lines(batch: &mut Batch<'_>, body: Body) -> Result<(), Problem> {
    let limit = usize::try_from(batch.app.config.max_event).unwrap_or(usize::MAX);
    let mut stream = body.into_data_stream();
    let mut rest = BytesMut::new();
    let mut skipping = false;
    while let Some(chunk) = stream.next().await {
        rest.extend_from_slice(&chunk.map_err(|e| Problem::broken_off(&e))?);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = rest.split_to(end);
            rest.advance(1);
            if std::mem::take(&mut skipping) {
                continue;
            }
            if batch.count >= MOST {
                batch.refuse(Problem::too_many(MOST)).await;
                return Ok(());
            }
            if line.len() > limit {
                batch.refuse(Problem::too_large(batch.app.config.max_event)).await;
            } else {
                batch.push_line(&line).await;
            }
        }
        if rest.len() > limit {
            if !skipping {
                batch.refuse(Problem::too_large(batch.app.config.max_event)).await;
                skipping = true;
            }
            rest.clear();
        }
    }
    if !skipping {
        batch.push_line(&rest).await;
    }
    if batch.count == 0 { Err(Problem::bad_request("the body is empty")) } else { Ok(()) }
}

/// The events of one request.
struct Batch<'a> {
    app: &'a App,
    caller: &'a Caller,
    traceparent: Option<String>,
    pending: std::collections::VecDeque<(usize, Pending)>,
    items: Vec<TakenItem>,
    accepted: usize,
    count: usize,
}

impl<'a> Batch<'a> {
    fn new(app: &'a App, caller: &'a Caller, headers: &HeaderMap) -> Self {
        let given = headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .filter(|text| model::is_traceparent(text));
        Self {
            app,
            caller,
            traceparent: given.map(str::to_owned),
            pending: std::collections::VecDeque::new(),
            items: Vec::new(),
            accepted: 0,
            count: 0,
        }
    }

    async fn push_line(&mut self, line: &[u8]) {
        if !line.iter().all(u8::is_ascii_whitespace) {
            self.push(line).await;
        }
    }

    async fn push(&mut self, bytes: &[u8]) {
        let pending = self.submit(bytes).await;
        self.keep(pending).await;
    }

    async fn refuse(&mut self, problem: Problem) {
        self.keep(Err(problem)).await;
    }

    async fn keep(&mut self, pending: Pending) {
        self.pending.push_back((self.count, pending));
        self.count += 1;
        if self.pending.len() >= WINDOW {
            self.settle_first().await;
        }
    }

    async fn settle(&self, pending: Pending) -> Result<Admitted, Problem> {
        let admitted = match pending {
            Ok(answer) => answer.await.map_err(|_| Problem::unavailable("the gateway is stopping"))?,
            Err(problem) => Err(problem),
        };
        if admitted.is_err() {
            self.app.process.metrics.events_refused.inc();
        }
        admitted
    }

    async fn settle_first(&mut self) {
        let Some((index, pending)) = self.pending.pop_front() else { return };
        let settled = self.settle(pending).await;
        self.items.push(match settled {
            Ok(admitted) => {
                self.accepted += 1;
                TakenItem::Accepted {
                    index,
                    accepted: Accepted { run_id: admitted.run, created: admitted.created },
                }
            }
            Err(problem) => TakenItem::Refused { index, error: problem.document() },
        });
    }

    /// Checks an event and hands it to the lane.
    async fn submit(&self, bytes: &[u8]) -> Pending {
        // A long request may fill the backlog by itself.
        room(self.app)?;
        let event = NewEvent::parse(bytes).map_err(|e| Problem::bad_request(e.to_string()))?;
        let arrival = self.app.door.draw_up(event, self.caller.tenant(), self.traceparent.as_deref()).await?;
        self.app.intake.submit(arrival).await
    }

    async fn answer(mut self) -> (StatusCode, Json<Taken>) {
        while !self.pending.is_empty() {
            self.settle_first().await;
        }
        let refused = self.items.len() - self.accepted;
        let taken = TakenEvents { accepted: self.accepted, refused, items: self.items };
        (StatusCode::ACCEPTED, Json(Taken::Several(taken)))
    }
}
