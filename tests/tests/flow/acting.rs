//! Steps of agents that act outside: planned, approved, claimed in the ledger, called once.

use std::time::Duration;

use local::Signal;
use record::{Publication, PublicationState};
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::agents::configuration;
use crate::door::{ALL, Desk};
use crate::fleet::Fleet;
use crate::operators::at_the_desk;

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A page is checked, then put online by whoever does the role `deployer`.
pub(crate) fn ship(check: &str, deploy: &str) -> String {
    format!(
        "
name: ship
version: 1
goal: put a page online
untrusted: []
inputs: {{ type: object, required: [page], properties: {{ page: {{ type: string }} }} }}
blackboard: {{ type: object, properties: {{ inputs: {{ type: object }}, place: {{ type: string }} }} }}
clusters:
  yard: {{ roles: [tester, deployer], allowed_reads: [/inputs/**], allowed_writes: [/place] }}
steps:
  - id: check
    worker: agent
    role: tester
    cluster: yard
{check}
    on_success: deploy
  - id: deploy
    worker: agent
    role: deployer
    cluster: yard
    description: put it online
{deploy}
    input: {{ page: /inputs/page }}
    output_schema: {{ type: object, required: [place], properties: {{ place: {{ type: string }} }} }}
    patch: [{{ op: add, path: /place, value: /place }}]
    on_success: {{ end: done }}
"
    )
}

pub(crate) const BY_RULE: &str = "    approve: by_rule";
/// A person is asked beforehand, when there is no call yet.
const ASKS: &str =
    "    branches: [{ when: check.ok, escalate: doubt, question: Is it fit? }]\n    approve: by_rule";

/// Whoever tests is canned; whoever deploys has this provider.
pub(crate) fn section(deployer: &Value) -> Value {
    json!({ "agent": {
        "provider": "canned",
        "providers": {
            "canned": { "script": { "answers": { "check": [{ "ok": true }] } } },
            "remote": deployer,
        },
        "roles": { "deployer": { "provider": "remote" } },
        "breaker": { "failures": 3, "pause": "200ms", "longest_pause": "1s" },
    } })
}

pub(crate) struct Yard {
    pub(crate) fleet: Fleet,
    pub(crate) desk: Desk,
    pub(crate) file: String,
}

impl Yard {
    /// A planner, a gateway and an agent that know this provider, and the workflow, active.
    pub(crate) async fn with(section: impl FnOnce(&Fleet) -> Value, document: &str) -> Self {
        Self::at(section, document, "127.0.0.1:0").await
    }

    /// The same, the gateway at this address.
    pub(crate) async fn at(section: impl FnOnce(&Fleet) -> Value, document: &str, address: &str) -> Self {
        let mut fleet = Fleet::with(&[]).await;
        let section = section(&fleet);
        let file = configuration(&fleet, "yard", &section);
        start_gateway(&mut fleet, &file, address).await;
        let desk = Desk::of(&fleet, "default", &ALL).await;
        let mut yard = Self { fleet, desk, file };
        yard.agent(&[]).await;
        yard.activate(document).await;
        yard
    }

    pub(crate) async fn gateway(&mut self, address: &str) {
        start_gateway(&mut self.fleet, &self.file, address).await;
    }

    pub(crate) async fn agent(&mut self, environment: &[(&str, &str)]) {
        let mut all = vec![("TIDEMILL_CONFIG", self.file.as_str())];
        all.extend(environment);
        self.fleet.start_with("agent", &[], &all).await;
    }

    async fn register(&self, document: &str) -> (StatusCode, Value) {
        self.desk.send("POST", "/v1/workflows", "application/yaml", document.to_owned()).await
    }

    async fn activate(&self, document: &str) -> Value {
        let (status, made) = self.register(document).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        let path = format!("/v1/workflows/{}/activate", made["pipeline_version"].as_str().unwrap());
        let (status, made) = self.desk.post(&path, json!({})).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        made
    }

    pub(crate) async fn begin(&self, page: &str, more: Value) -> Value {
        let mut body = json!({ "workflow": "ship", "inputs": { "page": page } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (status, made) = self.desk.post("/v1/runs", body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        made
    }

    pub(crate) async fn ledger(&self) -> Vec<Publication> {
        self.fleet.record.publications(None, 10).await.unwrap()
    }

    /// The only question that people are asked.
    async fn question(&self) -> Value {
        let (_, open) = self.desk.get("/v1/escalations").await;
        open["escalations"].as_array().unwrap().first().cloned().unwrap_or_default()
    }

    async fn answer(&self, question: &Value, decision: &str) {
        let path = format!("/v1/escalations/{}/resolve", question["escalation_id"].as_str().unwrap());
        let (status, made) = self.desk.post(&path, json!({ "decision": decision })).await;
        assert_eq!(status, StatusCode::OK, "{made}");
    }
}

async fn start_gateway(fleet: &mut Fleet, file: &str, address: &str) {
    let address = format!("gateway.address={address}");
    fleet.start_with("gateway", &[&address], &[("TIDEMILL_CONFIG", file)]).await;
}

pub(crate) async fn worker(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

fn deployed() -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(json!({ "output": { "place": "https://example.org/1" } }))
}

pub(crate) fn http(server: &MockServer) -> Value {
    json!({ "http": { "url": server.uri(), "secret": SECRET }, "timeout": "2s" })
}

#[tokio::test]
async fn a_call_that_acts_is_approved_claimed_and_made_once_under_the_ledgers_key() {
    let server = worker(deployed()).await;
    let yard = Yard::with(|_| section(&http(&server)), &ship(BY_RULE, "")).await;
    let (status, refused) = yard.register(&ship("", "")).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let faults = refused["faults"].to_string();
    assert!(faults.contains("side effect without an approval: check → deploy"), "{refused}");
    let (_, listed) = yard.desk.get("/v1/workflows").await;
    let version = listed["workflows"].as_array().unwrap().iter().find(|one| one["name"] == "ship").unwrap();
    let (_, said) =
        at_the_desk(&yard.desk, &["workflows", "activate", version["pipeline_version"].as_str().unwrap()])
            .await;
    assert!(said.contains("Side effects, each only with an approval: deploy."), "{said}");

    yard.begin("<h1>1</h1>", json!({})).await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!((runs[0].state.as_str(), runs[0].lifecycle.as_str()), ("done", "published"), "{runs:?}");
    let ledger = yard.ledger().await;
    assert_eq!(ledger.len(), 1);
    assert_eq!((ledger[0].outlet.as_str(), ledger[0].state), ("agent.remote", PublicationState::Confirmed));
    let asked = server.received_requests().await.unwrap();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].headers["webhook-id"], ledger[0].publication_key.to_hex().as_str());
    let (_, board) = yard.desk.get(&format!("/v1/runs/{}/board", runs[0].run_id)).await;
    assert_eq!(board["board"]["place"], "https://example.org/1", "its answer is the step's output: {board}");
    let (_, shown) = yard.desk.get(&format!("/v1/runs/{}", runs[0].run_id)).await;
    let call = shown["provenance"].as_array().unwrap().iter().find(|link| link["entry"]["step"] == "deploy");
    let call = call.unwrap();
    assert_eq!(call["entry"]["what"], "done", "a call publishes nothing: {call}");
    assert!(call["entry"]["prompt_sha256"].is_string() && call["entry"]["model"].is_string(), "{call}");

    // What went out before is not done again, and its answer is known still.
    let (status, _) = yard.desk.post(&format!("/v1/runs/{}/rerun", runs[0].run_id), json!({})).await;
    assert_eq!(status, StatusCode::CREATED);
    let runs = yard.fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "done"), "{runs:?}");
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
    yard.begin("<h1>2</h1>", json!({ "dry_run": true })).await;
    let runs = yard.fleet.settled(3).await;
    assert!(runs.iter().any(|run| run.reason.contains("dry run")), "{runs:?}");
    assert_eq!((server.received_requests().await.unwrap().len(), yard.ledger().await.len()), (1, 1));
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_person_approves_the_very_call_and_without_that_nothing_is_called() {
    let server = worker(deployed()).await;
    let yard = Yard::with(|_| section(&http(&server)), &ship(ASKS, "")).await;
    for (page, decision, state) in
        [("<h1>good</h1>", "approve", "done"), ("<h1>bad</h1>", "reject", "rejected")]
    {
        let began = yard.begin(page, json!({})).await;
        let path = format!("/v1/runs/{}", began["run_id"].as_str().unwrap());
        eventually("a person is asked", async || yard.question().await["issue_type"] == "doubt").await;
        yard.answer(&yard.question().await, "approve").await;
        eventually("the call is asked about", async || {
            yard.question().await["issue_type"] == "approval_lost"
        })
        .await;
        let question = yard.question().await;
        let (_, shown) =
            yard.desk.get(&format!("/v1/escalations/{}", question["escalation_id"].as_str().unwrap())).await;
        let body = shown["content"]["body"].as_str().unwrap_or_default();
        assert!(body.contains(page) && body.contains("deployer"), "what is approved is shown: {shown}");
        let called = server.received_requests().await.unwrap().len();
        yard.answer(&question, decision).await;
        eventually("it ends", async || yard.desk.get(&path).await.1["state"] == state).await;
        let expected = called + usize::from(decision == "approve");
        assert_eq!(server.received_requests().await.unwrap().len(), expected, "{decision}");
    }
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_document_may_say_why_a_step_does_not_act_and_everybody_reads_it() {
    let server = worker(deployed()).await;
    let reads = "    side_effect_reason: it only looks where the page would be";
    let yard = Yard::with(|_| section(&http(&server)), &ship("", reads)).await;
    let made = yard.activate(&ship("", reads).replace("version: 1", "version: 2")).await;
    assert_eq!(made["side_effects"], json!([]), "{made}");
    assert_eq!(made["without_side_effect"][0]["step"], "deploy", "{made}");
    assert!(made["without_side_effect"][0]["reason"].as_str().unwrap().contains("only looks"), "{made}");
    let version = made["pipeline_version"].as_str().unwrap();
    let (_, said) = at_the_desk(&yard.desk, &["workflows", "activate", version]).await;
    assert!(said.contains("deploy counts as without side effects: it only looks"), "{said}");
    yard.begin("<h1>1</h1>", json!({})).await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    assert_eq!((server.received_requests().await.unwrap().len(), yard.ledger().await.len()), (1, 0));
}

#[tokio::test]
async fn a_call_whose_agent_dies_is_asked_for_again_under_its_key_and_never_as_another() {
    let server = worker(deployed().set_delay(Duration::from_millis(1500))).await;
    let mut yard = Yard::with(|_| section(&http(&server)), &ship(BY_RULE, "")).await;
    yard.begin("<h1>1</h1>", json!({})).await;
    eventually("it is called", async || !server.received_requests().await.unwrap().is_empty()).await;
    assert_eq!(yard.ledger().await[0].state, PublicationState::Sent);
    yard.fleet.signal("agent", Signal::SIGKILL);
    yard.agent(&[]).await;
    testkit::within(Duration::from_secs(150), "it ends", async || {
        yard.fleet.runs().await.iter().all(|run| run.state == "done")
    })
    .await;
    let (ledger, asked) = (yard.ledger().await, server.received_requests().await.unwrap());
    assert_eq!((ledger.len(), ledger[0].state), (1, PublicationState::Confirmed));
    let key = ledger[0].publication_key.to_hex();
    assert!(asked.len() >= 2 && asked.iter().all(|request| request.headers["webhook-id"] == key.as_str()));
}

#[tokio::test]
async fn a_call_that_may_have_been_made_by_a_dead_agent_is_never_taken_for_not_made() {
    let server = MockServer::start().await;
    let slow = deployed().set_delay(Duration::from_millis(1500));
    let then = |answer: ResponseTemplate| Mock::given(method("POST")).respond_with(answer);
    then(slow).up_to_n_times(1).mount(&server).await;
    then(ResponseTemplate::new(401)).up_to_n_times(1).mount(&server).await;
    then(deployed()).mount(&server).await;
    let mut yard = Yard::with(|_| section(&http(&server)), &ship(BY_RULE, "")).await;
    yard.begin("<h1>1</h1>", json!({})).await;
    eventually("it is called", async || !server.received_requests().await.unwrap().is_empty()).await;
    let claimed = yard.ledger().await.remove(0);
    yard.fleet.signal("agent", Signal::SIGKILL);
    yard.agent(&[]).await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    let ledger = yard.ledger().await;
    assert_eq!((ledger.len(), ledger[0].publication_id), (1, claimed.publication_id));
    assert_eq!(ledger[0].state, PublicationState::Confirmed);
    yard.fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_program_that_nobody_saw_end_is_unknown_and_a_person_says_what_became_of_it() {
    let program = |fleet: &Fleet| {
        let script = format!("echo x >> {}; exit 3", fleet.servers.folder().join("ran").display());
        section(&json!({ "command": { "command": ["sh", "-c", script] }, "timeout": "1s" }))
    };
    let short = "    deadline: 2s";
    let yard = Yard::with(program, &ship(BY_RULE, short)).await;
    yard.begin("<h1>1</h1>", json!({})).await;
    eventually("nobody knows", async || {
        yard.ledger().await.first().is_some_and(|row| row.state == PublicationState::Unknown)
    })
    .await;
    let runs = yard.fleet.settled(1).await;
    assert_eq!(runs[0].state, "waiting", "{runs:?}");
    let ran = || std::fs::read_to_string(yard.fleet.servers.folder().join("ran")).unwrap().lines().count();
    assert_eq!(ran(), 1, "it is not started blindly again");
    let path = format!("/v1/publications/{}/settle", yard.ledger().await[0].publication_id);
    let (status, made) = yard.desk.post(&path, json!({ "answer": "delivered" })).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let runs = yard.fleet.settled(1).await;
    assert_eq!((runs[0].state.as_str(), ran()), ("done", 1), "{runs:?}");
}
