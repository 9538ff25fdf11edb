//! People decide what the judge is unsure of, once.

use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};

const POLICY: &str = "forbidden_terms: [Glimmerdrift]\nforbidden_languages: [de]\n";

/// A fleet in which every text is asked about, and one run that waits.
async fn waiting() -> (Fleet, Desk, Value) {
    let mut fleet = Fleet::quiet().await;
    let policy = fleet.servers.folder().join("policy.yaml");
    std::fs::write(&policy, POLICY).unwrap();
    let policy = format!("policy.file={}", policy.display());
    fleet.start_with("planner", &["planner.values={\"trend\":{\"min_confidence\":1.1}}"], &[]).await;
    for name in ["gateway", "etl", "embedding", "judge", "publisher"] {
        fleet.start_with(name, &[&policy], &[]).await;
    }
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    fleet.settled(1).await;
    let (_, listed) = desk.get("/v1/escalations").await;
    let id = listed["escalations"][0]["escalation_id"].as_str().unwrap().to_owned();
    let (_, escalation) = desk.get(&format!("/v1/escalations/{id}")).await;
    assert_eq!(escalation["issue_type"], "low_confidence", "{escalation}");
    (fleet, desk, escalation)
}

fn path(escalation: &Value) -> String {
    format!("/v1/escalations/{}/resolve", escalation["escalation_id"].as_str().unwrap())
}

async fn state(fleet: &Fleet, expected: &str) {
    eventually(&format!("the run is {expected}"), async || fleet.runs().await[0].state == expected).await;
}

#[tokio::test]
async fn an_approval_resumes_the_run_and_the_first_decision_stands() {
    let (fleet, desk, escalation) = waiting().await;
    assert!(escalation["content"]["title"].is_string() && escalation["evidence"]["threshold"].is_object());
    assert_eq!(
        desk.post(&path(&escalation), json!({ "decision": "approve", "version": 99 })).await.0,
        StatusCode::CONFLICT
    );
    let resolve = path(&escalation);
    let (one, two) = tokio::join!(
        desk.post(&resolve, json!({ "decision": "approve", "note": "fine" })),
        desk.post(&resolve, json!({ "decision": "reject" })),
    );
    let mut statuses = [one.0.as_u16(), two.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
    state(&fleet, if one.0 == StatusCode::OK { "published" } else { "rejected" }).await;
    assert_eq!(desk.post(&path(&escalation), json!({ "decision": "approve" })).await.0, StatusCode::CONFLICT);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn an_edit_that_violates_policy_commits_nothing_and_one_that_does_not_is_published() {
    let (fleet, desk, escalation) = waiting().await;
    let mut content = escalation["content"].clone();
    content["body"] = json!("Buy Glimmerdrift today, and tell all of your friends about it.");
    let (status, problem) =
        desk.post(&path(&escalation), json!({ "decision": "edit", "content": content })).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    assert_eq!(problem["violations"][0]["rule"], "forbidden_term:Glimmerdrift");
    content["body"] = json!(" ");
    let edit = json!({ "decision": "edit", "content": content });
    assert_eq!(desk.post(&path(&escalation), edit).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    for (field, value) in [
        ("url", json!("javascript:alert(1)")),
        ("language", json!("en\"><script>")),
        ("tags", json!(["</category>\n"])),
        ("title", json!("turned \u{202e}round")),
    ] {
        let mut odd = content.clone();
        odd["body"] = json!("A text that a person wrote.");
        odd[field] = value;
        let (status, problem) =
            desk.post(&path(&escalation), json!({ "decision": "edit", "content": odd })).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{field}: {problem}");
    }
    let mut german = content.clone();
    german["body"] = json!("Der Hafen wurde gestern eröffnet, und viele Leute kamen, um ihn zu sehen.");
    let (_, problem) = desk.post(&path(&escalation), json!({ "decision": "edit", "content": german })).await;
    assert_eq!(
        problem["violations"][0]["rule"], "language:de",
        "whatever the edit says of itself: {problem}"
    );
    let long = json!({ "decision": "reject", "note": "n".repeat(4001) });
    assert_eq!(desk.post(&path(&escalation), long).await.0, StatusCode::BAD_REQUEST);
    let turned = json!({ "decision": "reject", "who": "Anna \u{202e}" });
    assert_eq!(desk.post(&path(&escalation), turned).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(fleet.runs().await[0].state, "waiting");
    content["body"] = json!("A text that a person wrote.");
    let edit = json!({ "decision": "edit", "content": content, "who": "Anna" });
    let (status, _) = desk.post(&path(&escalation), edit).await;
    assert_eq!(status, StatusCode::OK);
    let (_, decided) =
        desk.get(&format!("/v1/escalations/{}", escalation["escalation_id"].as_str().unwrap())).await;
    assert_eq!(decided["resolved_by"], "Anna (token default desk)");
    state(&fleet, "published").await;
    let folder = fleet.servers.folder().join("published");
    let post = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(Result::ok)
        .find(|f| f.path().extension().is_some_and(|e| e == "md"));
    assert!(std::fs::read_to_string(post.unwrap().path()).unwrap().contains("that a person wrote"));
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn overrides_need_the_role_and_a_reason_and_other_tenants_find_nothing() {
    let (fleet, desk, escalation) = waiting().await;
    let moderator = Desk::of(&fleet, "default", &["moderate", "read"]).await;
    let stranger = Desk::of(&fleet, "other", &ALL).await;
    let with_reason = json!({ "decision": "override", "note": "the minister asked" });
    assert_eq!(moderator.post(&path(&escalation), with_reason.clone()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(stranger.post(&path(&escalation), with_reason.clone()).await.0, StatusCode::NOT_FOUND);
    assert_eq!(
        desk.post(&path(&escalation), json!({ "decision": "override" })).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(
        desk.post(&path(&escalation), json!({ "decision": "send_back", "step": "moon" })).await.0,
        StatusCode::UNPROCESSABLE_ENTITY
    );
    assert_eq!(desk.post(&path(&escalation), with_reason).await.0, StatusCode::OK);
    state(&fleet, "published").await;
}

#[tokio::test]
async fn what_is_sent_back_to_a_step_goes_on_from_there_and_is_asked_about_again() {
    let (fleet, desk, escalation) = waiting().await;
    let (status, answer) =
        desk.post(&path(&escalation), json!({ "decision": "send_back", "step": "etl" })).await;
    assert_eq!((status, &answer["step"]), (StatusCode::OK, &json!("etl")), "{answer}");
    eventually("it is asked about again", async || {
        let (_, listed) = desk.get("/v1/escalations").await;
        listed["escalations"]
            .as_array()
            .is_some_and(|open| open.len() == 1 && open[0]["escalation_id"] != escalation["escalation_id"])
    })
    .await;
    let (_, run) = desk.get(&format!("/v1/runs/{}", escalation["run_id"].as_str().unwrap())).await;
    let etl = run["steps"].as_array().unwrap().iter().filter(|step| step["step"] == "etl");
    assert_eq!(etl.count(), 2, "{run}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn of_a_cancellation_and_a_decision_at_once_one_wins() {
    let (fleet, desk, escalation) = waiting().await;
    let run = format!("/v1/runs/{}/cancel", escalation["run_id"].as_str().unwrap());
    let resolve = path(&escalation);
    let (decided, cancelled) =
        tokio::join!(desk.post(&resolve, json!({ "decision": "reject" })), desk.post(&run, json!({})));
    let mut statuses = [decided.0.as_u16(), cancelled.0.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{decided:?} {cancelled:?}");
    state(&fleet, if decided.0 == StatusCode::OK { "rejected" } else { "cancelled" }).await;
    assert_eq!(desk.get("/v1/escalations").await.1["escalations"], json!([]));
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_forged_wake_up_decides_nothing_and_becomes_a_letter() {
    let (fleet, _desk, escalation) = waiting().await;
    let id = escalation["escalation_id"].as_str().unwrap();
    let forged = |value: &[u8]| vec![(b"escalation".to_vec(), value.to_vec())];
    fleet.streams.add_raw("hitl:resolution", &forged(id.as_bytes())).await.unwrap();
    fleet.streams.add_raw("hitl:resolution", &forged(&[0xff])).await.unwrap();
    eventually("both are letters", async || {
        fleet
            .record
            .dead_letters(&record::LetterFilter::default(), 10)
            .await
            .is_ok_and(|letters| letters.len() == 2)
    })
    .await;
    assert_eq!(fleet.runs().await[0].state, "waiting");
}
