use model::RunState;
use serde_json::json;

use super::super::*;
use super::simulator::Simulator;

fn fork(join: &str, more: &str) -> Simulator {
    let yaml = format!(
        "
name: t
version: 1
steps:
  - {{ id: first, worker: etl, on_success: both }}
  - {{ id: both, parallel: {{ branches: [a, b, c], join: {join} }}, on_success: last{more} }}
  - {{ id: a, worker: etl, on_success: a2 }}
  - {{ id: a2, worker: etl, on_success: join }}
  - {{ id: b, worker: judge, on_success: join, branches: [{{ when: 'b.stop', end: needs_review }}, {{ when: 'b.bad', reject: policy }}, {{ when: 'b.ask', escalate: unsure }}] }}
  - {{ id: c, worker: judge, on_success: join }}
  - {{ id: last, worker: judge, on_success: {{ end: done }} }}
  - {{ id: mend, worker: judge, on_success: {{ end: done }} }}
"
    );
    let mut run = Simulator::begin(&yaml, json!({}));
    let opened = run.done("first", &json!({}));
    assert_eq!((opened.state, opened.step.as_str()), (RunState::Running, "both"));
    assert_eq!(run.working(), [1, 2, 3]);
    run
}

fn fine() -> serde_json::Value {
    json!({ "stop": false, "bad": false, "ask": false })
}

#[test]
fn all_branches_must_succeed_and_the_last_one_moves_the_run() {
    let mut run = fork("all", "");
    for step in ["a", "c", "a2"] {
        run.done(step, &json!({}));
        assert_eq!(run.run(), (RunState::Running, "both"));
    }
    let last = run.done("b", &fine());
    assert_eq!((last.state, last.step.as_str()), (RunState::Done, "b"));
    assert_eq!(run.run(), (RunState::Running, "last"));
    assert_eq!(run.joins, ["join of both"]);
    run.done("last", &json!({}));
    assert_eq!(run.run(), (RunState::Done, "last"));
}

#[test]
fn a_run_that_is_held_at_its_fork_holds_its_branches_and_goes_on_with_them() {
    let mut run = fork("all", "");
    run.done("b", &json!({ "stop": false, "bad": false, "ask": true }));
    run.done("c", &json!({}));
    run.signal(0, &Signal::Park { reason: "wait" }).unwrap();
    assert_eq!((run.run(), run.working()), ((RunState::Parked, "both"), vec![]));
    assert_eq!([1, 2, 3].map(|n| run.row(n).state), [RunState::Parked, RunState::Waiting, RunState::Done]);
    let done = run.signal(1, &Signal::Done { output: &json!({}), patch: None }).unwrap_err();
    assert!(done.to_string().contains("resume it first"), "{done}");
    let approved = run.decide(2, &crate::Decision::Approve).unwrap_err().to_string();
    assert!(approved.contains("resume it first"), "{approved}");
    run.signal(0, &Signal::Unpark).unwrap();
    assert_eq!((run.run(), run.working()), ((RunState::Running, "both"), vec![1]));
    run.decide(2, &crate::Decision::Approve).unwrap();
    for step in ["a", "a2"] {
        run.done(step, &json!({}));
    }
    assert_eq!(run.run(), (RunState::Running, "last"));
    let mut cancelled = fork("all", "");
    cancelled.signal(0, &Signal::Park { reason: "wait" }).unwrap();
    cancelled.signal(0, &Signal::Cancel { reason: "no" }).unwrap();
    assert_eq!((cancelled.run().0, cancelled.row(1).state), (RunState::Cancelled, RunState::Cancelled));
    cancelled.signal(0, &Signal::Rerun { step: "both" }).unwrap();
    assert_eq!((cancelled.run(), cancelled.working()), ((RunState::Running, "both"), vec![1, 2, 3]));
}

#[test]
fn any_branch_is_enough_and_the_others_are_closed() {
    let mut run = fork("any", "");
    run.fails("c");
    assert_eq!(run.run(), (RunState::Running, "both"));
    let joined = run.done("b", &fine());
    assert_eq!(joined.beyond.unwrap().closes, [1]);
    assert_eq!((run.row(1).state, run.run()), (RunState::Cancelled, (RunState::Running, "last")));
    let closed = run.signal(1, &Signal::Done { output: &json!({}), patch: None });
    assert!(closed.unwrap_err().to_string().contains("cancelled"));
}

#[test]
fn a_join_whose_branches_died_still_decides_by_its_rule() {
    let mut run = fork("{ at_least: 2 }", "");
    run.fails("a");
    run.done("b", &fine());
    run.done("c", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "last"));

    let mut run = fork("{ at_least: 2 }", "");
    run.fails("a");
    run.fails("b");
    assert_eq!((run.run(), run.row(3).state), ((RunState::Dead, "both"), RunState::Cancelled));
    assert_eq!(run.letters, ["broken", "broken", "`both` needs 2 branches that succeed, and 0 did"]);

    let mut run = fork("all", ", on_failure: mend");
    run.fails("b");
    assert_eq!(run.run(), (RunState::Running, "mend"));
    assert_eq!(run.working(), [0]);
}

#[test]
fn an_end_inside_of_a_branch_ends_the_run() {
    for (output, end) in [
        (json!({ "stop": true, "bad": false, "ask": false }), RunState::NeedsReview),
        (json!({ "stop": false, "bad": true, "ask": false }), RunState::Rejected),
    ] {
        let mut run = fork("any", "");
        let ended = run.done("b", &output);
        assert_eq!((ended.state, run.run()), (RunState::Done, (end, "both")));
        assert_eq!(ended.incident.is_some(), end == RunState::Rejected);
        assert_eq!((run.row(1).state, run.row(3).state), (RunState::Cancelled, RunState::Cancelled));
    }
}

#[test]
fn a_run_is_cancelled_and_replayed_where_it_stands_at_a_fork() {
    let mut run = fork("all", "");
    let cancelled = run.signal(0, &Signal::Cancel { reason: "enough" }).unwrap();
    assert_eq!((cancelled.state, cancelled.beyond.unwrap().closes), (RunState::Cancelled, vec![1, 2, 3]));
    assert!(run.working().is_empty());
    let again = run.signal(0, &Signal::Rerun { step: "both" }).unwrap();
    assert_eq!((again.state, again.beyond.unwrap().opens.len()), (RunState::Running, 3));
    assert!(run.signal(0, &Signal::Replay).is_err());
    run.done("a", &json!({}));
    run.done("c", &json!({}));
    run.fails("a2");
    assert_eq!(run.run(), (RunState::Dead, "both"));
    let replayed = run.signal(0, &Signal::Replay).unwrap();
    let opened = [(1, "a2".to_owned()), (2, "b".to_owned())];
    assert_eq!(replayed.beyond.unwrap().opens, opened, "what succeeded is not done again");
    run.done("b", &fine());
    run.done("a2", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "last"));
}

#[test]
fn a_step_of_a_branch_is_no_place_for_the_run_and_a_branch_is_not_cancelled_alone() {
    let mut run = fork("all", "");
    assert!(run.signal(1, &Signal::Cancel { reason: "x" }).is_err());
    assert!(run.signal(0, &Signal::Done { output: &json!({}), patch: None }).is_err());
    run.signal(0, &Signal::Cancel { reason: "x" }).unwrap();
    let refused = run.signal(0, &Signal::Rerun { step: "a2" }).unwrap_err();
    assert!(refused.to_string().contains("from its fork"), "{refused}");
}

#[test]
fn a_branch_waits_for_a_person_while_its_siblings_end() {
    let mut run = fork("all", "");
    run.done("b", &json!({ "stop": false, "bad": false, "ask": true }));
    assert_eq!(run.row(2).state, RunState::Waiting);
    run.done("a", &json!({}));
    run.done("a2", &json!({}));
    run.done("c", &json!({}));
    assert_eq!(run.run(), (RunState::Running, "both"));
    run.decide(2, &crate::Decision::Approve).unwrap();
    assert_eq!(run.run(), (RunState::Running, "last"));
}

#[test]
fn a_dead_branch_is_replayed_while_its_join_is_open() {
    let mut run = fork("any", "");
    run.fails("b");
    assert_eq!(run.row(2).state, RunState::Dead);
    run.signal(2, &Signal::Replay).unwrap();
    assert_eq!(run.row(2).state, RunState::Running);
    run.fails("b");
    run.done("c", &json!({}));
    assert!(run.signal(2, &Signal::Replay).unwrap_err().to_string().contains("is decided"));
}

#[test]
fn a_run_that_begins_with_a_fork_passes_what_is_there_and_counts_every_visit() {
    let yaml = "
name: t
version: 1
steps:
  - { id: both, parallel: { branches: [a, b] }, max_visits: 2, on_success: last }
  - { id: a, worker: etl, skip_if_exists: /inputs/a, on_success: a2 }
  - { id: a2, worker: etl, max_visits: 2, on_success: join }
  - { id: b, worker: etl, on_success: join }
  - { id: last, worker: judge, branches: [{ when: last.again, to: both }], on_success: { end: done } }
";
    let mut run = Simulator::begin(yaml, json!({ "a": 1 }));
    let begun = run.signal(0, &Signal::Replay).unwrap();
    assert_eq!(
        (begun.state, begun.step.as_str(), begun.reason.as_str()),
        (RunState::Running, "both", "begun")
    );
    let mut visits = |count: u32| {
        assert_eq!((run.row(1).step.as_str(), run.working()), ("a2", vec![1, 2]), "it is there already");
        for step in ["both", "a", "a2", "b"] {
            assert_eq!(run.memory.visits[step], count, "{step}");
        }
        run.done("a2", &json!({}));
        run.done("b", &json!({}));
        run.done("last", &json!({ "again": true }));
    };
    visits(1);
    visits(2);
    assert_eq!(run.run().0, RunState::Dead, "the third visit is one too many");
}
