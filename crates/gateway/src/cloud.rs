//! CloudEvents at the door: structured, binary and batch (CloudEvents 1.0, HTTP protocol binding).
//!
//! `source` and `id` become the event's source and request id, so that the same CloudEvent again is the same run. `data`
//! becomes the payload, with everything else that the CloudEvent says of itself under `cloudevent`.

use axum::http::{HeaderMap, header};
use cloudevents::binding::http::to_event;
use cloudevents::{AttributesReader, Data, Event};
use serde_json::{Map, Value, json};

use crate::error::Problem;

/// How CloudEvents come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One, in the body or with its attributes in headers.
    One,
    /// An array of them.
    Batch,
}

/// Whether a request brings CloudEvents, and how.
pub(crate) fn mode(headers: &HeaderMap) -> Option<Mode> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if content_type.starts_with("application/cloudevents-batch") {
        Some(Mode::Batch)
    } else if content_type.starts_with("application/cloudevents") || headers.contains_key("ce-specversion") {
        Some(Mode::One)
    } else {
        None
    }
}

/// The one CloudEvent of a request, as an event of `POST /v1/events`.
pub(crate) fn one(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Problem> {
    let event = to_event(headers, body.to_vec()).map_err(|e| wrong(&e))?;
    wire(&event)
}

/// One CloudEvent of a batch.
pub(crate) fn of_batch(json: &str) -> Result<Vec<u8>, Problem> {
    let event: Event = serde_json::from_str(json).map_err(|e| wrong(&e))?;
    wire(&event)
}

fn wrong(why: &dyn std::fmt::Display) -> Problem {
    Problem::bad_request(format!("not a CloudEvent 1.0: {why}"))
}

fn wire(event: &Event) -> Result<Vec<u8>, Problem> {
    let mut about: Map<String, Value> = Map::new();
    for (name, value) in event.iter() {
        about.insert(name.to_owned(), Value::from(value.to_string()));
    }
    let mut payload = match data(event)? {
        Value::Object(fields) => fields,
        Value::String(text) => Map::from_iter([("body".to_owned(), Value::from(text))]),
        other => Map::from_iter([("data".to_owned(), other)]),
    };
    if payload.contains_key("cloudevent") {
        return Err(wrong(&"its data has a field `cloudevent`, which is the envelope's place"));
    }
    payload.insert("cloudevent".to_owned(), Value::Object(about));
    let source = event.source().to_string();
    Ok(json!({ "source": source, "request_id": event.id(), "payload": payload }).to_string().into_bytes())
}

/// The data as JSON; text that is called JSON is read as that.
fn data(event: &Event) -> Result<Value, Problem> {
    let text = match event.data() {
        None => return Err(wrong(&"it has no data")),
        Some(Data::Json(value)) => return Ok(value.clone()),
        Some(Data::String(text)) => text.as_str(),
        Some(Data::Binary(bytes)) => {
            std::str::from_utf8(bytes).map_err(|_| wrong(&"its data is neither JSON nor text"))?
        }
    };
    if event.datacontenttype().is_some_and(|kind| kind.contains("json")) && text.starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|e| wrong(&format_args!("its data is no JSON: {e}")));
    }
    Ok(Value::from(text))
}
