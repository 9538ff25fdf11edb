//! Agents in a fleet: built-in workflows through a chat endpoint that errs, through canned answers and through cassettes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use local::Signal;
use record::RunSummary;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Asked, ChatStandIn, Servers, Turn, binary, eventually};

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};
use crate::gates::{asked, ends, gated, resolve, send};
use crate::registry::{activate, registered};

/// A key that must be found nowhere.
const KEY: &str = "sk-hush-hush-0123456789";

const DOCUMENT: &str = "
name: think
version: 1
goal: Specifications of a page
steps:
  - id: think
    worker: agent
    role: product_manager
    description: Write them
    on_success: { end: done }
";

/// The sample that the documentation tells to try.
fn sample() -> String {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    folder.join("deploy/samples/website.yaml").display().to_string()
}

/// A configuration file of its own for the processes that are started with it.
pub(crate) fn configuration(fleet: &Fleet, name: &str, section: &Value) -> String {
    let file = fleet.servers.folder().join(format!("{name}.yaml"));
    std::fs::write(&file, section.to_string()).unwrap();
    file.display().to_string()
}

/// An agent whose roles all ask one chat endpoint, which may be left alone only briefly.
fn chat(stand_in: &ChatStandIn, more: &Value) -> Value {
    let mut main = json!({
        "idle": "1s", "price": { "input": 1.0, "output": 2.0 },
        "openai": { "base_url": stand_in.url(), "model": "m", "api_key": KEY },
    });
    main.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let breaker = json!({ "failures": 3, "pause": "200ms", "longest_pause": "1s" });
    json!({ "agent": { "provider": "main", "providers": { "main": main }, "breaker": breaker } })
}

fn spec() -> String {
    json!({ "pages": [{ "path": "index.html", "purpose": "hours" }], "acceptance": ["the hours are there"] })
        .to_string()
}

fn code(content: &str) -> String {
    json!({ "files": [{ "path": "index.html", "content": content }] }).to_string()
}

fn review(verdict: &str, findings: &[&str]) -> String {
    json!({ "verdict": verdict, "findings": findings }).to_string()
}

/// Answers by step, each in its order; the last one of a step is given again and again.
struct Answers(Mutex<BTreeMap<&'static str, VecDeque<Turn>>>);

impl Answers {
    fn new(answers: [(&'static str, Vec<Turn>); 3]) -> Self {
        Self(Mutex::new(answers.into_iter().map(|(step, turns)| (step, turns.into())).collect()))
    }

    fn next(&self, asked: &Asked) -> Turn {
        let prompt = asked.prompt();
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_step = answers.iter_mut().find(|(said, _)| prompt.contains(**said));
        let (_, turns) = of_step.expect("a step of build_website");
        if turns.len() > 1 { turns.pop_front().unwrap() } else { turns[0].clone() }
    }
}

/// Words of the descriptions of its three steps.
const SPECIFY: &str = "say which pages";
const WRITE: &str = "write the files";
const COMPARE: &str = "compare the files";

/// A planner with what is built in, a gateway, and an agent of this configuration.
async fn website(section: impl FnOnce(&Fleet) -> String) -> (Fleet, Desk) {
    let mut fleet = Fleet::with(&["gateway"]).await;
    let file = section(&fleet);
    fleet.start_with("agent", &[], &[("TIDEMILL_CONFIG", &file)]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    (fleet, desk)
}

/// Begins a run of `build_website`.
async fn build(desk: &Desk, goal: &str) {
    let body = json!({ "workflow": "build_website", "inputs": { "goal": goal } });
    let (status, made) = desk.post("/v1/runs", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
}

/// A run as the gateway shows it.
async fn shown(desk: &Desk, run: &RunSummary) -> Value {
    desk.get(&format!("/v1/runs/{}", run.run_id)).await.1
}

async fn board(desk: &Desk, run: &RunSummary) -> Value {
    desk.get(&format!("/v1/runs/{}/board", run.run_id)).await.1["board"].clone()
}

#[tokio::test]
async fn an_agent_without_a_provider_runs_and_its_jobs_die_with_what_to_do() {
    let mut fleet = Fleet::quiet().await;
    let file = fleet.servers.folder().join("think.yaml");
    std::fs::write(&file, DOCUMENT).unwrap();
    let workflows = format!("planner.workflows=[\"{}\"]", file.display());
    let intents = r#"planner.intents=[{"source":"*","purpose":"p","workflow":"think"}]"#;
    fleet.start_with("planner", &[&workflows, intents], &[]).await;
    fleet.start("gateway").await;
    fleet.start("agent").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "dead", "{runs:?}");
    assert!(runs[0].reason.starts_with("cannot be done: "), "{runs:?}");
    eventually("its stream is empty", async || {
        fleet.streams.backlog("agent").await.is_ok_and(|backlog| backlog.stream + backlog.retry == 0)
    })
    .await;
    assert!(fleet.log("agent").contains("no provider is configured"), "{}", fleet.log("agent"));
    fleet.stop().await;
}

#[tokio::test]
async fn a_website_is_built_through_an_endpoint_that_streams_errs_and_stalls() {
    let says = |text: &str| Turn::Says(text.to_owned());
    let answers = Answers::new([
        (
            SPECIFY,
            vec![Turn::Fails(500, format!("key {KEY}")), Turn::TooMany(Some(1)), says("{\"pages\": [")],
        ),
        (WRITE, vec![Turn::Stalls(code("a")), Turn::BreaksOff(code("a")), says(r#"{"files":"none"}"#)]),
        (COMPARE, vec![Turn::Silent, says(&review("change", &["no hours"])), says(&review("accept", &[]))]),
    ]);
    for (step, more) in
        [(SPECIFY, vec![spec()]), (WRITE, vec![code("<h1>Bread</h1>"), code("<h1>Bread</h1> 6 to 14")])]
    {
        let mut answers = answers.0.lock().unwrap();
        answers.get_mut(step).unwrap().extend(more.into_iter().map(Turn::Says));
    }
    let stand_in = ChatStandIn::start(move |_, asked| answers.next(asked)).await;
    let (fleet, desk) =
        website(|fleet| configuration(fleet, "agent", &chat(&stand_in, &json!({ "timeout": "3s" })))).await;
    build(&desk, "a page for a bakery").await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}\n{}", fleet.log("agent"));

    let board = board(&desk, &runs[0]).await;
    assert_eq!(board["code"]["files"][0]["content"], "<h1>Bread</h1> 6 to 14", "{board}");
    assert_eq!(board["review"]["verdict"], "accept", "the reviewer sent it back once: {board}");
    let asked = stand_in.asked();
    assert!(asked.iter().all(|asked| asked.body["stream"] == json!(true)), "it streams");
    let second = asked.iter().rev().find(|asked| asked.prompt().contains(WRITE)).unwrap().prompt();
    assert!(second.contains("no hours") && second.contains("<h1>") == second.contains("</h1>"), "{second}");

    let shown = shown(&desk, &runs[0]).await;
    let links = shown["provenance"].as_array().unwrap();
    let done: Vec<&Value> = links.iter().map(|link| &link["entry"]).filter(|e| e["what"] == "done").collect();
    let steps: Vec<&str> = done.iter().map(|entry| entry["step"].as_str().unwrap()).collect();
    let once = ["create_specs", "implement_code", "review_code", "implement_code", "review_code"];
    assert_eq!(steps, once, "{shown}");
    for entry in &done {
        assert_eq!(entry["model"], "stand-in-1", "{entry}");
        assert_eq!(entry["prompt_sha256"].as_str().map(str::len), Some(64), "{entry}");
        let usage = &entry["usage"];
        assert!(
            usage["tokens_in"].as_u64() >= Some(100) && usage["cost_micros"].as_u64() >= Some(140),
            "{entry}"
        );
    }
    assert!(shown["manifest"]["used"]["tokens_in"].as_u64() > Some(700), "failed tries are charged: {shown}");
    let of_steps: u64 =
        shown["diagnostics"].as_array().unwrap().iter().filter_map(|s| s["tokens"].as_u64()).sum();
    let used = ["tokens_in", "tokens_out"].map(|count| shown["manifest"]["used"][count].as_u64().unwrap());
    assert_eq!(of_steps, used[0] + used[1], "each try is told of its step: {shown}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn what_waits_for_a_day_for_a_provider_that_is_out_asks_a_person_and_is_tried_on() {
    let mends = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&mends);
    let stand_in = ChatStandIn::start(move |_, _| {
        if mended.load(Ordering::Relaxed) {
            Turn::Says(json!({ "text": "thought" }).to_string())
        } else {
            Turn::Fails(401, "no such key".to_owned())
        }
    })
    .await;
    let document =
        DOCUMENT.replace("description: Write them", "retries: { backoff: { initial: 10ms, max: 1s } }");
    let breaker = r#"agent.breaker={"failures":2,"pause":"200ms","longest_pause":"1s"}"#;
    let section = chat(&stand_in, &json!({}));
    let providers = format!("agent.providers={}", section["agent"]["providers"]);
    let set = ["agent.provider=main", providers.as_str(), breaker];
    let (fleet, desk) = gated(&document, "gates: {}", &["agent"], &set).await;
    let run = send(&desk, 1, "").await;
    let sql = |text: &str| {
        fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
    };
    eventually("it waits", async || !sql("SELECT memory->'waits_since'->>'think' FROM manifests").is_empty())
        .await;
    assert_eq!(sql("SELECT attempt FROM runs"), "0", "an outage counts no attempt");
    sql("UPDATE manifests SET memory = jsonb_set(memory::jsonb, '{waits_since,think}',
         to_jsonb(now() - interval '1 day'))::json");
    let question = asked(&fleet, run, "unavailable").await;
    assert!(question.question.contains("waited a day for what is out"), "{}", question.question);
    mends.store(true, Ordering::Relaxed);
    let (_, on) = resolve(&desk, &question, json!({ "decision": "approve" })).await;
    assert_eq!((&on["state"], &on["step"]), (&json!("running"), &json!("think")), "{on}");
    ends(&fleet, run, "done").await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_website_is_built_with_canned_answers_that_are_called_so() {
    let (fleet, desk) = website(|_| sample()).await;
    build(&desk, "a page for a bakery").await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    let board = board(&desk, &runs[0]).await;
    assert!(board["code"]["files"][0]["content"].as_str().unwrap().contains("Open 6 to 14"), "{board}");
    let shown = shown(&desk, &runs[0]).await;
    let models =
        shown["provenance"].as_array().unwrap().iter().filter_map(|link| link["entry"]["model"].as_str());
    assert_eq!(models.collect::<Vec<_>>(), ["script"; 5], "{shown}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_list_of_steps_is_done_in_order_by_the_built_in_pipeline_and_by_one_that_was_written_for_it() {
    let text = |text: &str| json!({ "text": text });
    let answers = json!({
        "work": [text("one"), text("two"), text("three")],
        "collect": [text("facts")], "outline": [text("points")],
    });
    let section = json!({ "agent": { "provider": "canned", "providers": { "canned": { "script": { "answers": answers } } } } });
    let (fleet, desk) = website(|fleet| configuration(fleet, "pipeline", &section)).await;
    let new = ["workflows", "new", "digest", "--steps", "collect,outline"];
    let written = tokio::process::Command::new(binary("tidemill")).args(new).output().await.unwrap();
    let version = registered(&desk, std::str::from_utf8(&written.stdout).unwrap()).await;
    activate(&desk, &version, "finish").await;
    let steps = ["collect", "outline", "write"];
    for (workflow, inputs, expected) in [
        ("generic", json!({ "goal": "a talk", "steps": steps }), json!(["one", "two", "three"])),
        ("digest", json!({ "goal": "a talk" }), json!({ "collect": "facts", "outline": "points" })),
    ] {
        let (status, made) = desk.post("/v1/runs", json!({ "workflow": workflow, "inputs": inputs })).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        eventually(&format!("{workflow} ends"), async || {
            fleet.runs().await.iter().all(|run| run.state != "running")
        })
        .await;
        let runs = fleet.runs().await;
        let run = runs.iter().find(|run| made["run_id"] == run.run_id.to_string()).unwrap();
        assert_eq!(run.state, "done", "{runs:?}");
        let board = board(&desk, run).await;
        let results = board
            .get("results")
            .cloned()
            .unwrap_or_else(|| json!({ "collect": board["collect"], "outline": board["outline"] }));
        assert_eq!(results, expected, "{board}");
    }
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_recorded_website_is_built_again_without_asking_anybody() {
    let answers = Answers::new([
        (SPECIFY, vec![Turn::Says(spec())]),
        (WRITE, vec![Turn::Says(code("one")), Turn::Says(code("two"))]),
        (COMPARE, vec![Turn::Says(review("change", &["more"])), Turn::Says(review("accept", &[]))]),
    ]);
    let stand_in = ChatStandIn::start(move |_, asked| answers.next(asked)).await;
    let mut tape = None;
    let (mut fleet, desk) = website(|fleet| {
        let folder = fleet.servers.folder().join("tape");
        tape = Some(folder.clone());
        configuration(fleet, "recording", &chat(&stand_in, &json!({ "record": folder })))
    })
    .await;
    build(&desk, "a page").await;
    let recorded = fleet.settled(1).await;
    assert_eq!(recorded[0].state, "done", "{recorded:?}");
    let asked = stand_in.asked().len();

    fleet.signal("agent", Signal::SIGKILL);
    let section = chat(&stand_in, &json!({ "replay": tape.unwrap() }));
    let file = configuration(&fleet, "replaying", &section);
    fleet.start_with("agent", &[], &[("TIDEMILL_CONFIG", &file)]).await;
    build(&desk, "a page").await;
    let both = fleet.settled(2).await;
    assert!(both.iter().all(|run| run.state == "done"), "{both:?}");
    assert_eq!(stand_in.asked().len(), asked, "nobody was asked");
    let (first, second) = (board(&desk, &both[0]).await, board(&desk, &both[1]).await);
    assert_eq!((&first, &first["code"]["files"][0]["content"]), (&second, &json!("two")));
    build(&desk, "another page").await;
    let runs = fleet.settled(3).await;
    let other = runs.iter().find(|run| run.state == "dead").expect("it was never asked");
    assert!(other.reason.contains("has no answer to this"), "{other:?}");
}

#[tokio::test]
async fn a_provider_that_is_no_good_ends_as_a_dead_letter_and_never_as_a_stuck_run() {
    for (turn, asked, words) in [
        (Turn::Says("{\"pages\": [".to_owned()), 3, "no answer fits"),
        (Turn::Says(r#"{"pages":"lies"}"#.to_owned()), 3, "no answer fits"),
        (Turn::Fails(400, "no such model".to_owned()), 1, "no such model"),
        (Turn::Fails(500, "boom".to_owned()), 5, "failed 5 times"),
        (Turn::Fails(422, "half\0a page".to_owned()), 1, "half\u{fffd}a page"),
        (Turn::Silent, 5, "failed 5 times"),
    ] {
        let told = format!("{turn:?}");
        let stand_in = ChatStandIn::start(move |_, _| turn.clone()).await;
        let section = chat(&stand_in, &json!({ "timeout": "1s" }));
        let (mut fleet, desk) = website(|fleet| configuration(fleet, "agent", &section)).await;
        build(&desk, "a page").await;
        let runs = fleet.settled(1).await;
        assert_eq!(
            (runs[0].state.as_str(), runs[0].step.as_str()),
            ("dead", "create_specs"),
            "{told}: {runs:?}"
        );
        assert!(runs[0].reason.contains(words), "{told}: {runs:?}");
        assert_eq!(stand_in.asked().len(), asked, "{told}");
        let (_, letters) = desk.get("/v1/dead-letters").await;
        assert_eq!(letters["dead_letters"].as_array().map(Vec::len), Some(1), "{told}: {letters}");
        fleet.assert_consistent().await;
        fleet.stop().await;
    }
}

/// Where a text is found in the files below a folder, but for configurations.
fn found_in(folder: &std::path::Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(found_in(&path, text));
        } else if path.extension().is_none_or(|kind| kind != "yaml") {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn a_key_that_its_endpoint_repeats_is_in_nothing_that_a_run_leaves() {
    let files =
        json!({ "files": [{ "path": format!("{KEY}.html"), "content": KEY }], "notes": KEY }).to_string();
    let answers = Answers::new([
        (
            SPECIFY,
            vec![
                Turn::Fails(500, format!("{{\"error\":{{\"message\":\"no key {KEY}\"}}}}")),
                Turn::Fails(401, format!("Bearer {KEY} is out")),
                Turn::Says(format!("{{\"{KEY}\": [")),
                Turn::Says(spec()),
            ],
        ),
        (WRITE, vec![Turn::BreaksOff(files.clone()), Turn::Says(files)]),
        (COMPARE, vec![Turn::Fails(400, format!("bad request of {KEY}"))]),
    ]);
    let stand_in = ChatStandIn::start(move |_, asked| answers.next(asked)).await;
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    fleet.start("planner").await;
    fleet.start("gateway").await;
    let more = json!({ "record": fleet.servers.folder().join("tape") });
    let file = configuration(&fleet, "agent", &chat(&stand_in, &more));
    fleet.start_with("agent", &[], &[("TIDEMILL_CONFIG", &file)]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    build(&desk, "a page").await;
    testkit::within(Duration::from_secs(150), "the run ends", async || {
        fleet.runs().await.iter().all(|run| run.state == "dead")
    })
    .await;
    let runs = fleet.settled(1).await;
    assert!(runs[0].reason.contains("bad request of ***"), "{runs:?}");
    assert!(board(&desk, &runs[0]).await["code"]["notes"].is_string());
    let mut told = shown(&desk, &runs[0]).await.to_string();
    for path in ["/v1/dead-letters", "/v1/runs", "/v1/fleet"] {
        told.push_str(&desk.get(path).await.1.to_string());
    }
    assert!(!told.contains(KEY));

    let postgres = fleet.servers.postgres.as_ref().unwrap();
    let dump = fleet.servers.folder().join("dump.sql");
    let text = "SELECT string_agg(query_to_xml('SELECT t::text FROM ' || quote_ident(table_name) || ' t',
                false, false, '')::text, '') FROM information_schema.tables
                WHERE table_schema = 'public' AND table_type = 'BASE TABLE'";
    let rows = postgres.sql("tidemill", text).unwrap();
    assert!(rows.contains("bad request of ***"), "the rows are there");
    std::fs::write(&dump, rows).unwrap();
    let log = fleet.servers.folder().join("log.txt");
    std::fs::write(log, ["agent", "gateway", "planner"].map(|name| fleet.log(name)).concat()).unwrap();
    assert_eq!(found_in(fleet.servers.folder(), KEY), Vec::<String>::new());
    let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(found_in(fleet.servers.folder(), &hex), Vec::<String>::new());
}
