//! Workers outside that answer later: by a callback, bound to one task, whatever dies meanwhile.

use std::process::Stdio;
use std::time::{Duration, Instant};

use record::PublicationState;
use reqwest::StatusCode;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use testkit::eventually;
use tokio::io::AsyncBufReadExt as _;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::acting::{BY_RULE, SECRET, Yard, section, ship, worker};
use crate::fleet::Fleet;

/// Why the step counts as without a side effect.
const READS: &str = "    side_effect_reason: it only counts";

/// An address that nobody has.
fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A yard whose gateway takes callbacks at an address that it keeps, and whose deployer is this worker.
async fn yard(url: &str, more: Value, document: &str) -> (Yard, String) {
    let address = free_address();
    let mut provider = json!({ "http": { "url": url, "secret": SECRET }, "timeout": "3s", "silence": "20s" });
    provider.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let with = |_: &Fleet| {
        let mut section = section(&provider);
        section["agent"]["callbacks"] = json!(format!("http://{address}"));
        section["agent"]["roles"]["deployer"]["parameters"] = json!({ "seconds": 4 });
        section
    };
    (Yard::at(with, document, &address).await, address)
}

/// What the worker was asked, once it was.
async fn asked(server: &MockServer, count: usize) -> Value {
    eventually("the worker is asked", async || server.received_requests().await.unwrap().len() >= count)
        .await;
    let request = server.received_requests().await.unwrap().remove(count - 1);
    serde_json::from_slice::<Value>(&request.body).unwrap()["data"].clone()
}

/// Waits until the only job is held by nobody.
async fn put_off(yard: &Yard) {
    eventually("its job is put off, and held by nobody", async || {
        yard.fleet.streams.backlog("agent").await.is_ok_and(|it| it.stream == 0 && it.retry == 1)
    })
    .await;
}

/// A callback, signed as docs/worker-contract.md says.
async fn call_back(
    gateway: &str,
    token: &str,
    path: &str,
    key_of: &str,
    body: &Value,
) -> (StatusCode, Value) {
    let response = try_call_back(gateway, token, path, key_of, body).await.unwrap();
    (response.status(), response.json().await.unwrap_or_default())
}

async fn try_call_back(
    gateway: &str,
    token: &str,
    path: &str,
    key_of: &str,
    body: &Value,
) -> reqwest::Result<reqwest::Response> {
    let derived = Webhook::new(SECRET).unwrap().sign("callback", 0, key_of.as_bytes()).unwrap();
    let mut signer = Webhook::new(derived.trim_start_matches("v1,")).unwrap();
    if path == "/heartbeat" {
        let derived = signer.sign("heartbeat", 0, key_of.as_bytes()).unwrap();
        signer = Webhook::new(derived.trim_start_matches("v1,")).unwrap();
    }
    let (body, at) = (body.to_string(), chrono::Utc::now().timestamp());
    let signature = signer.sign("msg_1", at, body.as_bytes()).unwrap();
    reqwest::Client::new()
        .post(format!("{gateway}/v1/work/{token}{path}"))
        .header("content-type", "application/json")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", at.to_string())
        .header("webhook-signature", signature)
        .body(body)
        .send()
        .await
}

fn done() -> Value {
    json!({ "output": { "place": "https://example.org/1" }, "model": "mine", "usage": { "tokens_in": 7, "tokens_out": 1 } })
}

#[tokio::test]
async fn a_callback_completes_its_own_task_once_and_wakes_its_run_at_once() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (yard, _) = yard(&server.uri(), json!({}), &ship("", READS)).await;
    let gateway = yard.fleet.gateway().await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let task = asked(&server, 1).await;
    let token = task["callback"]["token"].as_str().unwrap().to_owned();
    assert!(task["callback"]["url"].as_str().unwrap().ends_with(&format!("/v1/work/{token}")), "{task}");
    put_off(&yard).await;

    let stranger = "0".repeat(64);
    for (at, path, key_of, body, status) in [
        (&stranger, "", &stranger, done(), StatusCode::NOT_FOUND),
        (&stranger, "/heartbeat", &stranger, json!({}), StatusCode::NOT_FOUND),
        (&token, "", &stranger, done(), StatusCode::UNAUTHORIZED),
        (&token, "/heartbeat", &stranger, json!({}), StatusCode::UNAUTHORIZED),
        (&token, "", &token, json!({}), StatusCode::UNPROCESSABLE_ENTITY),
        (&token, "", &token, json!({ "output": 7 }), StatusCode::UNPROCESSABLE_ENTITY),
        (&token, "", &token, json!({ "output": {}, "error": "x" }), StatusCode::UNPROCESSABLE_ENTITY),
        (&token, "", &token, json!({ "output": {}, "state": "published" }), StatusCode::BAD_REQUEST),
        (&token, "/heartbeat", &token, json!({}), StatusCode::OK),
    ] {
        let (answered, said) = call_back(&gateway, at, path, key_of, &body).await;
        assert_eq!(answered, status, "{path} {body}: {said}");
        assert_eq!(yard.fleet.runs().await[0].state, "running");
    }
    let began = Instant::now();
    let (status, said) = call_back(&gateway, &token, "", &token, &done()).await;
    assert_eq!((status, &said["step"]), (StatusCode::OK, &json!("deploy")), "{said}");
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    assert!(began.elapsed() < Duration::from_secs(12), "it did not wait for the end of the silence");
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "it was asked once");

    let length =
        async || yard.fleet.record.run_detail(runs[0].run_id).await.unwrap().unwrap().provenance.len();
    let links = length().await;
    for (path, body) in [("", done()), ("", json!({ "error": "too late" })), ("/heartbeat", json!({}))] {
        let (status, said) = call_back(&gateway, &token, path, &token, &body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{path} {body}: {said}");
    }
    assert_eq!((length().await, yard.fleet.runs().await[0].seq), (links, runs[0].seq), "nothing was changed");
    let (_, shown) = yard.desk.get(&format!("/v1/runs/{}", runs[0].run_id)).await;
    let entries: Vec<&Value> =
        shown["provenance"].as_array().unwrap().iter().map(|link| &link["entry"]).collect();
    assert!(entries.iter().any(|entry| entry["what"] == "answered"), "{shown}");
    let last = entries.iter().find(|entry| entry["what"] == "done" && entry["step"] == "deploy").unwrap();
    assert_eq!((&last["model"], &last["usage"]["tokens_in"]), (&json!("mine"), &json!(7)), "{last}");
    yard.fleet.assert_consistent().await;
}

/// Patience is for a worker that has its task under way, not for one that is out for longer.
#[tokio::test]
async fn a_worker_that_is_out_for_longer_than_its_patience_does_its_task_once_it_is_back() {
    let server = MockServer::start().await;
    let out = ResponseTemplate::new(503).insert_header("retry-after", "1");
    Mock::given(method("POST")).respond_with(out).up_to_n_times(3).mount(&server).await;
    Mock::given(method("POST")).respond_with(ResponseTemplate::new(202)).mount(&server).await;
    let (yard, _) = yard(&server.uri(), json!({ "patience": "2s" }), &ship("", READS)).await;
    let gateway = yard.fleet.gateway().await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let task = asked(&server, 4).await;
    let token = task["callback"]["token"].as_str().unwrap();
    let (status, said) = call_back(&gateway, token, "", token, &done()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
}

/// One that said that it has its task, and nothing more, is given up once its patience is over.
#[tokio::test]
async fn a_worker_that_took_its_task_and_never_ends_it_is_given_up() {
    let server = worker(ResponseTemplate::new(202).insert_header("retry-after", "1")).await;
    let (yard, _) = yard(&server.uri(), json!({ "patience": "3s" }), &ship("", READS)).await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "dead", "{runs:?}");
    assert!(runs[0].reason.contains("did not finish within 3s"), "{runs:?}");
}

#[tokio::test]
async fn what_a_worker_gives_up_fails_for_good_and_a_run_that_ended_takes_no_callback() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (yard, _) = yard(&server.uri(), json!({}), &ship("", READS)).await;
    let gateway = yard.fleet.gateway().await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let first = asked(&server, 1).await["callback"]["token"].as_str().unwrap().to_owned();
    let (status, _) = call_back(&gateway, &first, "", &first, &json!({ "error": "no room" })).await;
    assert_eq!(status, StatusCode::OK);
    let runs = yard.fleet.settled(1).await;
    assert!(runs[0].state == "dead" && runs[0].reason.contains("no room"), "{runs:?}");

    let second = yard.begin("<h1>2</h1>", json!({})).await;
    let token = asked(&server, 2).await["callback"]["token"].as_str().unwrap().to_owned();
    assert_ne!(token, first, "a token is of one run");
    eventually("its job is put off", async || {
        yard.fleet.runs().await.iter().any(|run| run.reason.contains("under way"))
    })
    .await;
    let run = second["run_id"].as_str().unwrap();
    let (status, _) = yard.desk.post(&format!("/v1/runs/{run}/cancel"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let (status, said) = call_back(&gateway, &token, "", &token, &done()).await;
    assert_eq!(status, StatusCode::CONFLICT, "{said}");
    assert_eq!(yard.desk.get(&format!("/v1/runs/{run}")).await.1["state"], "cancelled");

    // Given another life, the task is asked for anew, and what it is completed with now counts.
    let (_, letters) = yard.desk.get("/v1/dead-letters").await;
    let id = &letters["dead_letters"][0]["dead_letter_id"];
    let (status, said) = yard.desk.post("/v1/dead-letters/replay", json!({ "ids": [id] })).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(asked(&server, 3).await["callback"]["token"], json!(first), "the same visit, the same task");
    let (status, said) = call_back(&gateway, &first, "", &first, &done()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    eventually("it is done", async || yard.fleet.runs().await.iter().any(|run| run.state == "done")).await;
}

#[tokio::test]
async fn an_answer_that_was_refused_or_is_of_an_earlier_life_is_not_taken_again() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (yard, _) = yard(&server.uri(), json!({}), &ship("", READS)).await;
    let gateway = yard.fleet.gateway().await;
    let run = yard.begin("<h1>1</h1>", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let token = asked(&server, 1).await["callback"]["token"].as_str().unwrap().to_owned();
    put_off(&yard).await;
    let mut outside = done();
    outside["patch"] = json!([{ "op": "add", "path": "/inputs/page", "value": "<h1>mine</h1>" }]);
    let (status, said) = call_back(&gateway, &token, "", &token, &outside).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(
        asked(&server, 2).await["callback"]["token"],
        json!(token),
        "the same visit is asked for again"
    );
    put_off(&yard).await;
    let (status, said) = call_back(&gateway, &token, "", &token, &done()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let path = format!("/v1/runs/{run}");
    eventually("it is done", async || yard.desk.get(&path).await.1["state"] == "done").await;

    let (status, said) = yard.desk.post(&format!("{path}/retry"), json!({ "from": "deploy" })).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    asked(&server, 3).await;
    put_off(&yard).await;
    let mut elsewhere = done();
    elsewhere["output"]["place"] = json!("https://example.org/2");
    let (status, said) = call_back(&gateway, &token, "", &token, &elsewhere).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    eventually("it is done again", async || {
        yard.desk.get(&format!("{path}/board")).await.1["board"]["place"] == "https://example.org/2"
    })
    .await;
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn what_is_completed_while_its_run_is_held_back_is_taken_once_that_goes_on() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (yard, _) = yard(&server.uri(), json!({}), &ship("", READS)).await;
    let gateway = yard.fleet.gateway().await;
    let run = yard.begin("<h1>1</h1>", json!({})).await["run_id"].as_str().unwrap().to_owned();
    let token = asked(&server, 1).await["callback"]["token"].as_str().unwrap().to_owned();
    put_off(&yard).await;
    let path = format!("/v1/runs/{run}");
    assert_eq!(yard.desk.post(&format!("{path}/pause"), json!({})).await.0, StatusCode::OK);
    let (status, said) = call_back(&gateway, &token, "", &token, &done()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    assert_eq!(yard.desk.post(&format!("{path}/resume"), json!({})).await.0, StatusCode::OK);
    eventually("it is done", async || yard.desk.get(&path).await.1["state"] == "done").await;
    assert_eq!(server.received_requests().await.unwrap().len(), 1, "nobody is asked for it again");
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_call_that_acts_is_completed_by_its_callback_and_confirmed_in_the_ledger() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (yard, _) = yard(&server.uri(), json!({}), &ship(BY_RULE, "")).await;
    let gateway = yard.fleet.gateway().await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let task = asked(&server, 1).await;
    let token = task["callback"]["token"].as_str().unwrap().to_owned();
    assert_eq!(yard.ledger().await[0].publication_key.to_hex(), task["task"].as_str().unwrap());
    assert_eq!(yard.ledger().await[0].state, PublicationState::Sent);
    let run = yard.fleet.runs().await[0].run_id;
    let (status, said) = yard.desk.post(&format!("/v1/runs/{run}/cancel"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "a call is under way: {said}");
    let (status, said) = call_back(&gateway, &token, "", &token, &done()).await;
    assert_eq!(status, StatusCode::OK, "{said}");
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}\n{}", yard.fleet.log("agent"));
    let ledger = yard.ledger().await;
    assert_eq!((ledger.len(), ledger[0].state), (1, PublicationState::Confirmed), "{ledger:?}");
    assert_eq!(call_back(&gateway, &token, "", &token, &done()).await.0, StatusCode::CONFLICT);
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn the_documented_worker_calls_back_though_agent_and_gateway_are_killed_meanwhile() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/worker.py");
    let python = tokio::process::Command::new("python3")
        .args([script, "0"])
        .envs([("WORKER_SECRET", SECRET), ("WORKER_ALIVE", "0.5")])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let Ok(mut python) = python else {
        eprintln!("python3 is not here: the documented worker was not tried");
        return;
    };
    let mut lines = tokio::io::BufReader::new(python.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().unwrap().rsplit(' ').next().unwrap().to_owned();
    let document =
        ship("", READS).replace("required: [place]", "required: [words]").replace("/place", "/words");
    let document =
        document.replace("page: /inputs/page", "text: /inputs/page").replace("place: {", "words: {");
    let document = document.replace("words: { type: string }", "words: { type: integer }");
    let url = format!("http://127.0.0.1:{port}/");
    // Killed in mid-work, the agent asks again under the same id; the work itself goes on.
    let (mut yard, address) = yard(&url, json!({ "silence": "3s" }), &document).await;
    yard.begin("three small words", json!({})).await;
    put_off(&yard).await;
    for name in ["agent", "gateway"] {
        yard.fleet.kill(name).await;
    }
    yard.agent(&[]).await;
    yard.gateway(&address).await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}\n{}", yard.fleet.log("agent"));
    let (_, board) = yard.desk.get(&format!("/v1/runs/{}/board", runs[0].run_id)).await;
    assert_eq!(board["board"]["words"], 3, "{board}");
}

#[tokio::test]
async fn a_gateway_that_dies_after_it_kept_a_completion_loses_nothing() {
    let server = worker(ResponseTemplate::new(202)).await;
    let (mut yard, address) = yard(&server.uri(), json!({}), &ship("", READS)).await;
    yard.fleet.kill("gateway").await;
    let file = yard.file.clone();
    let environment = [("TIDEMILL_CONFIG", file.as_str()), ("TIDEMILL_FAILPOINT", "answered")];
    let at = format!("gateway.address={address}");
    yard.fleet.start_with("gateway", &[&at], &environment).await;
    eventually("it serves", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
    yard.begin("<h1>1</h1>", json!({})).await;
    let token = asked(&server, 1).await["callback"]["token"].as_str().unwrap().to_owned();
    put_off(&yard).await;
    let own = format!("http://{address}");
    let dies = try_call_back(&own, &token, "", &token, &done()).await;
    assert!(dies.is_err(), "the gateway is dead: {dies:?}");
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "the planner adds the job that was committed: {runs:?}");
    yard.gateway(&address).await;
    eventually("it serves", async || tokio::net::TcpStream::connect(&address).await.is_ok()).await;
    assert_eq!(call_back(&own, &token, "", &token, &done()).await.0, StatusCode::CONFLICT, "told again");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_documented_stream_worker_follows_up_what_was_published_once() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/stream_worker.py");
    let socket = fleet.servers.redis_url().trim_start_matches("redis+unix://").to_owned();
    let start = || {
        let mut command = tokio::process::Command::new("python3");
        command.args([script, &socket]).kill_on_drop(true).spawn()
    };
    let Ok(mut python) = start() else {
        eprintln!("python3 is not here: the documented stream worker was not tried");
        return;
    };
    fleet.add([crate::fleet::event(1)]).await;
    let follows = async || {
        let runs = fleet.runs().await;
        runs.iter().filter(|run| run.source == "follow-ups").count()
    };
    eventually("the post is followed up", async || follows().await >= 1).await;
    python.kill().await.unwrap();
    // Whatever it had not acknowledged it handles again, under the same request ids.
    let _second = start().unwrap();
    let first = fleet.runs().await.into_iter().find(|run| run.source == "follow-ups").unwrap();
    eventually("the follow-up ends", async || {
        fleet.runs().await.iter().any(|run| run.run_id == first.run_id && run.state != "running")
    })
    .await;
    let ids: std::collections::BTreeSet<String> =
        fleet.runs().await.into_iter().map(|run| run.request_id).collect();
    assert_eq!(ids.len(), fleet.runs().await.len(), "each event once");
    fleet.signal("planner", local::Signal::SIGTERM);
}
