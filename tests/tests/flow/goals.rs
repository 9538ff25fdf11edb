//! Runs that are asked for by a goal.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::Fleet;

/// A workflow of one step, by which a `role` makes this `place` of the input of that name.
fn document(name: &str, goal: &str, input: &str, step: &str, role: &str, place: &str) -> String {
    format!(
        "
name: {name}
version: 1
goal: {goal}
inputs: {{ type: object, required: [{input}], properties: {{ {input}: {{ type: string }} }} }}
blackboard: {{ type: object }}
clusters:
  desk: {{ roles: [{role}], allowed_reads: [/inputs/**], allowed_writes: [/{place}] }}
steps:
  - id: {step}
    worker: agent
    role: {role}
    cluster: desk
    input: {{ {input}: /inputs/{input} }}
    patch: [{{ op: add, path: /{place}, value: /text }}]
    on_success: {{ end: done }}
"
    )
}

/// The one that is there.
fn notes() -> String {
    document("notes", "write a short note on a topic for the museum", "topic", "compose", "coder", "note")
}

/// The one that the model writes.
fn menu() -> String {
    document("menu", "plan the menu of a canteen", "wish", "cook", "generic", "menu")
}

/// A planner that knows the documents, and an agent whose brain is a script of these answers.
pub(crate) async fn thinking(workflows: &[(&str, &str)], answers: Value, settings: &[&str]) -> (Fleet, Desk) {
    let mut fleet = Fleet::quiet().await;
    let files: Vec<String> = workflows
        .iter()
        .map(|(name, document)| {
            let file = fleet.servers.folder().join(format!("{name}.yaml"));
            std::fs::write(&file, document).unwrap();
            file.display().to_string()
        })
        .collect();
    let files = format!("planner.workflows={}", json!(files));
    let settings: Vec<&str> = std::iter::once(files.as_str()).chain(settings.iter().copied()).collect();
    fleet.start_with("planner", &settings, &[]).await;
    fleet.start("gateway").await;
    let providers = json!({ "script": { "script": { "answers": answers } } });
    let providers = format!("agent.providers={providers}");
    fleet.start_with("agent", &["agent.provider=script", &providers], &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    (fleet, desk)
}

fn answers() -> Value {
    let wrong = "name: menu\nversion: 1\nsteps: [{ id: cook, worker: nobody, on_success: nowhere }]\n";
    json!({
        "compose": [{ "text": "Tides come twice a day." }],
        "write": [
            { "document": wrong },
            { "document": format!("{}untrusted: []\n", menu()) },
            { "document": menu() },
        ],
        "cook": [{ "text": "Soup." }],
    })
}

fn writing() -> &'static str {
    rails::builtin(rails::WRITE_WORKFLOW).unwrap().document
}

async fn begun(desk: &Desk, body: Value) -> Value {
    let (status, answer) = desk.post("/v1/runs", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    answer
}

#[tokio::test]
async fn a_goal_takes_the_active_workflow_that_fits_it_or_is_refused_with_the_nearest() {
    let (fleet, desk) = thinking(&[("notes", &notes())], answers(), &[]).await;
    let run = begun(&desk, json!({ "goal": "Please write a note for our museum" })).await;
    assert!(run["pipeline_version"].as_str().unwrap().starts_with("notes@1-"), "{run}");
    assert!(run["fit"].as_f64().unwrap() >= 0.5, "{run}");
    let (_, shown) = desk.get(&format!("/v1/runs/{}?wait=60s", run["run_id"].as_str().unwrap())).await;
    assert_eq!(shown["state"], "done", "{shown}");

    let (status, problem) = desk.post("/v1/runs", json!({ "goal": "Repair the engine of a ferry" })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let told = problem["detail"].as_str().unwrap();
    assert!(told.contains("nearest are [") && told.contains("write_workflow"), "{told}");
    for body in [
        json!({}),
        json!({ "goal": "a note", "workflow": "notes" }),
        json!({ "goal": " " }),
        json!({ "workflow": "notes" }),
        // It takes a topic, and not this.
        json!({ "goal": "write a note for the museum", "inputs": { "wish": 1 } }),
    ] {
        assert!(desk.post("/v1/runs", body.clone()).await.0.is_client_error(), "{body}");
    }
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn where_none_fits_a_model_writes_one_that_is_checked_and_approved_before_it_runs() {
    let (fleet, desk) = thinking(&[("notes", &notes()), ("write", writing())], answers(), &[]).await;
    let run =
        begun(&desk, json!({ "goal": "Plan meals of the canteen", "inputs": { "wish": "warm" } })).await;
    let run_id = run["run_id"].as_str().unwrap();
    assert!(run["pipeline_version"].as_str().unwrap().starts_with("write_workflow@1-"), "{run}");
    eventually("a person is asked", async || {
        desk.get(&format!("/v1/runs/{run_id}")).await.1["state"] == "waiting"
    })
    .await;
    let (_, shown) = desk.get(&format!("/v1/runs/{run_id}")).await;
    assert_eq!(
        shown["manifest"]["visits"]["write"], 3,
        "faults, and trust in what comes from outside: {shown}"
    );
    let (_, board) = desk.get(&format!("/v1/runs/{run_id}/board")).await;
    assert!(board["board"]["check"]["pipeline_version"].as_str().unwrap().starts_with("menu@1-"), "{board}");
    let (_, listed) = desk.get("/v1/workflows").await;
    assert!(
        !listed.to_string().contains("menu@1-"),
        "nothing is registered before a person agrees: {listed}"
    );

    let escalation = &shown["escalation"];
    let path = format!("/v1/escalations/{}/resolve", escalation["escalation_id"].as_str().unwrap());
    let answer = json!({ "decision": "approve", "version": escalation["version"] });
    let (status, decided) = desk.post(&path, answer).await;
    assert!(status.is_success(), "{decided}");
    let runs = fleet.settled(2).await;
    let menu = runs.iter().find(|run| run.pipeline_version.starts_with("menu@1-")).expect("it runs");
    assert_eq!((menu.state.as_str(), menu.source.as_str()), ("done", "goals"), "{runs:?}");
    let (_, board) = desk.get(&format!("/v1/runs/{}/board", menu.run_id)).await;
    assert_eq!(board["board"]["menu"], "Soup.", "{board}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn policy_may_let_what_a_model_wrote_run_without_a_person() {
    let settings = [r#"planner.values={"write_workflow":{"ask":false}}"#];
    let (fleet, desk) = thinking(&[("write", writing())], answers(), &settings).await;
    begun(&desk, json!({ "goal": "Plan meals of the canteen", "inputs": { "wish": "warm" } })).await;
    let runs = fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "done"), "{runs:?}");
    let writer = runs.iter().find(|run| run.pipeline_version.starts_with("write_workflow@")).unwrap();
    let (_, shown) = desk.get(&format!("/v1/runs/{}", writer.run_id)).await;
    assert_eq!(shown["manifest"]["visits"]["write"], 3, "it trusts nothing that comes from outside: {shown}");
    fleet.assert_consistent().await;
}
