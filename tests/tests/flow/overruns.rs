//! Budgets beyond a run, on real processes: what they stop, what people answer, and what a crash makes of them.

use local::Signal;
use serde_json::{Value, json};
use testkit::{ChatStandIn, Turn, eventually};

use crate::fleet::{END, metrics};
use crate::gates::{asked, asks, ends, gated, resolve, send};

const DOCUMENT: &str = "
name: spends
version: 1
steps:
  - { id: one, worker: agent, role: writer, budget: { tokens: 5000 }, on_success: two }
  - { id: two, worker: agent, role: writer, budget: { tokens: 5000 }, on_success: { end: done } }
";

/// Bounds of a tenant's day.
fn bounds(tokens: u64) -> String {
    format!("budgets:\n  - {{ per: day, tokens: {tokens} }}\n")
}

/// Agents whose model is this endpoint; each of its answers is 120 tokens. The cheaper one is a script.
fn agents(chat: &ChatStandIn) -> Vec<String> {
    let providers = json!({
        "dear": { "openai": { "base_url": format!("{}/v1", chat.url()), "model": "dear" }, "cheaper": "canned" },
        "canned": { "script": { "answers": { "writer": [{ "text": "canned" }] } } },
    });
    let roles = json!({ "writer": { "prompt": "Write." } });
    vec![
        format!("agent.providers={providers}"),
        format!("agent.roles={roles}"),
        "agent.provider=dear".to_owned(),
    ]
}

#[tokio::test]
async fn a_used_up_day_parks_runs_and_a_person_tops_it_up_goes_on_cheaper_or_stops() {
    let chat = ChatStandIn::saying(r#"{"text": "dear"}"#).await;
    let set = agents(&chat);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (fleet, desk) = gated(DOCUMENT, &bounds(5100), &["agent"], &set).await;
    let sql = |text: &str| {
        fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
    };

    // The first step spends 120 of 5100, so that 5000 more do not fit in.
    let first = send(&desk, 1, "").await;
    let overrun = asked(&fleet, first, "budget_overrun").await;
    assert_eq!(overrun.rule.as_deref(), Some("budget of the tenant for this day"));
    assert_eq!(sql("SELECT tokens FROM spending WHERE scope = 'day'"), "120");
    assert_eq!(
        sql("SELECT count(*) FROM reserved_spending"),
        "0",
        "what waits for a person has nothing reserved"
    );
    assert_eq!(sql("SELECT count(*) FROM notices WHERE kind = 'budget_overrun'"), "1");
    let agent = &fleet.workers.iter().find(|(name, _)| *name == "agent").unwrap().1;
    assert!(metrics(agent).await.contains("\ntidemill_budget_overruns_total 1"), "{}", metrics(agent).await);

    // Of another run nothing begins: its first step is reserved before it is done.
    let second = send(&desk, 2, "").await;
    let begun = asked(&fleet, second, "budget_overrun").await;
    assert_eq!(chat.asked().len(), 1, "nobody was asked for the second run");
    let (_, stopped) = resolve(&desk, &begun, json!({ "decision": "stop" })).await;
    assert_eq!(stopped["state"], "rejected", "{stopped}");

    let (_, on) = resolve(&desk, &overrun, json!({ "decision": "cheaper", "more": { "tokens": 100 } })).await;
    assert_eq!((&on["state"], &on["step"]), (&json!("running"), &json!("two")), "{on}");
    ends(&fleet, first, "done").await;
    assert_eq!(chat.asked().len(), 1, "the cheaper one was asked");
    let (_, shown) = desk.get(&format!("/v1/runs/{first}")).await;
    let artifacts = shown["artifacts"].as_array().unwrap();
    let two = artifacts.iter().find(|artifact| artifact["name"] == "two").unwrap();
    assert_eq!(two["body"], json!({ "text": "canned" }), "{shown}");
    assert_eq!(sql("SELECT granted_tokens FROM spending WHERE scope = 'day'"), "100");

    // The day is a little larger now: what was granted is granted to it.
    let third = send(&desk, 3, "").await;
    let again = asked(&fleet, third, "budget_overrun").await;
    let (_, topped) =
        resolve(&desk, &again, json!({ "decision": "top_up", "more": { "tokens": 5000 } })).await;
    assert_eq!(topped["state"], "running", "{topped}");
    ends(&fleet, third, "done").await;
    assert_eq!(sql("SELECT tokens FROM spending WHERE scope = 'day'"), "360");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn publishing_stops_where_the_day_has_cost_more_than_its_corridor_allows() {
    const DOCUMENT: &str = "
name: dear
version: 1
steps:
  - { id: write, worker: agent, role: writer, on_success: last }
  - { id: last, worker: etl, gates: { before: [purse] }, on_success: { end: done } }
";
    const GATES: &str = "gates: { purse: { budget_corridor: { cost_per_day: { max: 0.15 } } } }";
    let chat = ChatStandIn::saying(r#"{"text": "dear"}"#).await;
    let providers = json!({ "dear": {
        "openai": { "base_url": format!("{}/v1", chat.url()), "model": "dear" },
        "price": { "input": 1000, "output": 1000 },
    } });
    let set = [format!("agent.providers={providers}"), "agent.provider=dear".to_owned()];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (fleet, desk) = gated(DOCUMENT, GATES, &["agent", "etl"], &set).await;
    // Each call is 120 tokens at a thousandth.
    let first = send(&desk, 1, "").await;
    ends(&fleet, first, "done").await;
    let second = send(&desk, 2, "").await;
    let stopped = asked(&fleet, second, "budget_corridor").await;
    assert_eq!(stopped.rule.as_deref(), Some("gate:purse"));
    let (status, refused) = resolve(&desk, &stopped, json!({ "decision": "approve" })).await;
    assert_eq!(status, reqwest::StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let sql = |text: &str| fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap();
    sql("UPDATE spending SET subject = '2026-01-01' WHERE scope = 'day'");
    let (status, answer) = resolve(&desk, &stopped, json!({ "decision": "approve" })).await;
    assert!(status.is_success(), "another day: {answer}");
    ends(&fleet, second, "done").await;
    fleet.assert_consistent().await;
}

/// Two calls of 140 millionths are too dear for the first step; the prompt alone is too long for the second.
const TIGHT: &str = "
name: tight
version: 1
steps:
  - id: one
    worker: agent
    role: writer
    budget: { cost: 0.0001 }
    output_schema: { type: object, required: [text], properties: { text: { type: string } } }
    on_success: two
  - { id: two, worker: agent, role: writer, budget: { tokens: 10 }, on_success: { end: done } }
";

#[tokio::test]
async fn a_budget_that_does_not_suffice_in_the_middle_of_a_step_parks_the_run_with_what_was_spent() {
    let chat = ChatStandIn::start(|number, _| {
        let text = if number % 3 == 0 { json!(["no text"]) } else { json!("dear") };
        Turn::Says(json!({ "text": text }).to_string())
    })
    .await;
    let mut set = agents(&chat);
    set[0] = set[0].replace(r#""cheaper""#, r#""price":{"input":1.0,"output":2.0},"cheaper""#);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (fleet, desk) = gated(TIGHT, &bounds(1_000_000), &["agent"], &set).await;
    let sql = |text: &str| {
        fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
    };
    let calls = || chat.asked().len();

    let run = send(&desk, 1, "").await;
    let overrun = asked(&fleet, run, "budget_overrun").await;
    assert_eq!((overrun.rule.as_deref(), calls()), (Some("budget of the step"), 1));
    assert_eq!(sql("SELECT cost_micros FROM spending WHERE scope = 'day'"), "140", "it is settled");
    let (_, shown) = desk.get(&format!("/v1/runs/{run}")).await;
    assert_eq!((&shown["state"], &shown["step"]), (&json!("parked"), &json!("one")), "{shown}");
    let more = json!({ "decision": "top_up", "more": { "cost_micros": 1000 } });
    let (_, on) = resolve(&desk, &overrun, more).await;
    assert_eq!(on["state"], "running", "{on}");

    let first = overrun.escalation_id;
    eventually("it is asked about the second step", async || {
        asks(&fleet, run).await.is_some_and(|open| open.escalation_id != first)
    })
    .await;
    let overrun = asked(&fleet, run, "budget_overrun").await;
    assert!(
        overrun.question.contains("Before `two` the budget of tokens of the step"),
        "{}",
        overrun.question
    );
    assert_eq!(calls(), 2, "nobody is asked what is not paid for");
    let few = json!({ "decision": "top_up", "more": { "tokens": 10 } });
    let (_, still) = resolve(&desk, &overrun, few).await;
    assert_eq!(still["state"], "parked", "{still}");
    let again = asked(&fleet, run, "budget_overrun").await;
    assert_ne!(again.escalation_id, overrun.escalation_id);
    let enough = json!({ "decision": "top_up", "more": { "tokens": 5000 } });
    resolve(&desk, &again, enough).await;
    ends(&fleet, run, "done").await;

    let other = send(&desk, 2, "").await;
    let overrun = asked(&fleet, other, "budget_overrun").await;
    let (_, stopped) = resolve(&desk, &overrun, json!({ "decision": "stop" })).await;
    assert_eq!((&stopped["state"], calls()), (&json!("rejected"), 4), "{stopped}");
    assert_eq!(sql("SELECT cost_micros FROM spending WHERE scope = 'day'"), "560");
    assert_eq!(sql("SELECT count(*) FROM reserved_spending"), "0");
    assert_eq!(sql("SELECT count(*) FROM dead_letters"), "0");
    fleet.assert_consistent().await;
}

/// Around each commit that settles what a try spent and reserves for the next one, and everywhere between two of them. The
/// first passage of the three reserves for the first step.
#[tokio::test]
async fn whoever_dies_around_a_commit_that_reserves_leaves_spending_and_runs_that_agree() {
    const POINTS: [&str; 17] = [
        "read:1",
        "commit:1",
        "committed:1",
        "hand_over:1",
        "handed_over:1",
        "read:2",
        "handled:1",
        "commit:2",
        "committed:2",
        "hand_over:2",
        "handed_over:2",
        "read:3",
        "handled:2",
        "commit:3",
        "committed:3",
        "hand_over:3",
        "handed_over:3",
    ];
    let chat = ChatStandIn::saying(r#"{"text": "dear"}"#).await;
    let set = agents(&chat);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (mut fleet, desk) = gated(DOCUMENT, &bounds(1_000_000), &[], &set).await;
    let gates = fleet.servers.folder().join("gates.yaml");
    let files = format!("gates.files={}", json!([gates.display().to_string()]));
    let set: Vec<&str> = set.iter().copied().chain(["worker.takeover_after=1s", &files]).collect();
    for (round, point) in POINTS.iter().enumerate() {
        let marker = fleet.servers.folder().join(format!("died-at-{}", point.replace(':', "-")));
        let environment = [
            ("TIDEMILL_FAILPOINT", *point),
            ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().expect("a path in UTF-8")),
        ];
        fleet.start_with("agent", &set, &environment).await;
        let run = send(&desk, round, "").await;
        let (_, dying) = fleet.workers.last_mut().expect("the worker just started");
        let died = dying.wait(END).await;
        assert!(died.is_some_and(|status| status.code().is_none()), "it dies at {point}: {}", dying.log());
        fleet.workers.pop();
        fleet.start_with("agent", &set, &environment).await;
        ends(&fleet, run, "done").await;
        fleet.assert_consistent().await;
        fleet.signal("agent", Signal::SIGKILL);
        fleet.workers.pop();
    }
    let sql = |text: &str| {
        fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
    };
    let worked = sql("SELECT sum((memory->'used'->>'millis')::bigint) FROM manifests");
    assert_eq!(
        sql("SELECT millis FROM spending WHERE scope = 'day'"),
        worked,
        "what workers took, and nothing else"
    );
    let kept = "sum((memory->'used'->>'tokens_in')::bigint + (memory->'used'->>'tokens_out')::bigint)";
    let kept = sql(&format!("SELECT {kept} FROM manifests"));
    let calls = format!("{}", POINTS.len() * 2 * 120);
    assert_eq!(kept, calls, "two calls of each run are charged, be it that one was made twice");
    for scope in ["day", "intent", "tenant"] {
        assert_eq!(sql(&format!("SELECT tokens FROM spending WHERE scope = '{scope}'")), kept, "{scope}");
    }
    assert_eq!(sql("SELECT count(*) FROM reserved_spending"), "0");
    let runs: Vec<Value> = fleet.runs().await.iter().map(|run| json!(run.state)).collect();
    assert_eq!(runs, vec![json!("done"); POINTS.len()]);
}

/// Around the commit that parks a run because the day does not suffice for its second step.
#[tokio::test]
async fn whoever_dies_around_a_commit_that_parks_asks_once_and_has_nothing_reserved() {
    const POINTS: [&str; 5] = ["handled:1", "commit:2", "committed:2", "hand_over:2", "handed_over:2"];
    let chat = ChatStandIn::saying(r#"{"text": "dear"}"#).await;
    let set = agents(&chat);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    let (mut fleet, desk) = gated(DOCUMENT, &bounds(5100), &[], &set).await;
    let gates = fleet.servers.folder().join("gates.yaml");
    let files = format!("gates.files={}", json!([gates.display().to_string()]));
    let set: Vec<&str> = set.iter().copied().chain(["worker.takeover_after=1s", &files]).collect();
    let sql = |fleet: &crate::fleet::Fleet, text: &str| {
        fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
    };
    for (round, point) in POINTS.iter().enumerate() {
        let marker = fleet.servers.folder().join(format!("parked-died-at-{}", point.replace(':', "-")));
        let environment = [
            ("TIDEMILL_FAILPOINT", *point),
            ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().expect("a path in UTF-8")),
        ];
        fleet.start_with("agent", &set, &environment).await;
        let run = send(&desk, round, "").await;
        let (_, dying) = fleet.workers.last_mut().expect("the worker just started");
        let died = dying.wait(END).await;
        assert!(died.is_some_and(|status| status.code().is_none()), "it dies at {point}: {}", dying.log());
        fleet.workers.pop();
        fleet.start_with("agent", &set, &environment).await;
        let overrun = asked(&fleet, run, "budget_overrun").await;
        let count = format!("SELECT count(*) FROM escalations WHERE run_id = '{run}'");
        assert_eq!(sql(&fleet, &count), "1", "asked once after a death at {point}");
        assert_eq!(sql(&fleet, "SELECT count(*) FROM reserved_spending"), "0", "after a death at {point}");
        let answer = json!({ "decision": "top_up", "more": { "tokens": 5000 } });
        let (status, said) = resolve(&desk, &overrun, answer).await;
        assert!(status.is_success(), "{said}");
        ends(&fleet, run, "done").await;
        fleet.assert_consistent().await;
        fleet.signal("agent", Signal::SIGKILL);
        fleet.workers.pop();
        // The next day begins with nothing spent.
        sql(&fleet, "UPDATE spending SET tokens = 0, granted_tokens = 0");
    }
}
