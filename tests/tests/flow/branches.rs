//! Runs that fork, join and loop: what the record keeps of them, and what they must stand.

use std::time::Duration;

use model::RunId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::{Servers, eventually};

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};

/// Two branches of one worker type, between two steps of it.
pub(crate) const FORKED: &str = "
name: forked
version: 1
steps:
  - id: first
    worker: etl
    on_success: both
  - id: both
    parallel: { branches: [left, right] }
    on_success: last
  - id: left
    worker: etl
    on_success: join
  - id: right
    worker: etl
    on_success: join
  - id: last
    worker: etl
    on_success: { end: done }
";

/// Branches at the judge, which succeed.
const JUDGED: &str = "
name: judged
version: 1
steps:
  - id: etl
    worker: etl
    on_success: both
  - id: both
    parallel: { branches: [left, right] }
    on_success: { end: done }
  - id: left
    worker: judge
    on_success: join
  - id: right
    worker: judge
    on_success: join
";

/// A branch that asks a person beside one that does not.
pub(crate) const ASKING: &str = "
name: asking
version: 1
steps:
  - id: etl
    worker: etl
    on_success: both
  - id: both
    parallel: { branches: [left, right] }
    on_success: last
  - id: left
    worker: judge
    branches:
      - when: left.confidence <= 1.0
        escalate: doubt
    on_success: join
  - id: right
    worker: etl
    on_success: join
  - id: last
    worker: etl
    on_success: { end: done }
";

/// Of three branches one fails: the judge finds no artifact `etl`.
pub(crate) fn failing(join: &str, on_failure: &str) -> String {
    format!(
        "
name: failing
version: 1
steps:
  - id: first
    worker: etl
    on_success: three
  - id: three
    parallel: {{ branches: [one, two, bad], join: {join} }}
    on_success: {{ end: done }}
{on_failure}
  - id: one
    worker: etl
    on_success: join
  - id: two
    worker: etl
    on_success: join
  - id: bad
    worker: judge
    on_success: join
"
    )
}

pub(crate) const LOOPING: &str = "
name: looping
version: 1
steps:
  - id: etl
    worker: etl
    max_visits: 3
    on_exhausted: { end: needs_review }
    on_success: judge
  - id: judge
    worker: judge
    branches:
      - when: judge.confidence <= 1.0
        to: etl
    on_success: { end: done }
";

/// A planner that serves every event by this document.
pub(crate) async fn serving(name: &str, document: &str) -> Fleet {
    serving_on(Servers::start().await, name, document).await
}

pub(crate) async fn serving_on(servers: Servers, name: &str, document: &str) -> Fleet {
    let mut fleet = Fleet::on(servers).await;
    let file = fleet.servers.folder().join("workflow.yaml");
    std::fs::write(&file, document).unwrap();
    let workflows = format!("planner.workflows={}", json!([file.display().to_string()]));
    let intents = json!([{ "source": "*", "purpose": "p", "workflow": name }]);
    let intents = format!("planner.intents={intents}");
    fleet.start_with("planner", &[&workflows, &intents], &[]).await;
    fleet
}

/// What a branch of the only run stands at, as `state step`.
async fn branches(fleet: &Fleet, run: RunId) -> Vec<String> {
    let branches = fleet.record.branches(run).await.unwrap();
    branches.iter().map(|branch| format!("{} {}", branch.state, branch.step)).collect()
}

#[tokio::test]
async fn branches_run_side_by_side_and_their_join_goes_on_once() {
    let mut fleet = serving("forked", FORKED).await;
    fleet.start("etl").await;
    fleet.add(events(10)).await;
    let runs = fleet.settled(10).await;
    assert!(runs.iter().all(|run| run.state == "done" && run.step == "last"), "{runs:?}");
    for run in &runs {
        assert_eq!(branches(&fleet, run.run_id).await, ["done left", "done right"]);
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        let made = |name: &str| detail.artifacts.iter().filter(|artifact| artifact.name == name).count();
        assert_eq!([made("first"), made("left"), made("right"), made("last")], [1; 4], "each step once");
    }
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_join_decides_by_its_rule_though_a_branch_died() {
    for (join, on_failure, state) in [
        ("any", "", "done"),
        ("{ at_least: 2 }", "", "done"),
        ("all", "", "dead"),
        ("all", "    on_failure: { end: needs_review }", "needs_review"),
    ] {
        let mut fleet = serving("failing", &failing(join, on_failure)).await;
        fleet.start("etl").await;
        fleet.start("judge").await;
        fleet.add([event(1)]).await;
        let runs = fleet.settled(1).await;
        assert_eq!(runs[0].state, state, "{join} {on_failure}: {runs:?}");
        let open = branches(&fleet, runs[0].run_id).await;
        assert!(open.iter().all(|branch| !branch.starts_with("running")), "{open:?}");
        fleet.assert_consistent().await;
    }
}

#[tokio::test]
async fn a_loop_is_bounded_by_its_visits() {
    let mut fleet = serving("looping", LOOPING).await;
    for name in ["etl", "judge", "gateway"] {
        fleet.start(name).await;
    }
    fleet.add([event(1)]).await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "needs_review", "{runs:?}");
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, shown) = desk.get(&format!("/v1/runs/{}", runs[0].run_id)).await;
    let artifacts = shown["artifacts"].as_array().unwrap();
    assert_eq!(artifacts.iter().filter(|artifact| artifact["name"] == "etl").count(), 3, "{shown}");
    assert!(shown["manifest"]["used"]["millis"].is_u64(), "{shown}");
    let (status, board) = desk.get(&format!("/v1/runs/{}/board", runs[0].run_id)).await;
    assert_eq!((status, &board["version"]), (StatusCode::OK, &json!(0)));
    assert_eq!(board["board"]["inputs"], event(1).1);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_workflow_may_begin_with_a_fork() {
    let document = "
name: forking
version: 1
steps:
  - id: both
    parallel: { branches: [left, right] }
    on_success: { end: done }
  - id: left
    worker: etl
    on_success: join
  - id: right
    worker: etl
    on_success: join
";
    let mut fleet = serving("forking", document).await;
    for name in ["etl", "gateway"] {
        fleet.start(name).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    let body = json!({ "source": "s", "request_id": request_id, "payload": payload });
    assert_eq!(desk.post("/v1/events", body).await.0, StatusCode::ACCEPTED);
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    fleet.assert_consistent().await;
}

/// The run stands at its fork, and each branch has its job.
async fn forked(fleet: &Fleet) -> RunId {
    eventually("both branches are open", async || match fleet.runs().await.first() {
        Some(run) => branches(fleet, run.run_id).await == ["running left", "running right"],
        None => false,
    })
    .await;
    fleet.runs().await[0].run_id
}

#[tokio::test]
async fn a_flushed_redis_loses_no_branch() {
    let mut fleet = serving("judged", JUDGED).await;
    fleet.start("etl").await;
    fleet.add([event(1)]).await;
    forked(&fleet).await;
    crate::outages::flush(&fleet).await;
    fleet.start("judge").await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn cancelling_a_run_closes_its_branches() {
    let mut fleet = serving("judged", JUDGED).await;
    fleet.start("etl").await;
    fleet.start("gateway").await;
    fleet.add([event(1)]).await;
    let run = forked(&fleet).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (status, answer) = desk.post(&format!("/v1/runs/{run}/cancel"), json!({ "reason": "enough" })).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("cancelled")), "{answer}");
    assert_eq!(branches(&fleet, run).await, ["cancelled left", "cancelled right"]);
    fleet.start("judge").await;
    fleet.assert_consistent().await;
    assert_eq!(
        branches(&fleet, run).await,
        ["cancelled left", "cancelled right"],
        "their jobs come too late"
    );
}

#[tokio::test]
async fn a_run_that_is_held_back_at_its_fork_is_left_alone_and_goes_on_with_its_branches() {
    let mut fleet = serving("judged", JUDGED).await;
    fleet.start("etl").await;
    fleet.start("gateway").await;
    fleet.add([event(1)]).await;
    let run = forked(&fleet).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (status, answer) = desk.post(&format!("/v1/runs/{run}/pause"), json!({ "reason": "wait" })).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("parked")), "{answer}");
    assert_eq!(branches(&fleet, run).await, ["parked left", "parked right"]);
    fleet.start("judge").await;
    eventually("their jobs are dropped", async || {
        fleet.streams.backlog("judge").await.is_ok_and(|backlog| backlog.stream == 0)
    })
    .await;
    assert_eq!(branches(&fleet, run).await, ["parked left", "parked right"]);
    fleet.assert_consistent().await;
    let (status, answer) = desk.post(&format!("/v1/runs/{run}/resume"), json!({})).await;
    assert_eq!((status, &answer["state"]), (StatusCode::OK, &json!("running")), "{answer}");
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "done", "{runs:?}");
    assert_eq!(branches(&fleet, run).await, ["done left", "done right"]);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_branch_waits_for_a_person_while_its_sibling_ends() {
    let mut fleet = serving("asking", ASKING).await;
    for name in ["etl", "judge", "gateway"] {
        fleet.start(name).await;
    }
    fleet.add([event(1)]).await;
    eventually("one waits and the other is done", async || match fleet.runs().await.first() {
        Some(run) => branches(&fleet, run.run_id).await == ["waiting left", "done right"],
        None => false,
    })
    .await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, listed) = desk.get("/v1/escalations").await;
    let asked = &listed["escalations"][0];
    assert_eq!((&asked["issue_type"], &asked["branch"]), (&json!("doubt"), &json!(1)), "{listed}");
    let path = format!("/v1/escalations/{}/resolve", asked["escalation_id"].as_str().unwrap());
    let (status, answer) = desk.post(&path, json!({ "decision": "approve" })).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let runs = fleet.settled(1).await;
    assert_eq!((runs[0].state.as_str(), runs[0].step.as_str()), ("done", "last"), "{runs:?}");
    fleet.assert_consistent().await;
}

/// An author's patch is applied, told as an event, and shown on the board.
#[tokio::test]
async fn a_patch_of_the_blackboard_is_applied_and_told() {
    const WRITING: &str = "
name: writing
version: 1
blackboard: { type: object }
clusters:
  desk: { allowed_reads: ['/**'], allowed_writes: ['/language'] }
steps:
  - id: etl
    worker: etl
    cluster: desk
    patch: [{ op: add, path: /language, value: /language }]
    on_success: { end: done }
";
    let mut fleet = serving("writing", WRITING).await;
    for name in ["etl", "gateway"] {
        fleet.start(name).await;
    }
    fleet.add([event(1)]).await;
    let runs = fleet.settled(1).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (_, board) = desk.get(&format!("/v1/runs/{}/board", runs[0].run_id)).await;
    assert_eq!((&board["version"], &board["board"]["language"]), (&json!(1), &json!("en")), "{board}");
    let mut tail = fleet.streams.tail("dataset:events", "0-0").await.unwrap();
    let patches = async {
        loop {
            for told in tail.next(100).await.unwrap_or_default() {
                let event: Value = serde_json::from_str(&told.event).unwrap();
                if event["type"] == "orchestration.patch_applied" {
                    return event;
                }
            }
        }
    };
    let patch = tokio::time::timeout(Duration::from_secs(60), patches).await.expect("the patch is told");
    assert_eq!(patch["data"]["patch_applied"][0]["path"], "/language", "{patch}");
    assert_eq!(
        (&patch["data"]["manifest_id"], &patch["data"]["request_id"], &patch["data"]["cluster_id"]),
        (&json!(runs[0].run_id), &json!("event-1"), &json!("desk")),
    );
    fleet.assert_consistent().await;
}
