//! Workers behind addresses, programs, scripts, tools, and the guards around them all.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use calls::Secret;
use model::{RetryClass, Usage};
use serde_json::{Map, Value, json};
use testkit::{ChatStandIn, Turn};
use tidemill_providers::{
    Answer, Ask, BreakerPolicy, Cassette, Chain, CommandConfig, Guarded, HttpConfig, HttpWorker, OpenAi,
    OpenAiConfig, Price, Program, Provider, Said, Script, ScriptConfig, Tool, ToolConfig,
};
use tokio::io::AsyncBufReadExt as _;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const POLICY: BreakerPolicy =
    BreakerPolicy { failures: 2, pause: Duration::from_millis(300), longest_pause: Duration::from_secs(2) };

fn ask() -> Ask {
    Ask {
        key: "task-1".to_owned(),
        step: "write".to_owned(),
        visit: 1,
        role: "coder".to_owned(),
        system: "You write.".to_owned(),
        prompt: "Write.".to_owned(),
        input: json!({ "input": { "topic": "tides" }, "board": { "a": 1 } }),
        output_schema: Value::Null,
        parameters: Map::new(),
        max_tokens: 100,
        timeout: Duration::from_secs(30),
    }
}

fn tls() {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
}

fn http(server: &MockServer, patience: Duration) -> HttpWorker {
    tls();
    HttpWorker::new(&HttpConfig { url: server.uri(), secret: Secret::from(SECRET) }, patience).unwrap()
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_worker_is_asked_by_a_signed_request_and_its_answer_is_taken() {
    let usage = json!({ "tokens_in": 3, "tokens_out": 4 });
    let body = json!({ "output": { "n": 1 }, "patch": [{ "op": "add", "path": "/n", "value": 1 }], "usage": usage, "model": "mine" });
    let server = answering(ResponseTemplate::new(200).set_body_json(&body)).await;
    let answer = http(&server, Duration::from_secs(9)).complete(&ask()).await.unwrap();
    assert_eq!(answer.said, Said::Json(json!({ "output": body["output"], "patch": body["patch"] })));
    assert_eq!((answer.usage.tokens(), answer.model.as_str()), (7, "mine"));
    let request = server.received_requests().await.unwrap().remove(0);
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&request.body, &request.headers).unwrap();
    assert_eq!(request.headers["webhook-id"], "task-1");
    let told: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(told["type"], "task.requested");
    assert_eq!(
        (&told["data"]["input"], &told["data"]["board"]),
        (&json!({ "topic": "tides" }), &json!({ "a": 1 }))
    );
}

#[tokio::test]
async fn a_worker_that_is_under_way_is_asked_again_with_patience_and_no_longer() {
    let server = answering(ResponseTemplate::new(202).insert_header("retry-after", "2")).await;
    let patient = http(&server, Duration::from_secs(60));
    let failure = patient.complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::UnderWay(Duration::from_secs(2)));
    let impatient = http(&server, Duration::ZERO);
    let failure = impatient.complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Permanent, "{failure}");
    let ids: Vec<_> = server.received_requests().await.unwrap();
    assert!(ids.iter().all(|request| request.headers["webhook-id"] == "task-1"), "one task, one id");
}

#[tokio::test]
async fn a_workers_refusals_mean_what_they_say() {
    for (answer, class) in [
        (ResponseTemplate::new(422).set_body_string("no such page"), RetryClass::Permanent),
        (ResponseTemplate::new(400), RetryClass::Permanent),
        (ResponseTemplate::new(401), RetryClass::Unavailable),
        (ResponseTemplate::new(503), RetryClass::Unavailable),
        (
            ResponseTemplate::new(429).insert_header("retry-after", "3"),
            RetryClass::RetryAfter(Duration::from_secs(3)),
        ),
        (ResponseTemplate::new(500), RetryClass::Transient),
        (ResponseTemplate::new(200).set_body_string("{\"output\":"), RetryClass::Transient),
        (ResponseTemplate::new(200).set_body_json(json!({ "result": 1 })), RetryClass::Transient),
        (ResponseTemplate::new(200).set_body_bytes(vec![b' '; 2 << 20]), RetryClass::Transient),
    ] {
        let server = answering(answer).await;
        let failure = http(&server, Duration::from_secs(9)).complete(&ask()).await.unwrap_err();
        assert_eq!(failure.class, class, "{failure}");
        assert!(!failure.reason.contains(SECRET));
    }
    let unsigned = HttpConfig { url: "http://127.0.0.1:1".to_owned(), secret: Secret::default() };
    assert_eq!(HttpWorker::new(&unsigned, Duration::ZERO).unwrap_err().class, RetryClass::Permanent);
}

#[tokio::test]
async fn the_documented_worker_in_python_takes_part_and_asks_to_be_asked_again() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/worker.py");
    let mut worker = tokio::process::Command::new("python3")
        .args([script, "0"])
        .env("WORKER_SECRET", SECRET)
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut output = tokio::io::BufReader::new(worker.stdout.take().unwrap());
    output.read_line(&mut line).await.unwrap();
    let url = format!("http://127.0.0.1:{}/", line.trim().rsplit(' ').next().unwrap());
    tls();
    let open = |secret: &str| {
        let config = HttpConfig { url: url.clone(), secret: Secret::from(secret) };
        HttpWorker::new(&config, Duration::from_secs(60)).unwrap()
    };
    let input = json!({ "input": { "text": "Two words" }, "board": {} });
    let quick = Ask { input: input.clone(), ..ask() };
    let answer = open(SECRET).complete(&quick).await.unwrap();
    assert_eq!(answer.said, Said::Json(json!({ "words": 2, "summary": "Two words" })));
    let mut parameters = Map::new();
    parameters.insert("seconds".to_owned(), json!(1.5));
    let slow = Ask { key: "task-2".to_owned(), input, parameters, ..ask() };
    let worker = open(SECRET);
    let failure = worker.complete(&slow).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::UnderWay(Duration::from_secs(1)));
    testkit::eventually("it is done", async || worker.complete(&slow).await.is_ok()).await;
    let stranger = open("whsec_c3RyYW5nZXIncyBvd24gc2VjcmV0").complete(&quick).await.unwrap_err();
    assert_eq!(stranger.class, RetryClass::Unavailable, "{stranger}");
}

#[tokio::test]
async fn a_call_that_is_given_up_is_charged_what_was_asked() {
    let stand_in = ChatStandIn::start(|_, _| Turn::Silent).await;
    tls();
    let config: OpenAiConfig =
        serde_json::from_value(json!({ "base_url": stand_in.url(), "model": "m" })).unwrap();
    let provider = OpenAi::new(config, Duration::from_secs(60)).unwrap();
    let price = Price { input: 1.0, output: 1.0 };
    let guarded = Guarded::new("a", Box::new(provider), price, Duration::from_millis(300), POLICY);
    let failure = guarded.complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Transient, "{failure}");
    assert!(failure.usage.tokens_in > 0 && failure.usage.cost_micros > 0, "{failure:?}");
}

/// A server with the tool `measure`, which answers with what it was given.
async fn tool_server() -> MockServer {
    let server = MockServer::start().await;
    let respond = |request: &Request| {
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let result = match message["method"].as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "stand-in", "version": "1" },
            }),
            "tools/list" => json!({ "tools": [{ "name": "measure", "inputSchema": { "type": "object" } }] }),
            "tools/call" if message["params"]["arguments"]["topic"] == "long" => {
                json!({ "content": [], "structuredContent": { "long": "x".repeat(2 << 20) } })
            }
            "tools/call" if message["params"]["arguments"]["topic"] == "none" => {
                json!({ "content": [{ "type": "text", "text": "no such topic" }], "isError": true })
            }
            "tools/call" => {
                let given = message["params"]["arguments"].to_string();
                json!({ "content": [{ "type": "text", "text": given }], "isError": false })
            }
            _ => return ResponseTemplate::new(202),
        };
        let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
        ResponseTemplate::new(200).set_body_json(body)
    };
    Mock::given(method("POST")).respond_with(respond).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(405)).mount(&server).await;
    server
}

#[tokio::test]
async fn a_tool_is_called_with_the_steps_input_or_what_templates_make_of_it() {
    let server = tool_server().await;
    tls();
    let tool = |more: Value| {
        let mut config = json!({ "url": server.uri(), "tool": "measure" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Tool::new(serde_json::from_value::<ToolConfig>(config).unwrap()).unwrap()
    };
    let text = |answer: Answer| match answer.said {
        Said::Text(text) => serde_json::from_str::<Value>(&text).unwrap(),
        Said::Json(value) => value,
    };
    let answer = tool(json!({})).complete(&ask()).await.unwrap();
    assert_eq!(answer.model, "mcp:measure");
    assert_eq!(text(answer), json!({ "topic": "tides" }));
    let arguments = json!({ "arguments": { "key": "{{ key }}", "about": "{{ input.topic }}" } });
    let answer = tool(arguments).complete(&ask()).await.unwrap();
    assert_eq!(text(answer), json!({ "key": "task-1", "about": "tides" }));
    let refused = Ask { input: json!({ "input": { "topic": "none" } }), ..ask() };
    for (tool, words) in
        [(tool(json!({})), "no such topic"), (tool(json!({ "tool": "other" })), "no tool `other`")]
    {
        let failure = tool.complete(&refused).await.unwrap_err();
        assert_eq!(failure.class, RetryClass::Permanent);
        assert!(failure.reason.contains(words), "{failure}");
    }
    let long = Ask { input: json!({ "input": { "topic": "long" } }), ..ask() };
    let failure = tool(json!({})).complete(&long).await.unwrap_err();
    assert!(failure.reason.contains("longer than 1048576 bytes"), "{failure}");
    assert!(tool(json!({})).acts_outside());
}

#[tokio::test]
async fn a_token_that_a_tool_server_repeats_is_in_no_failure() {
    const TOKEN: &str = "hush-hush-0123456789";
    let server = answering(ResponseTemplate::new(403).set_body_string(format!("bad token {TOKEN}"))).await;
    tls();
    let config = json!({ "url": server.uri(), "tool": "measure", "token": TOKEN });
    let tool = Tool::new(serde_json::from_value::<ToolConfig>(config).unwrap()).unwrap();
    let failure = tool.complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Unavailable);
    assert!(failure.reason.contains("bad token ***"), "{failure}");
}

fn program(command: &[&str], more: &Value) -> Program {
    let mut config = json!({ "command": command });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Program::new(serde_json::from_value::<CommandConfig>(config).unwrap()).unwrap()
}

#[tokio::test]
async fn a_program_reads_its_task_and_says_its_answer_and_sees_nothing_of_the_fleet() {
    let script = "cat; env >&2";
    let answer = program(&["sh", "-c", script], &json!({})).complete(&ask()).await.unwrap();
    let Said::Text(text) = answer.said else { panic!("text") };
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["task"], &told["input"]), (&json!("task-1"), &json!({ "topic": "tides" })));
    assert_eq!(answer.model, "command:sh");
    let failure =
        program(&["sh", "-c", "env >&2; exit 1"], &json!({ "environment": { "OWN": "hush-hush" } }));
    let failure = failure.complete(&ask()).await.unwrap_err();
    assert!(!failure.reason.contains("CARGO") && !failure.reason.contains("hush-hush"), "{failure}");
}

#[tokio::test]
async fn a_program_stays_within_its_limits() {
    let cases = [
        (json!(["sh", "-c", "exit 65"]), RetryClass::Permanent),
        (json!(["sh", "-c", "echo no >&2; exit 3"]), RetryClass::Transient),
        (json!(["/no/such/program"]), RetryClass::Unavailable),
        (json!(["sh", "-c", "yes"]), RetryClass::Unreadable),
        (json!(["sh", "-c", "printf '\\377'"]), RetryClass::Unreadable),
        (json!(["sh", "-c", "while :; do :; done"]), RetryClass::Transient),
        (json!(["python3", "-c", "x = bytearray(1 << 30); print(len(x))"]), RetryClass::Transient),
    ];
    for (command, class) in cases {
        let config = json!({ "command": command, "cpu_seconds": 1, "memory_mib": 256 });
        let program = Program::new(serde_json::from_value::<CommandConfig>(config).unwrap()).unwrap();
        let failure = program.complete(&ask()).await.unwrap_err();
        assert_eq!(failure.class, class, "{command}: {failure}");
    }
}

#[tokio::test]
async fn what_a_program_started_ends_with_its_call() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pid");
    let script = format!("sleep 600 & echo $! > {} ; wait", pids.display());
    let program = program(&["sh", "-c", &script], &json!({}));
    let ask = ask();
    let call = program.complete(&ask);
    assert!(tokio::time::timeout(Duration::from_millis(700), call).await.is_err(), "it sleeps");
    let pid = std::fs::read_to_string(pids).unwrap().trim().to_owned();
    // A zombie of another parent may stay in the table for a moment.
    let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    testkit::eventually("what it started is gone", async || gone()).await;
}

#[tokio::test]
async fn a_script_answers_by_step_or_role_and_visit_and_says_what_it_is() {
    let answers = json!({ "answers": { "write": [{ "n": 1 }, { "n": 2 }], "reviewer": ["half a {"] } });
    let script = Script::new(serde_json::from_value::<ScriptConfig>(answers).unwrap());
    for (visit, n) in [(1, 1), (2, 2), (9, 2)] {
        let answer = script.complete(&Ask { visit, ..ask() }).await.unwrap();
        assert_eq!((answer.said, answer.model.as_str()), (Said::Json(json!({ "n": n })), "script"));
    }
    let by_role = Ask { step: "review".to_owned(), role: "reviewer".to_owned(), ..ask() };
    assert_eq!(script.complete(&by_role).await.unwrap().said, Said::Text("half a {".to_owned()));
    let nobody = Ask { step: "x".to_owned(), role: "y".to_owned(), ..ask() };
    assert_eq!(script.complete(&nobody).await.unwrap_err().class, RetryClass::Permanent);
}

fn chat(stand_in: &ChatStandIn, name: &str, price: Price) -> Guarded {
    tls();
    let config = json!({ "base_url": stand_in.url(), "model": name });
    let config: OpenAiConfig = serde_json::from_value(config).unwrap();
    let provider = OpenAi::new(config, Duration::from_secs(5)).unwrap();
    Guarded::new(name, Box::new(provider), price, Duration::from_secs(5), POLICY)
}

#[tokio::test]
async fn what_was_spent_has_its_price_and_time() {
    let stand_in = ChatStandIn::saying("{}").await;
    let price = Price { input: 2.5, output: 10.0 };
    let usage = chat(&stand_in, "a", price).complete(&ask()).await.unwrap().usage;
    assert_eq!(usage.cost_micros, 100 * 5 / 2 + 20 * 10);
    assert!(usage.millis < 5000);
    let own = Usage { tokens_in: 1, cost_micros: 9, ..Usage::default() };
    assert_eq!(price.of(own), own, "what the provider itself says stands");
}

#[tokio::test]
async fn those_that_stand_in_are_asked_in_order_and_all_is_charged() {
    let broken = ChatStandIn::start(|_, _| Turn::BreaksOff("{\"a\":1}".to_owned())).await;
    let busy = ChatStandIn::start(|_, _| Turn::TooMany(Some(60))).await;
    let good = ChatStandIn::saying("{\"a\":1}").await;
    let links = [("a", &broken), ("b", &busy), ("c", &good)]
        .map(|(name, one)| Arc::new(chat(one, name, Price::default())));
    let answer = Chain::new(links.to_vec()).complete(&ask()).await.unwrap();
    assert!(answer.usage.tokens_in > 100, "the one that broke off cost something: {answer:?}");
    let none = Chain::new(links[..2].to_vec());
    let failure = none.complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Transient);
    assert!(failure.reason.contains("a: ") && failure.reason.contains("b: "), "{failure}");
    let refused = ChatStandIn::start(|_, _| Turn::Fails(400, "no".to_owned())).await;
    let first = Arc::new(chat(&refused, "r", Price::default()));
    let before = good.asked().len();
    let failure = Chain::new(vec![first, Arc::clone(&links[2])]).complete(&ask()).await.unwrap_err();
    assert_eq!(
        (failure.class, good.asked().len()),
        (RetryClass::Permanent, before),
        "nobody else is asked the same"
    );
}

#[tokio::test]
async fn a_provider_that_is_out_is_left_alone_and_then_tried_by_one() {
    let stand_in = ChatStandIn::start(|number, _| match number {
        0 | 1 => Turn::Fails(500, String::new()),
        _ => Turn::Says("{}".to_owned()),
    })
    .await;
    let guarded = chat(&stand_in, "a", Price::default());
    for _ in 0..2 {
        assert_eq!(guarded.complete(&ask()).await.unwrap_err().class, RetryClass::Transient);
    }
    let failure = guarded.complete(&ask()).await.unwrap_err();
    assert!(matches!(failure.class, RetryClass::Later(pause) if pause <= POLICY.pause), "{failure}");
    assert_eq!(stand_in.asked().len(), 2, "it is left alone");
    let began = Instant::now();
    testkit::eventually("it is tried again", async || guarded.complete(&ask()).await.is_ok()).await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert!(guarded.complete(&ask()).await.is_ok());
}

#[tokio::test]
async fn a_cassette_repeats_what_was_said_and_refuses_what_was_not_asked() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = ChatStandIn::saying("{\"a\":1}").await;
    let tape = |cassette| chat(&stand_in, "a", Price::default()).with_cassette(Some(cassette));
    let said = tape(Cassette::Record(folder.path().to_owned())).complete(&ask()).await.unwrap();
    let replay = tape(Cassette::Replay(folder.path().to_owned()));
    let another_run = Ask { key: "task-2".to_owned(), ..ask() };
    assert_eq!(replay.complete(&another_run).await.unwrap(), said);
    let failure = replay.complete(&Ask { prompt: "Else.".to_owned(), ..ask() }).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Permanent, "{failure}");
    assert_eq!(stand_in.asked().len(), 1);
}

#[tokio::test]
async fn secrets_and_what_cannot_be_stored_are_kept_out_of_answers_failures_and_cassettes() {
    const KEY: &str = "sk-of-another-provider";
    let folder = tempfile::tempdir().unwrap();
    let guarded = |server: &MockServer| {
        let worker = Box::new(http(server, Duration::from_secs(5)));
        Guarded::new("a", worker, Price::default(), Duration::from_secs(5), POLICY)
            .with_cassette(Some(Cassette::Record(folder.path().to_owned())))
            .without([Secret::from(KEY)].into_iter().collect())
    };
    let body = json!({ "output": { KEY: [KEY] }, "model": format!("m\0{KEY}") });
    let server = answering(ResponseTemplate::new(200).set_body_json(&body)).await;
    let answer = guarded(&server).complete(&ask()).await.unwrap();
    assert_eq!((answer.said, answer.model.as_str()), (Said::Json(json!({ "***": ["***"] })), "m\u{fffd}***"));
    let tape = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    assert!(!std::fs::read_to_string(tape).unwrap().contains(KEY));

    let server =
        answering(ResponseTemplate::new(500).set_body_string(format!("half\0 a page of {KEY}"))).await;
    let failure = guarded(&server).complete(&ask()).await.unwrap_err();
    assert!(failure.reason.contains("half\u{fffd} a page of ***"), "{failure}");
}

#[tokio::test]
async fn only_tools_addresses_and_programs_act_outside() {
    let stand_in = ChatStandIn::saying("{}").await;
    let talks = Arc::new(chat(&stand_in, "a", Price::default()));
    let acts = Box::new(program(&["true"], &json!({})));
    let acts = Arc::new(Guarded::new("b", acts, Price::default(), Duration::from_secs(5), POLICY));
    assert!(!Chain::new(vec![Arc::clone(&talks)]).acts_outside());
    assert!(Chain::new(vec![talks, acts]).acts_outside(), "also where it only stands in");
}
