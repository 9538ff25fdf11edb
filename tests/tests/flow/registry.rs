//! Workflows are registered and activated in two acts, and runs of any of them are asked for, stopped and sent through anew.

use model::RunId;
use record::RunSummary;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event};
use crate::notifications::{Does, Receiver};
use crate::operators::at_the_desk;

/// A workflow without an embedding; each version says something else.
pub(crate) fn digest(version: u32) -> String {
    format!(
        "name: digest\nversion: {version}\ngoal: tell of what is asked for\nsteps:\n  \
         - {{ id: etl, worker: etl, on_success: judge }}\n  \
         - {{ id: judge, worker: judge, approve: by_rule, on_success: publish }}\n  \
         - {{ id: publish, worker: publisher, side_effect: true, on_success: {{ end: published }} }}\n"
    )
}

async fn register(desk: &Desk, document: &str) -> (StatusCode, Value) {
    desk.send("POST", "/v1/workflows", "application/yaml", document.to_owned()).await
}

/// Registers a document; its version.
pub(crate) async fn registered(desk: &Desk, document: &str) -> String {
    let (status, made) = register(desk, document).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made["pipeline_version"].as_str().unwrap().to_owned()
}

pub(crate) async fn activate(desk: &Desk, version: &str, runs: &str) -> Value {
    let (status, made) =
        desk.post(&format!("/v1/workflows/{version}/activate"), json!({ "runs": runs })).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    made
}

/// Begins runs of the digest, numbered.
async fn begin(desk: &Desk, numbers: std::ops::Range<usize>) {
    for number in numbers {
        let (request_id, payload) = event(number);
        let body = json!({ "workflow": "digest", "inputs": payload, "request_id": request_id });
        let (status, made) = desk.post("/v1/runs", body).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
    }
}

/// Waits until so many running runs stand at a step.
pub(crate) async fn stand_at(fleet: &Fleet, step: &str, count: usize) {
    eventually(&format!("{count} runs stand at {step}"), async || {
        let runs = fleet.runs().await;
        runs.iter().filter(|run| run.state == "running" && run.step == step).count() == count
    })
    .await;
}

pub(crate) fn pinned<'a>(runs: &'a [RunSummary], version: &str) -> Vec<&'a RunSummary> {
    runs.iter().filter(|run| run.pipeline_version == version).collect()
}

async fn whats(fleet: &Fleet, run: RunId) -> Vec<String> {
    let detail = fleet.record.run_detail(run).await.unwrap().unwrap();
    let told = |link: &record::ProvenanceView| {
        let entry: Value = serde_json::from_str(link.entry.get()).unwrap();
        format!("{} {}", entry["what"].as_str().unwrap(), entry["step"].as_str().unwrap()).trim().to_owned()
    };
    detail.provenance.iter().map(told).collect()
}

#[tokio::test]
async fn a_workflow_with_faults_is_refused_with_all_of_them_and_registering_activates_nothing() {
    let fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let faulty = "name: Digest\nversion: 1\nsteps:\n  - { id: a, worker: nobody, on_success: nowhere }\n";
    let (status, problem) = register(&desk, faulty).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    let told = problem["faults"].to_string();
    assert!(["lower-case", "nobody", "nowhere"].iter().all(|word| told.contains(word)), "{problem}");
    assert!(problem["faults"].as_array().unwrap().len() >= 3, "all at once: {problem}");
    for broken in ["", "[", "name: {", "\u{0}"] {
        assert!(register(&desk, broken).await.0.is_client_error(), "{broken:?}");
    }
    let (_, before) = desk.get("/v1/workflows").await;
    assert!(before["workflows"].as_array().unwrap().iter().all(|one| one["name"] != "Digest"), "{before}");

    let version = registered(&desk, &digest(1)).await;
    let (status, again) = register(&desk, &digest(1)).await;
    assert_eq!((status, &again["created"]), (StatusCode::OK, &json!(false)));
    assert_eq!(again["active_version"], Value::Null, "{again}");
    let as_json = json!({ "name": "digest", "version": 9, "steps": [
        { "id": "etl", "worker": "etl", "on_success": { "end": "done" } }] });
    let (status, made) = desk.post("/v1/workflows", as_json).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let body = json!({ "workflow": "digest", "inputs": { "body": "text" } });
    let (status, problem) = desk.post("/v1/runs", body).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "nothing is active: {problem}");

    let path = format!("/v1/workflows/{version}");
    let other = Desk::of(&fleet, "other", &ALL).await;
    assert_eq!(other.get(&path).await.0, StatusCode::NOT_FOUND);
    assert_eq!(other.post(&format!("{path}/activate"), json!({})).await.0, StatusCode::NOT_FOUND);
    let reader = Desk::of(&fleet, "default", &["read"]).await;
    assert_eq!(reader.post(&format!("{path}/activate"), json!({})).await.0, StatusCode::FORBIDDEN);
    assert_eq!(register(&reader, &digest(3)).await.0, StatusCode::FORBIDDEN);
    let (_, shown) = reader.get(&path).await;
    assert_eq!((&shown["active"], &shown["document"]["version"]), (&json!(false), &json!(1)), "{shown}");
    let (code, said) = at_the_desk(&desk, &["workflows", "activate", &version]).await;
    assert!(code == Some(0) && said.contains("is active"), "{said}");
    let (_, said) = at_the_desk(&desk, &["workflows", "list"]).await;
    assert!(said.contains(&version) && said.contains("trend@1"), "{said}");
}

#[tokio::test]
async fn runs_stay_with_their_version_or_are_migrated_and_posts_come_once() {
    let mut fleet = Fleet::with(&["gateway", "etl"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let mut versions = Vec::new();
    for number in 1..=3 {
        versions.push(registered(&desk, &digest(number)).await);
    }
    activate(&desk, &versions[0], "finish").await;
    begin(&desk, 0..3).await;
    stand_at(&fleet, "judge", 3).await;
    let finish = activate(&desk, &versions[1], "finish").await;
    assert_eq!((&finish["open_runs"], &finish["previous"]), (&json!(3), &json!(versions[0])), "{finish}");
    assert!(finish["finished_at"].is_string(), "nothing is left to do: {finish}");
    begin(&desk, 3..4).await;
    stand_at(&fleet, "judge", 4).await;
    let runs = fleet.runs().await;
    assert_eq!((pinned(&runs, &versions[0]).len(), pinned(&runs, &versions[1]).len()), (3, 1));

    let migrate = activate(&desk, &versions[2], "migrate").await;
    assert_eq!((&migrate["open_runs"], &migrate["finished_at"]), (&json!(4), &Value::Null), "{migrate}");
    eventually("all four were migrated", async || {
        let runs = fleet.runs().await;
        let new = pinned(&runs, &versions[2]);
        new.len() == 4 && new.iter().all(|run| run.step == "judge")
    })
    .await;
    let runs = fleet.runs().await;
    for new in pinned(&runs, &versions[2]) {
        let old = runs.iter().find(|run| Some(run.run_id.0) == new.rerun_of).unwrap();
        assert_eq!((old.state.as_str(), &old.request_id), ("cancelled", &new.request_id));
        assert_eq!(whats(&fleet, new.run_id).await, ["accepted", "carried etl"], "what fits is carried");
        assert!(new.enriched_trend_id.is_some() && new.enriched_trend_id != old.enriched_trend_id);
    }
    let (_, shown) = desk.get(&format!("/v1/workflows/{}", versions[2])).await;
    assert_eq!(
        (&shown["activations"][0]["dealt_with"], &shown["open_runs"]),
        (&json!(4), &json!(4)),
        "{shown}"
    );

    for worker in ["judge", "publisher"] {
        fleet.start(worker).await;
    }
    let runs = fleet.settled(8).await;
    assert!(pinned(&runs, &versions[2]).iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
    eventually("the activation is finished once latecomers are excluded", async || {
        let (_, shown) = desk.get(&format!("/v1/workflows/{}", versions[2])).await;
        shown["activations"][0]["finished_at"].is_string()
    })
    .await;
}

/// A workflow with a blackboard, on which a writer notes something of its own accord.
fn noted(version: u32) -> String {
    format!(
        "
name: noted
version: {version}
blackboard: {{ type: object, properties: {{ inputs: {{ type: object }}, note: {{ type: string }}, language: {{ type: string }} }} }}
clusters:
  desk: {{ roles: [writer], allowed_reads: [/inputs/**], allowed_writes: [/note, /language] }}
steps:
  - {{ id: etl, worker: etl, on_success: write }}
  - id: write
    worker: agent
    role: writer
    cluster: desk
    patch: [{{ op: add, path: /language, value: output.language }}]
    on_success: judge
  - {{ id: judge, worker: judge, on_success: {{ end: done }} }}
"
    )
}

#[tokio::test]
async fn what_was_made_of_a_blackboard_is_carried_with_what_was_proposed_for_it() {
    let mut fleet = Fleet::with(&["gateway", "etl"]).await;
    let said = |note: &str| {
        let patch = [json!({ "op": "add", "path": "/note", "value": note })];
        json!({ "output": { "language": "en" }, "patch": patch })
    };
    let answers = json!({ "write": [said("the first"), said("the second")] });
    let providers = json!({ "canned": { "script": { "answers": answers } } });
    let settings = [format!("agent.providers={providers}"), "agent.provider=canned".to_owned()];
    fleet.start_with("agent", &settings.each_ref().map(String::as_str), &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let versions = [registered(&desk, &noted(1)).await, registered(&desk, &noted(2)).await];
    activate(&desk, &versions[0], "finish").await;
    let body = json!({ "workflow": "noted", "inputs": event(1).1 });
    let (status, made) = desk.post("/v1/runs", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    stand_at(&fleet, "judge", 1).await;
    activate(&desk, &versions[1], "migrate").await;
    eventually("the run was migrated", async || {
        let runs = fleet.runs().await;
        let new = pinned(&runs, &versions[1]);
        new.len() == 1 && new[0].step == "judge"
    })
    .await;
    let runs = fleet.runs().await;
    let new = pinned(&runs, &versions[1])[0];
    assert_eq!(whats(&fleet, new.run_id).await, ["accepted", "carried etl", "carried write"]);
    let (_, board) = desk.get(&format!("/v1/runs/{}/board", new.run_id)).await;
    let there = (&board["board"]["note"], &board["board"]["language"], &board["board"]["inputs"]);
    assert_eq!(there, (&json!("the first"), &json!("en"), &event(1).1), "{board}");
    fleet.start("judge").await;
    let runs = fleet.settled(2).await;
    assert_eq!(pinned(&runs, &versions[1])[0].state, "done", "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_planner_that_dies_while_it_migrates_leaves_the_rest_to_the_next() {
    let mut fleet = Fleet::quiet().await;
    fleet.start_with("planner", &[], &[("TIDEMILL_FAILPOINT", "migrated:2")]).await;
    for worker in ["gateway", "etl"] {
        fleet.start(worker).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (one, two) = (registered(&desk, &digest(1)).await, registered(&desk, &digest(2)).await);
    activate(&desk, &one, "finish").await;
    begin(&desk, 0..5).await;
    stand_at(&fleet, "judge", 5).await;
    activate(&desk, &two, "migrate").await;
    let died = fleet.workers[0].1.wait(END).await;
    assert!(died.is_some_and(|status| status.code().is_none()), "{}", fleet.log("planner"));
    fleet.workers.remove(0);
    let migrated = pinned(&fleet.runs().await, &two).len();
    assert_eq!(migrated, 2, "the second was committed before the death");
    fleet.start("planner").await;
    // The dead one's lease has to expire first.
    eventually("all are migrated", async || pinned(&fleet.runs().await, &two).len() == 5).await;
    for worker in ["judge", "publisher"] {
        fleet.start(worker).await;
    }
    let runs = fleet.settled(10).await;
    let new = pinned(&runs, &two);
    assert!(new.len() == 5 && new.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn two_gateways_that_activate_at_once_agree_and_the_last_word_cancels() {
    let mut fleet = Fleet::with(&["gateway", "etl"]).await;
    let first = Desk::of(&fleet, "default", &ALL).await;
    let mut versions = Vec::new();
    for number in 1..=4 {
        versions.push(registered(&first, &digest(number)).await);
    }
    activate(&first, &versions[0], "finish").await;
    begin(&first, 0..2).await;
    stand_at(&fleet, "judge", 2).await;
    // The helper takes the address of the gateway that it finds in the log.
    let (_, one) = fleet.workers.remove(1);
    fleet.start("gateway").await;
    let second = Desk::of(&fleet, "default", &ALL).await;
    fleet.workers.push(("gateway", one));
    let (a, b) =
        tokio::join!(activate(&first, &versions[1], "finish"), activate(&second, &versions[2], "finish"));
    let (_, shown) = first.get(&format!("/v1/workflows/{}", versions[0])).await;
    let last = &shown["activations"][0];
    let earlier = if last["activation_id"] == a["activation_id"] { &b } else { &a };
    assert_eq!(last["previous"], earlier["pipeline_version"], "{shown}");
    let (_, listed) = second.get("/v1/workflows").await;
    let active: Vec<&Value> = listed["workflows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"] == "digest" && one["active"] == true)
        .map(|one| &one["pipeline_version"])
        .collect();
    assert_eq!(active, [&last["pipeline_version"]], "{listed}");
    let cancel = activate(&second, &versions[3], "cancel").await;
    assert_eq!(cancel["open_runs"], 2, "{cancel}");
    eventually("both are cancelled", async || fleet.runs().await.iter().all(|run| run.state == "cancelled"))
        .await;
    assert!(fleet.runs().await.iter().all(|run| run.reason.contains("was activated by")));
    assert_eq!(fleet.runs().await.len(), 2, "none goes on");
}

#[tokio::test]
async fn inputs_are_checked_a_request_id_is_one_run_and_a_dry_run_shows_what_it_would_send() {
    let hook = Receiver::start(&[], Does::Answers(204)).await;
    let mut fleet = Fleet::quiet().await;
    let mut unsigned = hook.target("unsigned", json!({}));
    unsigned.as_object_mut().unwrap().remove("secret_file");
    let deaf = hook.target("deaf", json!({ "on": ["incident_opened"] }));
    let targets = json!([hook.target("desk", json!({})), deaf, unsigned]);
    fleet.start_with("planner", &[&format!("notifications.targets={targets}")], &[]).await;
    for worker in ["gateway", "etl", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let inputs = "untrusted: []\ninputs:\n  type: object\n  required: [body]\n  properties: { body: { type: string, minLength: 5 } }\nsteps:";
    let version = registered(&desk, &digest(1).replace("steps:", inputs)).await;
    activate(&desk, &version, "finish").await;
    let (_, payload) = event(1);
    let asked = |inputs: &Value, more: Value| {
        let mut body = json!({ "workflow": "digest", "inputs": inputs, "request_id": "one" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for (wrong, place) in [
        (json!({}), "inputs"),
        (json!({ "body": 7 }), "inputs/body"),
        (json!({ "body": "x" }), "inputs/body"),
    ] {
        let (status, problem) = desk.post("/v1/runs", asked(&wrong, json!({}))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong}: {problem}");
        assert_eq!(problem["faults"][0]["place"], place, "{problem}");
    }
    for notify in ["nobody", "deaf", "unsigned"] {
        let (status, problem) = desk.post("/v1/runs", asked(&payload, json!({ "notify": notify }))).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{notify}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("`{notify}`")) && detail.contains("[desk]"), "{problem}");
    }
    assert_eq!(fleet.runs().await.len(), 0, "nothing was kept");
    let wanted = asked(&payload, json!({ "dry_run": true, "notify": "desk" }));
    let (status, first) = desk.post("/v1/runs", wanted.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{first}");
    let (status, again) = desk.post("/v1/runs", wanted).await;
    assert_eq!((status, &again["run_id"]), (StatusCode::OK, &first["run_id"]), "{again}");

    let run = fleet.settled(1).await.remove(0);
    assert_eq!((run.state.as_str(), run.dry_run), ("done", true), "{run:?}");
    assert_eq!((fleet.posts(), fleet.record.publications(None, 9).await.unwrap().len()), (0, 0));
    let (_, shown) = desk.get(&format!("/v1/runs/{}", run.run_id)).await;
    let artifacts = shown["artifacts"].as_array().unwrap();
    let would = artifacts.iter().find(|one| one["name"] == "publish").unwrap();
    assert!(would["body"]["would_send"].to_string().contains("council"), "{would}");
    eventually("its end is told", async || hook.of("run_ended").len() == 1).await;
    let told = &hook.of("run_ended")[0]["data"];
    assert_eq!(
        (&told["run_id"], &told["state"], &told["request_id"], &told["dry_run"]),
        (&first["run_id"], &json!("done"), &json!("one"), &json!(true)),
        "{told}"
    );
    let file = fleet.servers.folder().join("inputs.json");
    std::fs::write(&file, event(2).1.to_string()).unwrap();
    let inputs = format!("@{}", file.display());
    let (code, said) = at_the_desk(&desk, &["runs", "start", "digest", "--inputs", &inputs, "--wait"]).await;
    assert!(code == Some(0) && said.contains("published"), "{said}");
    let (code, said) = at_the_desk(&desk, &["runs", "start", "digest", "--inputs", "{}"]).await;
    assert!(code == Some(64) && said.contains("body"), "{said}");
    assert_eq!(hook.of("run_ended").len(), 1, "only whoever asks is told");
}

#[tokio::test]
async fn a_run_is_held_back_and_goes_on_where_it_stood() {
    let mut fleet = Fleet::with(&["gateway", "etl", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let version = registered(&desk, &digest(1)).await;
    activate(&desk, &version, "finish").await;
    begin(&desk, 0..2).await;
    stand_at(&fleet, "judge", 2).await;
    let runs = fleet.runs().await;
    let (held, free) = (runs[0].run_id.to_string(), runs[1].run_id);
    let (code, said) = at_the_desk(&desk, &["runs", "pause", &held, "--reason", "being checked"]).await;
    assert!(code == Some(0) && said.contains("Held back at judge"), "{said}");
    let (status, _) = desk.post(&format!("/v1/runs/{held}/pause"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is held back already");
    let (status, _) = desk.post(&format!("/v1/runs/{free}/resume"), json!({})).await;
    assert_eq!(status, StatusCode::CONFLICT, "it is not");
    let (_, said) = at_the_desk(&desk, &["why", &held]).await;
    assert!(said.contains("being checked") && said.contains("runs resume"), "{said}");
    fleet.start("judge").await;
    eventually("the other is published and no job is left", async || {
        let published = fleet.record.run(free).await.unwrap().is_some_and(|run| run.state == "published");
        published && fleet.streams.backlog("judge").await.is_ok_and(|backlog| backlog.stream == 0)
    })
    .await;
    let (_, shown) = desk.get(&format!("/v1/runs/{held}")).await;
    assert_eq!((&shown["state"], &shown["step"]), (&json!("parked"), &json!("judge")), "{shown}");
    let (code, said) = at_the_desk(&desk, &["runs", "resume", &held]).await;
    assert_eq!(code, Some(0), "{said}");
    let runs = fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    let whats = whats(&fleet, held.parse().unwrap()).await;
    assert!(
        whats.contains(&"paused judge".to_owned()) && whats.contains(&"resumed judge".to_owned()),
        "{whats:?}"
    );
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn an_ended_run_is_taken_through_once_more_under_the_active_version_and_posts_nothing_twice() {
    let fleet = Fleet::with(&["gateway", "etl", "embedding", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (one, two) = (registered(&desk, &digest(1)).await, registered(&desk, &digest(2)).await);
    activate(&desk, &one, "finish").await;
    begin(&desk, 0..1).await;
    let first = fleet.settled(1).await.remove(0);
    activate(&desk, &two, "finish").await;
    let path = format!("/v1/runs/{}/rerun", first.run_id);
    for (wrong, expected) in [
        (json!({ "from": "moon" }), StatusCode::CONFLICT),
        (json!({ "version": "digest@9-000000000000" }), StatusCode::UNPROCESSABLE_ENTITY),
    ] {
        assert_eq!(desk.post(&path, wrong).await.0, expected);
    }
    let (status, whole) = desk.post(&path, json!({})).await;
    assert_eq!((status, &whole["step"]), (StatusCode::CREATED, &json!("etl")), "{whole}");
    fleet.settled(2).await;
    let (_, part) = desk.post(&path, json!({ "from": "judge", "version": one })).await;
    assert_eq!((&part["step"], &part["pipeline_version"]), (&json!("judge"), &json!(one)), "{part}");
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    let run: RunId = part["run_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(whats(&fleet, run).await[..3], ["accepted", "carried etl", "done judge"]);
    assert_eq!((fleet.posts(), fleet.record.publications(None, 9).await.unwrap().len()), (1, 1));
    let (_, shown) = desk.get(&format!("/v1/runs/{}", first.run_id)).await;
    assert_eq!(shown["reruns"].as_array().unwrap().len(), 2, "{shown}");
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}
