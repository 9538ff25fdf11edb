//! Where the time, the tokens and the errors of a run are: step by step, of its branches too.

use serde_json::{Value, json};
use testkit::eventually;

use crate::branches::{ASKING, failing, serving};
use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};
use crate::misbehaviour::{ARMED, rogue};
use crate::operators::at_the_desk;

async fn shown(fleet: &Fleet, desk: &Desk) -> Value {
    let (_, shown) = desk.get(&format!("/v1/runs/{}", fleet.runs().await[0].run_id)).await;
    shown
}

fn of<'a>(shown: &'a Value, step: &str) -> &'a Value {
    let steps = shown["diagnostics"].as_array().unwrap();
    steps.iter().find(|one| one["step"] == step).unwrap_or_else(|| panic!("{step}: {shown}"))
}

#[tokio::test]
async fn a_run_without_a_manifest_tells_how_long_each_step_waited_and_worked() {
    let mut fleet = Fleet::with(&["gateway"]).await;
    fleet.start_with("etl", &[], &ARMED).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add([rogue("slow", 1, "1500ms")]).await;
    eventually("it waits for an embedder", async || {
        fleet.runs().await.first().is_some_and(|run| run.step == "embedding")
    })
    .await;
    let found = shown(&fleet, &desk).await;
    assert!(of(&found, "etl")["working_ms"].as_u64().unwrap() >= 1500, "{found}");
    assert_eq!(of(&found, "embedding")["working_ms"], 0, "{found}");
    eventually("the time that it waits grows", async || {
        of(&shown(&fleet, &desk).await, "embedding")["waiting_ms"].as_u64() > Some(100)
    })
    .await;
    for name in ["embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.settled(1).await;
    let found = shown(&fleet, &desk).await;
    let steps: Vec<&Value> =
        found["diagnostics"].as_array().unwrap().iter().map(|one| &one["step"]).collect();
    assert_eq!(steps, ["etl", "embedding", "judge", "publish"], "{found}");
    assert!(
        found["diagnostics"].as_array().unwrap().iter().all(|one| one["last_error"].is_null()),
        "{found}"
    );
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn each_branch_tells_what_it_waits_for_and_for_how_long_a_person_was_asked() {
    let mut fleet = serving("asking", ASKING).await;
    for name in ["etl", "gateway"] {
        fleet.start(name).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add([event(1)]).await;
    eventually("one branch has no worker", async || {
        let branches = match fleet.runs().await.first() {
            Some(run) => fleet.record.branches(run.run_id).await.unwrap(),
            None => return false,
        };
        branches.len() == 2 && branches[1].state == "done"
    })
    .await;
    let run = fleet.runs().await[0].run_id.to_string();
    let (_, said) = at_the_desk(&desk, &["why", &run]).await;
    for expected in [
        "It forked at both",
        "Branch 1: It waits for a worker to do the step left",
        "Branch 1: No judge worker",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("Branch 2"), "it is done: {said}");
    fleet.start("judge").await;
    eventually("a person is asked", async || {
        let (_, listed) = desk.get("/v1/escalations").await;
        listed["escalations"].as_array().is_some_and(|asked| asked.len() == 1)
    })
    .await;
    let (_, said) = at_the_desk(&desk, &["why", &run]).await;
    assert!(said.contains("Branch 1: It waits at left for a person (doubt)"), "{said}");
    eventually("the time for which it waits grows", async || {
        of(&shown(&fleet, &desk).await, "left")["held_ms"].as_u64() > Some(100)
    })
    .await;
    let found = shown(&fleet, &desk).await;
    let branch = &found["branches"][0];
    assert_eq!((&branch["worker"], &branch["escalation"]["issue_type"]), (&json!("judge"), &json!("doubt")));
    assert_eq!((&of(&found, "both")["branch"], &of(&found, "right")["branch"]), (&json!(0), &json!(2)));
    let asked = branch["escalation"]["escalation_id"].as_str().unwrap();
    desk.post(&format!("/v1/escalations/{asked}/resolve"), json!({ "decision": "approve" })).await;
    fleet.settled(1).await;
    let found = shown(&fleet, &desk).await;
    let both = of(&found, "both")["waiting_ms"].as_u64();
    assert!(both >= of(&found, "left")["held_ms"].as_u64(), "a fork waits for its branches: {found}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn what_went_wrong_last_is_told_of_its_step_and_why_a_branch_died() {
    let mut fleet = serving("failing", &failing("all", "")).await;
    for name in ["etl", "judge", "gateway"] {
        fleet.start(name).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.add([event(1)]).await;
    let run = fleet.settled(1).await.remove(0);
    assert_eq!(run.state, "dead", "{run:?}");
    let found = shown(&fleet, &desk).await;
    let reason = of(&found, "bad")["last_error"]["reason"].as_str().unwrap();
    assert!(reason.contains("etl"), "{found}");
    assert!(
        of(&found, "one")["last_error"].is_null() && of(&found, "two")["last_error"].is_null(),
        "{found}"
    );
    let (_, said) = at_the_desk(&desk, &["why", &run.run_id.to_string()]).await;
    assert!(said.contains("Branch 3: It died at bad: ") && said.contains(reason), "{said}");
    fleet.assert_consistent().await;
}
