//! Tools that an orchestrator calls: checked, logged, and where they act outside, only with leave and through the ledger.

use std::sync::{Arc, Mutex};

use model::RunId;
use serde_json::{Value, json};
use testkit::eventually;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::door::{ALL, Desk};
use crate::fleet::Fleet;
use crate::gates::{ends, send};

const ERRANDS: &str = "
name: errands
version: 1
goal: run errands
inputs: { type: object }
blackboard: { type: object, properties: { inputs: { type: object }, notes: { type: object, default: {} } } }
clusters: { desk: { roles: [writer], allowed_reads: [/inputs, /notes], allowed_writes: [/notes/text] } }
steps:
  - id: run
    orchestrate: { role: orchestrator, clusters: [desk], tools: [weather, recall, crm.find, crm.send], max_calls: 9 }
    retries: { max_attempts: 2, backoff: { initial: 100ms, max: 200ms } }
    on_success: { end: done }
";

/// What the server is called with.
const TOKEN: &str = "hush-hush-0123456789";

type Calls = Arc<Mutex<Vec<Value>>>;

/// An MCP server with two tools, which keeps what they were called with.
async fn crm() -> (MockServer, Calls) {
    let calls = Calls::default();
    let kept = Arc::clone(&calls);
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        let message: Value = serde_json::from_slice(&request.body).unwrap();
        let answer = |result: Value| {
            let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": result });
            ResponseTemplate::new(200).set_body_json(body)
        };
        let schema =
            json!({ "type": "object", "required": ["who"], "properties": { "who": { "type": "string" } } });
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => answer(json!({
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": { "tools": {} },
                "serverInfo": { "name": "crm", "version": "1" },
            })),
            "tools/list" => answer(json!({ "tools": [
                { "name": "find", "description": "Finds somebody", "inputSchema": schema },
                { "name": "send", "inputSchema": schema },
            ] })),
            "tools/call" => {
                kept.lock().unwrap().push(message["params"].clone());
                answer(json!({ "content": [{ "type": "text", "text": "as asked" }], "isError": false }))
            }
            _ => ResponseTemplate::new(202),
        }
    };
    Mock::given(method("POST")).respond_with(respond).mount(&server).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(405)).mount(&server).await;
    (server, calls)
}

/// The section `tools`, which all processes need.
fn settings(server: &MockServer) -> (String, String) {
    let weather = json!({ "weather": {
        "description": "Says what the weather is", "side_effect": false, "side_effect_reason": "it only looks",
        "arguments": { "type": "object", "required": ["city"], "properties": { "city": { "type": "string" } } },
        "command": { "command": ["sh", "-c", "cat > /dev/null; echo '{\"sky\":\"grey\"}'"] },
    } });
    let crm = json!({ "crm": { "url": server.uri(), "token": TOKEN, "timeout": "1s", "harmless": { "find": "it only looks up" } } });
    (format!("tools.registry={weather}"), format!("tools.servers={crm}"))
}

async fn fleet(server: &MockServer, decisions: &[Value], environment: &[(&str, &str)]) -> (Fleet, Desk) {
    let mut fleet = Fleet::quiet().await;
    let file = fleet.servers.folder().join("errands.yaml");
    std::fs::write(&file, ERRANDS).unwrap();
    let (weather, crm) = settings(server);
    let workflows = format!("planner.workflows=[\"{}\"]", file.display());
    fleet.start_with("planner", &[&workflows, &weather, &crm], &[]).await;
    let script = json!({ "canned": { "script": { "answers": { "run": decisions } } } });
    let providers = format!("agent.providers={script}");
    let agent = ["agent.provider=canned", "worker.takeover_after=1s", &providers, &weather, &crm];
    fleet.start_with("agent", &agent, environment).await;
    fleet.start_with("gateway", &[&weather, &crm], &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    (fleet, desk)
}

async fn begin(desk: &Desk) -> RunId {
    let (status, begun) = desk.post("/v1/runs", json!({ "workflow": "errands", "inputs": {} })).await;
    assert!(status.is_success(), "{begun}");
    serde_json::from_value(begun["run_id"].clone()).unwrap()
}

fn uses(tool: &str, arguments: Value) -> Value {
    json!({ "call": "call_tool", "tool": tool, "arguments": arguments })
}

async fn outputs(fleet: &Fleet, run: RunId) -> Vec<Value> {
    let detail = serde_json::to_value(fleet.record.run_detail(run).await.unwrap().unwrap()).unwrap();
    let artifacts = detail["artifacts"].as_array().unwrap();
    artifacts.iter().filter(|one| one["name"] == "run").map(|one| one["body"].clone()).collect()
}

async fn decide(desk: &Desk, decision: &str) {
    let (_, open) = desk.get("/v1/escalations").await;
    let escalation = open["escalations"][0]["escalation_id"].as_str().unwrap_or_else(|| panic!("{open}"));
    let path = format!("/v1/escalations/{escalation}/resolve");
    let (status, answer) = desk.post(&path, json!({ "decision": decision })).await;
    assert!(status.is_success(), "{answer}");
}

#[tokio::test]
async fn tools_are_checked_and_logged_and_what_acts_outside_waits_for_leave_and_is_done_once() {
    let (server, calls) = crm().await;
    let decisions = [
        uses("weather", json!({ "city": 7 })),
        uses("weather", json!({ "city": "Bergen" })),
        uses("recall", json!({ "text": "harbours" })),
        uses("crm.find", json!({ "who": "Ada" })),
        uses("crm.send", json!({ "who": "Ada" })),
        json!({ "call": "stop", "reason": "all done" }),
    ];
    let (mut fleet, desk) = fleet(&server, &decisions, &[]).await;
    let run = begin(&desk).await;
    eventually("it asks for leave", async || {
        fleet.runs().await.iter().any(|run| run.state == "waiting" && run.reason.starts_with("tool_call"))
    })
    .await;
    assert_eq!(calls.lock().unwrap().len(), 1, "only what is declared harmless was called");
    let made = outputs(&fleet, run).await;
    assert!(made.len() > 7, "{made:?}");
    assert!(made[1]["refused"].as_str().unwrap_or_default().contains("/city"), "{made:?}");
    assert_eq!(
        made[3],
        json!({ "tool": "weather", "arguments": { "city": "Bergen" }, "result": { "sky": "grey" } })
    );
    assert_eq!(made[5]["result"], json!([]), "nothing was embedded: {made:?}");
    assert_eq!(made[7]["result"], "as asked");
    let (_, open) = desk.get("/v1/escalations").await;
    let id = open["escalations"][0]["escalation_id"].as_str().unwrap();
    let (_, shown) = desk.get(&format!("/v1/escalations/{id}")).await;
    assert!(shown["content"]["body"].as_str().is_some_and(|body| body.contains("Ada")), "{shown}");
    decide(&desk, "approve").await;
    fleet.settled(1).await;
    let run = fleet.runs().await.remove(0);
    assert_eq!((run.state.as_str(), run.lifecycle.as_str()), ("done", "draft"), "{run:?}");
    let sent: Vec<Value> = calls.lock().unwrap().iter().map(|call| call["name"].clone()).collect();
    assert_eq!(sent, ["find", "send"]);
    let publications = fleet.record.publications_of(run.run_id).await.unwrap();
    assert_eq!(publications.len(), 1);
    assert_eq!(
        (publications[0].outlet.as_str(), publications[0].reference.as_deref()),
        ("tool.crm.send", Some("\"as asked\""))
    );
    fleet.stop().await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_tool_call_that_is_refused_leave_is_never_made() {
    let (server, calls) = crm().await;
    let (fleet, desk) = fleet(&server, &[uses("crm.send", json!({ "who": "Ada" }))], &[]).await;
    begin(&desk).await;
    eventually("it asks for leave", async || fleet.runs().await.iter().any(|run| run.state == "waiting"))
        .await;
    let (_, open) = desk.get("/v1/escalations").await;
    let path =
        format!("/v1/escalations/{}/resolve", open["escalations"][0]["escalation_id"].as_str().unwrap());
    assert!(desk.post(&path, json!({ "decision": "reject" })).await.0.is_success());
    assert_eq!(fleet.settled(1).await[0].state, "rejected");
    assert!(calls.lock().unwrap().is_empty());
}

/// The agent dies with the call made and unheard: nobody calls again, a person says what became of it.
#[tokio::test]
async fn a_call_that_nobody_saw_end_is_not_made_again() {
    let (server, calls) = crm().await;
    let decisions = [uses("crm.send", json!({ "who": "Ada" })), json!({ "call": "stop", "reason": "done" })];
    let (mut fleet, desk) = fleet(&server, &decisions, &[("TIDEMILL_FAILPOINT", "performed")]).await;
    begin(&desk).await;
    eventually("it asks for leave", async || fleet.runs().await.iter().any(|run| run.state == "waiting"))
        .await;
    decide(&desk, "approve").await;
    let (_, dying) = fleet.workers.iter_mut().find(|(name, _)| *name == "agent").unwrap();
    assert!(dying.wait(crate::fleet::END).await.is_some());
    fleet.workers.retain(|(name, _)| *name != "agent");
    let (weather, crm) = settings(&server);
    let script = json!({ "canned": { "script": { "answers": { "run": decisions } } } });
    let providers = format!("agent.providers={script}");
    let agent = ["agent.provider=canned", "worker.takeover_after=1s", &providers, &weather, &crm];
    fleet.start_with("agent", &agent, &[]).await;
    eventually("a person is asked what became of it", async || {
        fleet.runs().await.iter().any(|run| run.reason.starts_with("publication_unknown"))
    })
    .await;
    let run = fleet.runs().await.remove(0).run_id;
    let publication = fleet.record.publications_of(run).await.unwrap().remove(0);
    let path = format!("/v1/publications/{}/settle", publication.publication_id);
    let (status, answer) = desk.post(&path, json!({ "answer": "delivered" })).await;
    assert!(status.is_success(), "{answer}");
    eventually("the run is done", async || fleet.runs().await[0].state == "done").await;
    assert_eq!(calls.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_token_that_a_tool_server_repeats_is_in_no_log_and_no_run() {
    let server = MockServer::start().await;
    let repeats = ResponseTemplate::new(403).set_body_string(format!("bad token {TOKEN}"));
    Mock::given(method("POST")).respond_with(repeats).mount(&server).await;
    let (fleet, desk) = fleet(&server, &[uses("crm.find", json!({ "who": "Ada" }))], &[]).await;
    let run = begin(&desk).await;
    eventually("the run tells what it waits for", async || {
        fleet.runs().await[0].reason.contains("bad token ***")
    })
    .await;
    let (_, shown) = desk.get(&format!("/v1/runs/{run}")).await;
    assert!(!shown.to_string().contains(TOKEN), "{shown}");
    for name in ["agent", "planner", "gateway"] {
        assert!(!fleet.log(name).contains(TOKEN), "{name}: {}", fleet.log(name));
    }
}

#[tokio::test]
async fn recall_finds_what_was_embedded_of_the_run_s_own_tenant_and_nothing_of_others() {
    let (server, _) = crm().await;
    let decisions =
        [uses("recall", json!({ "text": "a new library" })), json!({ "call": "stop", "reason": "found" })];
    let (mut fleet, desk) = fleet(&server, &decisions, &[]).await;
    for worker in ["etl", "embedding"] {
        fleet.start(worker).await;
    }
    let embedded = send(&desk, 1, "").await;
    let stranger = Desk::of(&fleet, "other", &ALL).await;
    send(&stranger, 1, "It is not for the neighbours.").await;
    eventually("both are embedded", async || fleet.runs().await.iter().all(|run| run.step == "judge")).await;
    let recalled = async || {
        let run = begin(&desk).await;
        ends(&fleet, run, "done").await;
        outputs(&fleet, run).await
    };
    // The agent's index follows the record, behind transactions that may still commit.
    eventually("it is in the index", async || recalled().await[1]["result"] != json!([])).await;
    let made = recalled().await;
    let found = made[1]["result"].as_array().unwrap();
    assert_eq!(found.len(), 1, "{made:?}");
    assert_eq!(found[0]["run_id"], json!(embedded), "{made:?}");
    assert!(found[0].to_string().contains("library"), "{made:?}");
}
