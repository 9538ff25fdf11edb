//! A stand-in for a chat endpoint: speaks OpenAI's and Anthropic's protocol, streams, errs and stalls as a test wants it, and
//! keeps what it was asked.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use futures::stream::{self, BoxStream, StreamExt};
use serde_json::{Value, json};

/// Tokens that it counts for every prompt.
const TOKENS_IN: u64 = 100;
/// Tokens that it counts for every answer.
const TOKENS_OUT: u64 = 20;
/// Bytes of an answer that one event carries.
const PIECE: usize = 7;

/// How one request is answered.
#[derive(Debug, Clone)]
pub enum Turn {
    /// With this text, whatever it is: also half a JSON, or one that fits no schema.
    Says(String),
    /// With 429, and how many seconds to wait.
    TooMany(Option<u64>),
    /// With this status and body.
    Fails(u16, String),
    /// With the beginning of this text; then the connection is cut.
    BreaksOff(String),
    /// With the beginning of this text; then nothing more.
    Stalls(String),
    /// Not at all.
    Silent,
    /// Without an end.
    Floods,
}

/// One request, as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    /// Its path.
    pub path: String,
    /// Its headers.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: Value,
}

impl Asked {
    /// The last message's text.
    #[must_use]
    pub fn prompt(&self) -> String {
        let messages = self.body["messages"].as_array().cloned().unwrap_or_default();
        messages.last().and_then(|message| message["content"].as_str().map(str::to_owned)).unwrap_or_default()
    }
}

type Turns = dyn Fn(usize, &Asked) -> Turn + Send + Sync;

struct Shared {
    turns: Box<Turns>,
    asked: Mutex<Vec<Asked>>,
}

/// The stand-in; it ends with the test.
pub struct ChatStandIn {
    address: std::net::SocketAddr,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for ChatStandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatStandIn").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Drop for ChatStandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl ChatStandIn {
    /// Starts it; `turns` says how the request of this number, from 0 on, is answered.
    pub async fn start(turns: impl Fn(usize, &Asked) -> Turn + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared { turns: Box::new(turns), asked: Mutex::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { address, shared, server }
    }

    /// One that says the same text to everybody.
    pub async fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::start(move |_, _| Turn::Says(text.clone())).await
    }

    /// Its address, without a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it was asked so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let asked = Asked {
        path: uri.path().to_owned(),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
    };
    let number = {
        let mut all = shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(asked.clone());
        all.len() - 1
    };
    let turn = (shared.turns)(number, &asked);
    let voice = Voice::of(&asked);
    match turn {
        Turn::Says(text) => voice.whole(&text),
        Turn::TooMany(seconds) => {
            let response = Response::builder().status(429);
            let response = match seconds {
                Some(seconds) => response.header("retry-after", seconds.to_string()),
                None => response,
            };
            response.body(Body::from(r#"{"error":{"message":"too many"}}"#)).expect("a response")
        }
        Turn::Fails(status, body) => {
            Response::builder().status(status).body(Body::from(body)).expect("a response")
        }
        Turn::BreaksOff(text) => {
            let cut = Err(io::Error::other("cut"));
            voice.stream(stream::iter(voice.beginning(&text).into_iter().map(Ok).chain([cut])).boxed())
        }
        Turn::Stalls(text) => {
            let begun = stream::iter(voice.beginning(&text).into_iter().map(Ok));
            voice.stream(begun.chain(stream::pending()).boxed())
        }
        Turn::Silent => std::future::pending().await,
        Turn::Floods => {
            let piece = voice.piece(&"flood ".repeat(2000));
            voice.stream(stream::repeat_with(move || Ok(piece.clone())).boxed())
        }
    }
}

/// Which protocol a request speaks, and how.
#[derive(Debug, Clone, Copy)]
struct Voice {
    anthropic: bool,
    streams: bool,
    by_tool: bool,
}

impl Voice {
    fn of(asked: &Asked) -> Self {
        Self {
            anthropic: asked.path.ends_with("/messages"),
            streams: asked.body["stream"] == json!(true),
            by_tool: asked.body["tools"].is_array(),
        }
    }

    fn event(self, kind: &str, data: &Value) -> String {
        match self.anthropic {
            true => format!("event: {kind}\ndata: {data}\n\n"),
            false => format!("data: {data}\n\n"),
        }
    }

    fn piece(self, text: &str) -> String {
        let data = match (self.anthropic, self.by_tool) {
            (true, true) => {
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "input_json_delta", "partial_json": text } })
            }
            (true, false) => {
                json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": text } })
            }
            (false, _) => {
                chunk(&json!([{ "index": 0, "delta": { "content": text }, "finish_reason": null }]))
            }
        };
        self.event("content_block_delta", &data)
    }

    fn start(self) -> String {
        let data = match self.anthropic {
            true => json!({ "type": "message_start", "message": {
                "id": "msg_1", "type": "message", "role": "assistant", "model": "stand-in-1", "content": [],
                "usage": { "input_tokens": TOKENS_IN, "output_tokens": 1 },
            } }),
            false => chunk(
                &json!([{ "index": 0, "delta": { "role": "assistant", "content": "" }, "finish_reason": null }]),
            ),
        };
        self.event("message_start", &data)
    }

    fn pieces(self, text: &str) -> Vec<String> {
        let characters: Vec<char> = text.chars().collect();
        characters.chunks(PIECE).map(|piece| self.piece(&piece.iter().collect::<String>())).collect()
    }

    fn beginning(self, text: &str) -> Vec<String> {
        let mut events = vec![self.start()];
        let pieces = self.pieces(text);
        events.extend(pieces.iter().take(pieces.len().div_ceil(2)).cloned());
        events
    }

    fn end(self) -> Vec<String> {
        if self.anthropic {
            let reason = if self.by_tool { "tool_use" } else { "end_turn" };
            let delta = json!({ "type": "message_delta", "delta": { "stop_reason": reason }, "usage": { "output_tokens": TOKENS_OUT } });
            return vec![
                self.event("message_delta", &delta),
                self.event("message_stop", &json!({ "type": "message_stop" })),
            ];
        }
        let mut usage = chunk(&json!([]));
        usage["usage"] = counted();
        vec![
            self.event("", &chunk(&json!([{ "index": 0, "delta": {}, "finish_reason": "stop" }]))),
            self.event("", &usage),
            "data: [DONE]\n\n".to_owned(),
        ]
    }

    fn whole(self, text: &str) -> Response {
        if self.streams {
            let mut events = vec![self.start()];
            events.extend(self.pieces(text));
            events.extend(self.end());
            return self.stream(stream::iter(events.into_iter().map(Ok)).boxed());
        }
        let body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "stand-in-1", "usage": counted(),
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
        });
        Response::builder()
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .expect("a response")
    }

    fn stream(self, events: BoxStream<'static, io::Result<String>>) -> Response {
        // A server writes what it has when nothing more is there: so each event is on its way before the next one, or a cut.
        let one_by_one = events.then(async |event| {
            tokio::task::yield_now().await;
            event
        });
        let response = Response::builder().header("content-type", "text/event-stream");
        response.body(Body::from_stream(one_by_one)).expect("a response")
    }
}

fn counted() -> Value {
    json!({ "prompt_tokens": TOKENS_IN, "completion_tokens": TOKENS_OUT, "total_tokens": TOKENS_IN + TOKENS_OUT })
}

fn chunk(choices: &Value) -> Value {
    json!({ "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "stand-in-1", "choices": choices })
}
