//! Workflow documents over the API and at the desk: checked, compared, tested and drawn, and another one of the same version.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Servers, eventually};

use crate::branches::{ASKING, serving};
use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};
use crate::operators::at_the_desk;

const NOTES: &str = "
name: notes
version: 1
blackboard: { type: object, properties: { inputs: { type: object }, note: { type: string } } }
clusters: { desk: { allowed_reads: [/inputs/**], allowed_writes: [/note] } }
steps:
  - id: write
    worker: agent
    cluster: desk
    budget: { tokens: 100, cost: 1, time: 1m }
    input: { request: /inputs/request }
    patch: [{ op: add, path: /note, value: /text }]
    on_success: { end: done }
";

const FAULTY: &str = "name: notes\nversion: 1\nsteps:\n  - { id: a, worker: nobody, on_success: b }\n";

async fn send(desk: &Desk, path: &str, document: &str) -> (StatusCode, Value) {
    desk.send("POST", path, "application/yaml", document.to_owned()).await
}

#[tokio::test]
async fn a_document_is_checked_compared_and_tested_and_nothing_is_registered() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (status, found) = send(&desk, "/v1/workflows/validate", NOTES).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    let version = found["pipeline_version"].as_str().unwrap();
    assert_eq!((&found["name"], &found["side_effects"]), (&json!("notes"), &json!([])), "{found}");
    let worst =
        json!({ "steps": 1, "tokens": 100, "cost_micros": 1_000_000, "seconds": 60, "unbounded": [] });
    assert_eq!(found["worst_case"], worst, "{found}");

    let (status, problem) = send(&desk, "/v1/workflows/validate", FAULTY).await;
    let places: Vec<(u64, u64)> = problem["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["line"].as_u64().unwrap(), fault["column"].as_u64().unwrap()))
        .collect();
    assert_eq!((status, places), (StatusCode::UNPROCESSABLE_ENTITY, vec![(4, 22), (4, 42)]), "{problem}");
    let (status, _) = send(&desk, "/v1/workflows/validate", &"x".repeat((1 << 20) + 1)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);

    let (_, listed) = desk.get("/v1/workflows").await;
    let trend = listed["workflows"].as_array().unwrap().iter().find(|one| one["name"] == "trend").unwrap();
    let trend = json!({ "version": trend["pipeline_version"] });
    let (status, compared) =
        desk.post("/v1/workflows/diff", json!({ "old": trend, "new": { "document": NOTES } })).await;
    assert_eq!((status, &compared["new"]), (StatusCode::OK, &json!(version)), "{compared}");
    let lines = compared["differences"].to_string();
    assert!(lines.contains("step judge: removed") && lines.contains("step write: added"), "{lines}");
    let (_, same) = desk.post("/v1/workflows/diff", json!({ "old": trend, "new": trend })).await;
    assert_eq!(same["differences"], json!([]), "{same}");

    let cases = "cases:
  - { step: write, given: { inputs: { request: tides } }, input: { request: tides } }
  - { name: wrong, step: write, given: { output: { text: a } }, patch: [{ op: add, path: /note, value: b }] }";
    let asked = |cases: &str| json!({ "workflow": { "document": NOTES }, "cases": cases });
    let (status, tested) = desk.post("/v1/workflows/test", asked(cases)).await;
    assert_eq!((status, &tested["failed"]), (StatusCode::OK, &json!(1)), "{tested}");
    assert_eq!(tested["cases"][0], json!({ "name": "case 1 (write)", "differences": [] }), "{tested}");
    assert!(tested["cases"][1].to_string().contains("expected"), "{tested}");
    for wrong in ["cases: []", "[", "cases: [{ step: write, inptu: {} }]"] {
        let (status, problem) = desk.post("/v1/workflows/test", asked(wrong)).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
        assert!(problem["faults"][0]["message"].is_string(), "{wrong}: {problem}");
    }
    for wrong in [json!({ "version": version }), json!({ "document": FAULTY })] {
        let (status, problem) = desk.post("/v1/workflows/diff", json!({ "old": trend, "new": wrong })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "it is registered nowhere: {problem}");
    }

    let reader = Desk::of(&fleet, "default", &["read"]).await;
    assert_eq!(
        reader.post("/v1/workflows/diff", json!({ "old": trend, "new": trend })).await.0,
        StatusCode::OK
    );
    let with_document = json!({ "old": trend, "new": { "document": NOTES } });
    assert_eq!(reader.post("/v1/workflows/diff", with_document).await.0, StatusCode::FORBIDDEN);
    assert_eq!(reader.post("/v1/workflows/test", asked(cases)).await.0, StatusCode::FORBIDDEN);
    for path in ["/v1/workflows/validate", "/v1/workflows/graph"] {
        assert_eq!(send(&reader, path, NOTES).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(desk.get("/v1/workflows").await.1, listed, "nothing is registered");

    let file = fleet.servers.folder().join("notes.yaml");
    std::fs::write(&file, NOTES).unwrap();
    let (code, said) = at_the_desk(&desk, &["workflows", "register", file.to_str().unwrap()]).await;
    assert!(code == Some(0) && said.contains("at most: 1 steps, tokens 100, cost 1.00, 1m"), "{said}");
}

#[tokio::test]
async fn a_drawing_shows_how_many_open_runs_and_branches_stand_at_each_step() {
    let mut fleet = serving("asking", ASKING).await;
    for name in ["etl", "judge", "gateway"] {
        fleet.start(name).await;
    }
    fleet.add([event(1), event(2)]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    eventually("two branches wait", async || {
        let (_, listed) = desk.get("/v1/escalations").await;
        listed["escalations"].as_array().is_some_and(|asked| asked.len() == 2)
    })
    .await;
    eventually("their siblings are done", async || {
        let mut open = 0;
        for run in fleet.runs().await {
            let branches = fleet.record.branches(run.run_id).await.unwrap();
            open += branches.iter().filter(|branch| branch.ended_at.is_none()).count();
        }
        open == 2
    })
    .await;
    let version = fleet.runs().await[0].pipeline_version.clone();
    let path = format!("/v1/workflows/{version}/graph");
    let (kind, mermaid) = desk.text("GET", &path, "").await;
    assert!(
        kind.starts_with("text/vnd.mermaid") && mermaid.starts_with(&format!("%% {version}")),
        "{mermaid}"
    );
    let counts = |drawn: &str| {
        let of = |step: &str| drawn.lines().find(|line| line.contains(&format!("\"{step}<br/>")));
        ["etl", "both", "left", "right", "last"].map(|step| {
            let counted = of(step)?.rsplit_once("<br/>")?.1.split_once(" run")?.0.parse().ok();
            counted.or(Some(0_u64))
        })
    };
    let expected = [None, Some(2), Some(2), None, None];
    assert_eq!(counts(&mermaid), expected, "{mermaid}");
    let (kind, svg) = desk.text("GET", &format!("{path}?format=svg"), "").await;
    assert!(kind == "image/svg+xml" && svg.matches("class=\"k\"").count() == 2, "{svg}");
    let (_, drawn) = desk.text("POST", "/v1/workflows/graph", ASKING).await;
    assert_eq!(drawn, mermaid, "of a document the runs of the version that it would have");
    assert_eq!(desk.get(&format!("{path}?format=png")).await.0, StatusCode::BAD_REQUEST);

    let other = Desk::of(&fleet, "other", &ALL).await;
    let (_, theirs) = other.text("GET", &path, "").await;
    assert_eq!(counts(&theirs), [None; 5], "what the configuration registered, and runs of their own");
    let unknown = "/v1/workflows/asking@1-000000000000/graph";
    assert_eq!(desk.get(unknown).await.0, StatusCode::NOT_FOUND);

    let file = fleet.servers.folder().join("asking.yaml");
    std::fs::write(&file, ASKING).unwrap();
    for named in [version.as_str(), "asking", file.to_str().unwrap()] {
        let (code, said) = at_the_desk(&desk, &["workflows", "graph", named]).await;
        assert_eq!((code, counts(&said)), (Some(0), expected), "{named}: {said}");
    }
    std::fs::write(&file, NOTES).unwrap();
    let (code, said) = at_the_desk(&desk, &["workflows", "graph", file.to_str().unwrap()]).await;
    assert!(code == Some(0) && said.contains("notes@1"), "it is not registered: {said}");
}

#[tokio::test]
async fn another_document_that_has_a_known_version_is_refused_with_words() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "gateway"] {
        fleet.start(name).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, found) = send(&desk, "/v1/workflows/validate", NOTES).await;
    let version = found["pipeline_version"].as_str().unwrap();
    let postgres = fleet.servers.postgres.as_ref().unwrap();
    let insert = format!(
        "INSERT INTO workflows (pipeline_version, name, document) VALUES ('{version}', 'notes', '{{}}')"
    );
    postgres.sql("tidemill", &insert).unwrap();
    let (status, problem) = send(&desk, "/v1/workflows", NOTES).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let told = problem["detail"].as_str().unwrap();
    assert!(told.contains("another document") && told.contains(version) && told.contains("raise"), "{told}");
    assert_eq!(
        desk.get(&format!("/v1/workflows/{version}")).await.0,
        StatusCode::NOT_FOUND,
        "nothing is registered"
    );
    let (status, made) = send(&desk, "/v1/workflows", &NOTES.replace("version: 1", "version: 2")).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
}
