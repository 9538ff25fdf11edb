//! Steps and content whose time is over.

use model::RunId;
use record::LetterFilter;
use serde_json::{Value, json};
use testkit::{Servers, eventually};

use crate::branches::{serving, serving_on};
use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event, events};
use crate::gates::{asked, ends, gated, resolve, send};

async fn whats(fleet: &Fleet, run: RunId) -> Vec<String> {
    let detail = fleet.record.run_detail(run).await.unwrap().unwrap();
    let told = |link: &record::ProvenanceView| {
        let entry: Value = serde_json::from_str(link.entry.get()).unwrap();
        entry["what"].as_str().unwrap().to_owned()
    };
    detail.provenance.iter().map(told).collect()
}

fn waiting(on_timeout: &str) -> String {
    format!(
        "
name: timed
version: 1
steps:
  - {{ id: etl, worker: etl, on_success: judge }}
  - id: judge
    worker: judge
    ttl: {{ waiting: 1s }}
    {on_timeout}
    on_success: last
  - {{ id: last, worker: etl, on_success: {{ end: done }} }}
"
    )
}

#[tokio::test]
async fn a_job_that_no_worker_takes_in_time_goes_where_its_workflow_says() {
    let document = waiting("on_timeout: last");
    let mut fleet = serving("timed", &document).await;
    fleet.start("etl").await;
    fleet.add(events(3)).await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "done" && run.step == "last"), "{runs:?}");
    assert_eq!(whats(&fleet, runs[0].run_id).await, ["accepted", "done", "timed_out", "done"]);
    // The late judge finds jobs that are behind, and changes nothing.
    fleet.start("judge").await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn without_a_way_out_a_run_whose_time_is_over_dies_with_the_reason() {
    let mut fleet = serving("timed", &waiting("")).await;
    fleet.start("etl").await;
    fleet.add([event(1)]).await;
    let runs = fleet.settled(1).await;
    assert_eq!(
        (runs[0].state.as_str(), runs[0].reason.as_str()),
        ("dead", "no worker took `judge` within 1s")
    );
    fleet.start("judge").await;
    fleet.assert_consistent().await;
}

/// How the run of an event ends that the gateway takes: its state, and why.
async fn ended(fleet: &mut Fleet) -> (String, String) {
    fleet.start("gateway").await;
    let desk = Desk::of(fleet, "default", &ALL).await;
    send(&desk, 1, "").await;
    let run = fleet.settled(1).await.remove(0);
    (run.state, run.reason)
}

#[tokio::test]
async fn a_first_step_that_no_worker_takes_is_over_in_time_as_well() {
    let document = "
name: first
version: 1
steps:
  - { id: judge, worker: judge, ttl: { waiting: 1s }, on_success: { end: done } }
";
    let mut fleet = serving("first", document).await;
    let (state, reason) = ended(&mut fleet).await;
    assert_eq!((state.as_str(), reason.as_str()), ("dead", "no worker took `judge` within 1s"));
}

#[tokio::test]
async fn a_worker_that_hangs_does_not_hold_a_run_for_longer_than_its_step_may_take() {
    let document = "
name: hanging
version: 1
steps:
  - id: etl
    worker: etl
    ttl: { running: 2s }
    on_timeout: { end: needs_review }
    on_success: { end: done }
";
    let mut fleet = serving("hanging", document).await;
    fleet.start_with("etl", &[], &[("TIDEMILL_FAILPOINT", "handled:1:stop")]).await;
    let (state, reason) = ended(&mut fleet).await;
    assert_eq!((state.as_str(), reason.as_str()), ("needs_review", "`etl` was not done within 2s"));
}

/// More than a page of manifests that nothing can be made of, and before them all a run that cannot be written.
#[tokio::test]
async fn runs_whose_clocks_cannot_be_looked_at_do_not_keep_the_others_from_their_end() {
    const RUNS: usize = 205;
    let mut fleet = serving_on(Servers::start_own().await, "timed", &waiting("")).await;
    fleet.start("etl").await;
    fleet.kill("planner").await;
    fleet.add(events(RUNS)).await;
    eventually("all wait for a judge", async || {
        let runs = fleet.runs().await;
        runs.len() == RUNS && runs.iter().all(|run| run.step == "judge")
    })
    .await;
    let mut runs: Vec<RunId> = fleet.runs().await.iter().map(|run| run.run_id).collect();
    runs.sort();
    let (first, last) = (runs[0], runs[RUNS - 1]);
    let statements = format!(
        "UPDATE manifests SET memory = '\"of no use\"', expires_at = now() - interval '1 hour'
         WHERE run_id NOT IN ('{first}', '{last}');
         UPDATE manifests SET expires_at = now() - interval '2 hours' WHERE run_id = '{first}';
         UPDATE manifests SET expires_at = now() WHERE run_id = '{last}';
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = 'query_canceled'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON runs FOR EACH ROW WHEN (OLD.run_id = '{first}') EXECUTE FUNCTION refuse()"
    );
    fleet.servers.postgres.as_ref().unwrap().sql("tidemill", &statements).unwrap();
    fleet.start("planner").await;
    let ended = async || {
        let runs = fleet.runs().await;
        let ended: Vec<RunId> = runs.iter().filter(|run| run.state == "dead").map(|run| run.run_id).collect();
        ended
    };
    eventually("the last run's time is over", async || ended().await == [last]).await;
}

#[tokio::test]
async fn content_that_stays_a_draft_for_too_long_becomes_a_letter_but_not_while_a_person_is_awaited() {
    let document = "
name: stuck
version: 1
ttl: { draft: 2s }
steps:
  - id: etl
    worker: etl
    branches: [{ when: etl.language == 'de', escalate: doubt }]
    on_success: judge
  - { id: judge, worker: judge, on_success: { end: done } }
";
    let mut fleet = serving("stuck", document).await;
    fleet.start("etl").await;
    let german =
        "Die Fähre nach der Insel legt heute wegen des Sturms nicht ab, und morgen vielleicht auch nicht.";
    let asked = ("asked".to_owned(), serde_json::json!({ "body": german }));
    fleet.add([event(1), asked]).await;
    let stuck = async || {
        let runs = fleet.runs().await;
        runs.iter().find(|run| run.state == "dead").cloned()
    };
    eventually("the draft is over", async || stuck().await.is_some()).await;
    assert_eq!(stuck().await.unwrap().reason, "its content stayed draft for longer than 2s");
    let runs = fleet.runs().await;
    assert!(runs.iter().any(|run| run.state == "waiting"), "a person has all the time: {runs:?}");
    fleet.start("judge").await;
    fleet.assert_consistent().await;
}

/// Of content for an outlet that allows less time than its workflow does.
#[tokio::test]
async fn an_outlet_bounds_the_stages_of_what_is_meant_for_it_but_not_while_a_gate_or_a_person_is_awaited() {
    const DOCUMENT: &str = "
name: meant
version: 1
untrusted: []
ttl: { approved: 1h }
steps:
  - id: etl
    worker: etl
    branches: [{ when: etl.language == 'de', escalate: doubt }]
    on_success: judge
  - { id: judge, worker: judge, approve: by_rule, on_success: publish }
  - id: publish
    worker: publisher
    side_effect: true
    with: { outlet: desk }
    gates: { before: [editor] }
    on_success: { end: published }
";
    const GATES: &str = "gates: { editor: { hitl: { when: content.body.contains('editor') } } }";
    let folder = tempfile::tempdir().unwrap();
    let outlets = json!({ "desk": {
        "files": { "folder": folder.path().display().to_string() },
        "lifecycle": { "draft": "1m", "qa": "1m", "approved": "2s" },
    } });
    let outlets = format!("publisher.outlets={outlets}");
    let (fleet, desk) = gated(DOCUMENT, GATES, &["etl", "judge"], &[&outlets]).await;
    let german =
        "Die Fähre nach der Insel legt heute wegen des Sturms nicht ab, und morgen vielleicht auch nicht.";
    let event = json!({ "source": "s", "request_id": "german", "payload": { "body": german } });
    let (_, accepted) = desk.post("/v1/events", event).await;
    let doubtful: RunId = serde_json::from_value(accepted["run_id"].clone()).unwrap();
    let held = send(&desk, 2, "It is for the editor.").await;
    let questions = [asked(&fleet, doubtful, "doubt").await, asked(&fleet, held, "approval_required").await];
    let running = "SELECT count(*) FROM manifests WHERE expires_at IS NOT NULL";
    let sql = |text: &str| fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap();
    assert_eq!(sql(running).trim(), "0", "the clocks stand still");

    let stuck = send(&desk, 3, "").await;
    ends(&fleet, stuck, "dead").await;
    for run in [doubtful, held] {
        assert_eq!(fleet.record.run(run).await.unwrap().unwrap().state, "waiting");
    }
    let letters = fleet.record.dead_letters(&LetterFilter::default(), 10).await.unwrap();
    let reason = "its content stayed approved for longer than 2s";
    assert_eq!(letters.iter().map(|letter| letter.reason.as_str()).collect::<Vec<_>>(), [reason]);
    for question in questions {
        assert!(resolve(&desk, &question, json!({ "decision": "approve" })).await.0.is_success());
    }
    for run in [doubtful, held] {
        ends(&fleet, run, "dead").await;
        assert_eq!(fleet.record.run(run).await.unwrap().unwrap().reason, reason);
    }
}
