//! What the gateway takes, and what it refuses.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::fleet::{Fleet, event};

/// A client with a token.
pub(crate) struct Desk {
    http: reqwest::Client,
    url: String,
    pub(crate) token: String,
}

impl Desk {
    pub(crate) async fn of(fleet: &Fleet, tenant: &str, roles: &[&str]) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let token = format!("tm_{}", uuid::Uuid::now_v7());
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        fleet.record.add_token(tenant, &format!("{tenant} desk"), &roles, &token).await.unwrap();
        // Tests kill gateways: a connection that is kept would be to one that is dead.
        let http = reqwest::Client::builder().timeout(ANSWER).pool_max_idle_per_host(0).build().unwrap();
        Self { http, url: fleet.gateway().await, token }
    }

    /// What the command line needs to know of the gateway.
    pub(crate) fn flags(&self) -> [&str; 4] {
        ["--url", &self.url, "--token", &self.token]
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> (StatusCode, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request
            .header("content-type", kind)
            .body(body)
            .send()
            .await
            .expect("an answer, whatever was sent");
        let status = response.status();
        if !status.is_success() {
            assert_eq!(response.headers()["content-type"], "application/problem+json", "{path}");
        }
        (status, response.json().await.unwrap_or_default())
    }

    /// Asks for what is no JSON: its type and its text.
    pub(crate) async fn text(&self, method: &str, path: &str, body: &str) -> (String, String) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        let response = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        (kind, response.text().await.unwrap())
    }

    /// Posts an event with these headers.
    pub(crate) async fn send_with(
        &self,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> (StatusCode, Value) {
        let mut request =
            self.http.post(format!("{}/v1/events", self.url)).bearer_auth(&self.token).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        (response.status(), response.json().await.unwrap_or_default())
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send("POST", path, "application/json", body.to_string()).await
    }

    /// Posts to a gateway that may not answer.
    pub(crate) async fn try_post(&self, path: &str, body: &Value) -> Result<StatusCode, reqwest::Error> {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(body);
        request.send().await.map(|response| response.status())
    }

    /// Opens an answer that does not end, from after the event with the id `last`.
    pub(crate) async fn open(&self, path: &str, last: Option<&str>) -> reqwest::Response {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let mut request = request.timeout(ANSWER * 10);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.send("GET", path, "application/json", "").await
    }
}

/// The limit for a whole answer.
const ANSWER: Duration = Duration::from_secs(60);

pub(crate) const ALL: [&str; 4] = ["ingest", "read", "moderate", "operate"];

fn body(number: usize) -> Value {
    let (request_id, payload) = event(number);
    json!({ "source": "door", "request_id": request_id, "payload": payload })
}

#[tokio::test]
async fn one_event_an_array_and_lines_are_taken_and_the_same_request_again_is_the_same_run() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (status, first) = desk.post("/v1/events", body(1)).await;
    assert_eq!((status, &first["created"]), (StatusCode::ACCEPTED, &json!(true)));
    let again = futures_like(&desk, 20).await;
    assert!(
        again.iter().all(|answer| answer["run_id"] == first["run_id"] && answer["created"] == json!(false))
    );
    let (status, array) = desk.post("/v1/events", json!([body(2), { "source": "x" }, body(3)])).await;
    assert_eq!((status, &array["accepted"], &array["refused"]), (StatusCode::ACCEPTED, &json!(2), &json!(1)));
    assert_eq!(array["items"][1]["error"]["status"], 400);
    let lines: String =
        (10..1510).map(|n| format!("{}\n", body(n))).chain(["{broken\n".to_owned()]).collect();
    let (status, answer) = desk.send("POST", "/v1/events", "application/x-ndjson", lines).await;
    assert_eq!(
        (status, &answer["accepted"], &answer["refused"]),
        (StatusCode::ACCEPTED, &json!(1500), &json!(1))
    );
    assert_eq!(answer["items"][1500]["error"]["status"], 400);
    assert_eq!(fleet.runs().await.len(), 1503);
    assert_eq!(fleet.streams.backlog("etl").await.unwrap().stream, 1503);
}

/// The same event from many connections at once.
async fn futures_like(desk: &Desk, count: usize) -> Vec<Value> {
    let mut answers = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (http, url, token) = (desk.http.clone(), desk.url.clone(), desk.token.clone());
        tasks.spawn(async move {
            let request = http.post(format!("{url}/v1/events")).bearer_auth(token).json(&body(1));
            request.send().await.unwrap().json::<Value>().await.unwrap()
        });
    }
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.unwrap());
    }
    answers
}

#[tokio::test]
async fn what_is_no_event_gets_a_reason_and_never_a_server_error() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let deep = format!("{{\"source\":\"s\",\"payload\":{}1{}}}", "[".repeat(100), "]".repeat(100));
    let abyss = "[".repeat(200_000);
    let large = format!("{{\"source\":\"s\",\"payload\":\"{}\"}}", "x".repeat(2 << 20));
    for (body, expected) in [
        (b"{\"source\":\"s\",".to_vec(), 400),
        (b"{\"source\":7,\"payload\":{\"a\":1}}".to_vec(), 400),
        (b"{\"source\":\"s\",\"payload\":{\"a\":1},\"more\":1}".to_vec(), 400),
        (b"{\"source\":\"s\",\"payload\":\"\xff\xfe\"}".to_vec(), 400),
        (b"{\"source\":\"s\\u0000\",\"payload\":{\"a\":1}}".to_vec(), 400),
        (b"\0\0\0".to_vec(), 400),
        (b"".to_vec(), 400),
        (b"[]".to_vec(), 400),
        (b"[".to_vec(), 400),
        (deep.into_bytes(), 400),
        (abyss.into_bytes(), 400),
        (large.clone().into_bytes(), 413),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let (status, problem) = desk.send("POST", "/v1/events", "application/json", body).await;
        assert_eq!(status.as_u16(), expected, "{shown}: {problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{shown}");
    }
    let (status, answer) =
        desk.send("POST", "/v1/events", "application/x-ndjson", format!("{large}\n{}\n", body(1))).await;
    assert_eq!(
        (status, &answer["accepted"], &answer["refused"]),
        (StatusCode::ACCEPTED, &json!(1), &json!(1)),
        "{answer}"
    );
    assert_eq!(fleet.runs().await.len(), 1);
}

#[tokio::test]
async fn over_the_high_water_mark_events_are_sent_away_for_a_while() {
    let mut fleet = Fleet::with(&[]).await;
    fleet.start_with("gateway", &["gateway.high_water=5", "gateway.retry_after=3s"], &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let first: Vec<Value> = (0..10).map(body).collect();
    assert_eq!(desk.post("/v1/events", json!(first)).await.1["accepted"], 10, "the mark is not reached yet");
    eventually("the gateway has seen its backlog", async || {
        desk.post("/v1/events", body(20)).await.0 == StatusCode::TOO_MANY_REQUESTS
    })
    .await;
    let request = desk.http.post(format!("{}/v1/events", desk.url)).bearer_auth(&desk.token).json(&body(20));
    assert_eq!(request.send().await.unwrap().headers()["retry-after"], "3");
    let before = fleet.runs().await.len();
    for worker in ["etl", "embedding", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    eventually("there is room again", async || {
        desk.post("/v1/events", body(30)).await.0 == StatusCode::ACCEPTED
    })
    .await;
    fleet.settled(before + 1).await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_long_request_is_taken_up_to_the_high_water_mark() {
    let mut fleet = Fleet::with(&[]).await;
    fleet.start_with("gateway", &["gateway.high_water=50"], &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let lines: Vec<String> = (0..20_000).map(|number| body(number).to_string()).collect();
    let (status, answer) = desk.send("POST", "/v1/events", "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let items = answer["items"].as_array().unwrap();
    let full = items.iter().filter(|item| item["error"]["status"] == 429).count();
    assert!(
        full > 0 && full + answer["accepted"].as_u64().unwrap() as usize == 20_000,
        "{full} were sent away"
    );
    assert_eq!(fleet.runs().await.len(), answer["accepted"].as_u64().unwrap() as usize);
}

#[tokio::test]
async fn tokens_decide_who_may_do_what_and_tenants_do_not_see_each_other() {
    let fleet = Fleet::with(&["gateway"]).await;
    let feeder = Desk::of(&fleet, "default", &["ingest"]).await;
    let reader = Desk::of(&fleet, "default", &["read"]).await;
    let other = Desk::of(&fleet, "other", &ALL).await;
    let nobody = Desk { token: "tm_wrong".to_owned(), ..Desk::of(&fleet, "default", &ALL).await };
    let (_, made) = feeder.post("/v1/events", body(1)).await;
    let run = format!("/v1/runs/{}", made["run_id"].as_str().unwrap());
    assert_eq!(nobody.get(&run).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(feeder.get(&run).await.0, StatusCode::FORBIDDEN);
    assert_eq!(reader.post("/v1/events", body(2)).await.0, StatusCode::FORBIDDEN);
    assert_eq!(other.get(&run).await.0, StatusCode::NOT_FOUND);
    assert_eq!(other.post(&format!("{run}/cancel"), json!({})).await.0, StatusCode::NOT_FOUND);
    assert_eq!(reader.post(&format!("{run}/cancel"), json!({})).await.0, StatusCode::FORBIDDEN);
    let (status, shown) = reader.get(&run).await;
    assert_eq!((status, &shown["state"]), (StatusCode::OK, &json!("running")));
    assert_eq!(other.get("/v1/runs").await.1["runs"], json!([]));
    assert_eq!(reader.get("/v1/nowhere").await.0, StatusCode::NOT_FOUND);
    assert_eq!(reader.get("/v1/tokens").await.0, StatusCode::NOT_FOUND);
    assert_eq!(reader.get("/v1/runs?state=lost").await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn cloud_events_come_structured_binary_and_in_batches() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let cloud = |id: &str, data: Value| {
        json!({
            "specversion": "1.0", "id": id, "source": "/news/desk", "type": "org.example.story", "subject": "harbour",
            "data": data,
        })
    };
    let structured =
        cloud("one", json!({ "title": "A harbour", "body": "The harbour opened on Tuesday." })).to_string();
    let kind = "application/cloudevents+json";
    let (status, first) = desk.send("POST", "/v1/events", kind, structured.clone()).await;
    assert_eq!((status, &first["created"]), (StatusCode::ACCEPTED, &json!(true)), "{first}");
    let (_, again) = desk.send("POST", "/v1/events", kind, structured).await;
    assert_eq!((&again["run_id"], &again["created"]), (&first["run_id"], &json!(false)));
    let batch =
        json!([cloud("two", json!("Plain text.")), { "specversion": "1.0" }, cloud("three", json!([1, 2]))]);
    let (status, answer) =
        desk.send("POST", "/v1/events", "application/cloudevents-batch+json", batch.to_string()).await;
    assert_eq!(
        (status, &answer["accepted"], &answer["refused"]),
        (StatusCode::ACCEPTED, &json!(2), &json!(1))
    );
    assert_eq!(answer["items"][1]["error"]["status"], 400);
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "four"),
        ("ce-source", "/news/desk"),
        ("ce-type", "org.example.story"),
        ("content-type", "application/json"),
    ];
    let (status, binary) = desk.send_with(&headers, r#"{"body":"It came with headers."}"#).await;
    assert_eq!((status, &binary["created"]), (StatusCode::ACCEPTED, &json!(true)), "{binary}");
    let run: model::RunId = binary["run_id"].as_str().unwrap().parse().unwrap();
    let (_, loaded) = fleet.record.load(&[record::BranchKey::trunk(run)], true, &[]).await.unwrap().remove(0);
    let loaded = loaded.unwrap();
    assert_eq!(loaded.source, "/news/desk");
    let payload: Value = serde_json::from_slice(&loaded.payload.unwrap()).unwrap();
    assert_eq!(payload["body"], "It came with headers.");
    assert_eq!(payload["cloudevent"]["type"], "org.example.story", "{payload}");
    for wrong in ["{}", "[]", r#"{"specversion":"1.0","id":"x","source":"s","type":"t"}"#] {
        assert_eq!(desk.send("POST", "/v1/events", kind, wrong).await.0, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test]
async fn every_refusal_is_a_problem_document() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let run = desk.post("/v1/events", body(1)).await.1["run_id"].as_str().unwrap().to_owned();
    let kind = "application/json";
    for (method, path, sent, expected) in [
        ("POST", format!("/v1/runs/{run}/cancel"), "{\"reason\": 5}", 400),
        ("POST", format!("/v1/runs/{run}/cancel"), "[", 400),
        ("GET", format!("/v1/runs/{run}?wait=soon"), "", 400),
        ("GET", format!("/v1/runs/{run}?wat=1s"), "", 400),
        ("GET", "/v1/runs?limit=-4".to_owned(), "", 400),
        ("GET", "/v1/runs?limit=x".to_owned(), "", 400),
        ("GET", "/v1/runs?cursor=x".to_owned(), "", 400),
        ("GET", "/v1/escalations?limit=x".to_owned(), "", 400),
        ("GET", "/v1/publications?moon=1".to_owned(), "", 400),
        ("GET", "/v1/escalations/x".to_owned(), "", 404),
        ("POST", "/v1/escalations/x/resolve".to_owned(), "", 400),
        ("POST", "/v1/publications/x/settle".to_owned(), "{\"answer\": \"delivered\"}", 404),
        ("PUT", "/v1/events".to_owned(), "", 405),
        ("GET", "/v1/nothing".to_owned(), "", 404),
    ] {
        let (status, problem) = desk.send(method, &path, kind, sent).await;
        assert_eq!(
            (status.as_u16(), &problem["status"]),
            (expected, &json!(expected)),
            "{method} {path}: {problem}"
        );
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
    let (status, cancelled) = desk.send("POST", &format!("/v1/runs/{run}/cancel"), kind, "").await;
    assert_eq!(
        (status, &cancelled["state"]),
        (StatusCode::OK, &json!("cancelled")),
        "a reason may be left out"
    );
}
