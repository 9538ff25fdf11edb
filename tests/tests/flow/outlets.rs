//! Outlets over the network that misbehave: no second post, and nobody else is held up.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};

/// How long a post may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers with this status.
    Answers(u16),
    /// Reads the request and cuts the connection.
    Cuts,
    /// Reads the request and never answers.
    Sleeps,
    /// Answers 200 when nobody waits any more.
    IsLate,
    /// Answers 200, and again 200.
    AnswersTwice,
}

/// A receiver of webhooks that misbehaves on demand, then answers 200.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    async fn start(script: &[Does], then: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(VecDeque::from(script.to_vec())));
        let known = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let does = script.lock().unwrap().pop_front().unwrap_or(then);
                tokio::spawn(receive(stream, does, Arc::clone(&known)));
            }
        });
        Self { url, seen }
    }

    /// The ids of the posts it was sent, in order.
    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

async fn receive(mut stream: TcpStream, does: Does, seen: Arc<Mutex<Vec<String>>>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let text = loop {
        let Ok(read @ 1..) = stream.read(&mut chunk).await else { return };
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let header = |name: &str| {
            let found =
                text.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")).map(str::to_owned));
            found.unwrap_or_default()
        };
        let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
        if body > 0 && body >= header("content-length").parse().unwrap_or(usize::MAX) {
            break header("webhook-id");
        }
    };
    seen.lock().unwrap().push(text);
    match does {
        Does::Answers(status) => {
            let answer = format!("HTTP/1.1 {status} OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
        Does::IsLate => {
            tokio::time::sleep(TIMEOUT + Duration::from_millis(500)).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok();
        }
        Does::AnswersTwice => {
            let twice = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(2);
            stream.write_all(twice.as_bytes()).await.ok();
        }
        Does::Cuts => {}
        Does::Sleeps => tokio::time::sleep(Duration::from_secs(3600)).await,
    }
}

/// A fleet whose posts go to a webhook.
async fn fleet(receiver: &Receiver, deduplicates: bool) -> (Fleet, Desk) {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    let hook = json!({ "hook": { "timeout": format!("{TIMEOUT:?}"), "webhook": { "url": receiver.url, "deduplicates": deduplicates } } });
    let set = [
        format!("publisher.outlets={hook}"),
        "publisher.outlet=hook".to_owned(),
        "publisher.breaker.pause=200ms".to_owned(),
        "publisher.breaker.longest_pause=1s".to_owned(),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &set, &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    (fleet, desk)
}

async fn send(desk: &Desk, number: usize) {
    let (request_id, payload) = event(number);
    let body = json!({ "source": "s", "request_id": request_id, "payload": payload });
    assert_eq!(desk.post("/v1/events", body).await.0, StatusCode::ACCEPTED);
}

async fn ledger(desk: &Desk) -> Value {
    desk.get("/v1/publications").await.1["publications"].clone()
}

#[tokio::test]
async fn a_post_whose_answer_was_cut_off_is_unknown_and_goes_out_again_only_on_a_persons_word() {
    for does in [Does::Cuts, Does::Answers(500), Does::Sleeps, Does::IsLate] {
        let receiver = Receiver::start(&[does], Does::Answers(200)).await;
        let (fleet, desk) = fleet(&receiver, false).await;
        send(&desk, 1).await;
        let runs = fleet.settled(1).await;
        assert_eq!((runs[0].state.as_str(), receiver.seen().len()), ("waiting", 1), "{runs:?}");
        let rows = ledger(&desk).await;
        assert_eq!(rows[0]["state"], "unknown", "{rows}");
        let settle = format!("/v1/publications/{}/settle", rows[0]["publication_id"].as_str().unwrap());
        assert_eq!(desk.post(&settle, json!({ "answer": "resend" })).await.0, StatusCode::OK);
        let runs = fleet.settled(1).await;
        assert_eq!((runs[0].state.as_str(), receiver.seen().len()), ("published", 2), "{runs:?}");
        assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
    }
}

#[tokio::test]
async fn an_answer_that_comes_twice_is_one_answer() {
    let receiver = Receiver::start(&[], Does::AnswersTwice).await;
    let (fleet, desk) = fleet(&receiver, false).await;
    for number in 0..3 {
        send(&desk, number).await;
    }
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    let mut seen = receiver.seen();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!((seen.len(), receiver.seen().len()), (3, 3));
}

#[tokio::test]
async fn a_receiver_that_deduplicates_is_sent_the_same_id_again() {
    let receiver = Receiver::start(&[Does::Cuts, Does::Answers(503), Does::Sleeps], Does::Answers(200)).await;
    let (fleet, desk) = fleet(&receiver, true).await;
    send(&desk, 1).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|id| *id == seen[0] && id.len() == 64), "{seen:?}");
    let rows = ledger(&desk).await;
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["state"]), (1, &json!("confirmed")), "{rows}");
}

#[tokio::test]
async fn a_refusal_is_final_and_a_busy_receiver_is_waited_for() {
    let receiver = Receiver::start(&[Does::Answers(429), Does::Answers(429)], Does::Answers(200)).await;
    let (busy, desk) = fleet(&receiver, false).await;
    send(&desk, 1).await;
    assert_eq!(busy.settled(1).await[0].state, "published");
    let receiver = Receiver::start(&[], Does::Answers(422)).await;
    let (refused, desk) = fleet(&receiver, false).await;
    send(&desk, 1).await;
    let runs = refused.settled(1).await;
    assert_eq!((runs[0].state.as_str(), receiver.seen().len()), ("dead", 1), "a letter says why: {runs:?}");
    assert_eq!(ledger(&desk).await[0]["state"], "rejected");
}

/// Two workflows: one publishes to a receiver that is out, the other to files.
#[tokio::test]
async fn an_outlet_that_is_out_holds_up_nobody_and_loses_nothing() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let mut fleet = Fleet::quiet().await;
    let document = include_str!("../../../crates/rails/workflows/trend.yaml")
        .replace("name: trend", "name: away")
        .replace("side_effect: true", "side_effect: true\n    with: { outlet: hook }");
    let file = fleet.servers.folder().join("away.yaml");
    std::fs::write(&file, document).unwrap();
    let workflows = format!("planner.workflows=[\"{}\"]", file.display());
    let intents = concat!(
        r#"planner.intents=[{"source":"away","purpose":"p","workflow":"away"},"#,
        r#"{"source":"*","purpose":"p","workflow":"trend"}]"#
    );
    fleet.start_with("planner", &[&workflows, intents], &[]).await;
    for name in ["gateway", "etl", "embedding", "judge"] {
        fleet.start(name).await;
    }
    let hook = json!({ "hook": { "timeout": "1s", "webhook": { "url": format!("http://{address}/hook") } } });
    let outlets = format!("publisher.outlets={hook}");
    let set = [&outlets, "publisher.breaker.pause=200ms", "publisher.breaker.longest_pause=1s"];
    fleet.start_with("publisher", &set, &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    for (number, (request_id, payload)) in events(60).into_iter().enumerate() {
        let source = if number % 2 == 0 { "away" } else { "here" };
        desk.post("/v1/events", json!({ "source": source, "request_id": request_id, "payload": payload }))
            .await;
    }
    eventually("those for files are published", async || {
        let runs = fleet.runs().await;
        runs.iter().filter(|run| run.source == "here").all(|run| run.state != "running") && runs.len() == 60
    })
    .await;
    let waiting: Vec<_> = fleet.runs().await.into_iter().filter(|run| run.source == "away").collect();
    assert!(waiting.iter().any(|run| run.state == "running" && run.step == "publish"), "{waiting:?}");
    assert!(waiting.iter().all(|run| run.state != "dead"), "an outage kills nothing: {waiting:?}");
    // The receiver comes back at its address.
    let listener = TcpListener::bind(address).await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(receive(stream, Does::Answers(200), Arc::clone(&known)));
        }
    });
    let runs = fleet.settled(60).await;
    let published = runs.iter().filter(|run| run.source == "away" && run.state == "published").count();
    let mut ids = seen.lock().unwrap().clone();
    assert_eq!(ids.len(), published, "each once");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), published);
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
}
