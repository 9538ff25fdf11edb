//! A worker dies at every point around forks, joins and loops in turn; every step is still done as often as it should be.

use local::Signal;

use crate::branches::{FORKED, LOOPING, serving};
use crate::fleet::{END, Fleet, event};

/// Lets the worker die at each point, with one run each, and another one take its place; every run ends so.
async fn walk(fleet: &mut Fleet, name: &'static str, points: &[&str], state: &str) {
    for (round, point) in points.iter().enumerate() {
        let marker = fleet.servers.folder().join(format!("{name}-died-at-{}", point.replace(':', "-")));
        let environment = [
            ("TIDEMILL_FAILPOINT", *point),
            ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().expect("a path in UTF-8")),
        ];
        let settings = ["worker.takeover_after=1s"];
        fleet.start_with(name, &settings, &environment).await;
        fleet.add([event(round)]).await;
        let (_, dying) = fleet.workers.last_mut().expect("the worker just started");
        let died = dying.wait(END).await;
        assert!(
            died.is_some_and(|status| status.code().is_none()),
            "{name} dies at {point}: {}",
            dying.log()
        );
        fleet.workers.pop();
        fleet.start_with(name, &settings, &environment).await;
        let runs = fleet.settled(round + 1).await;
        assert!(runs.iter().all(|run| run.state == state), "after a death at {point}: {runs:?}");
        fleet.assert_consistent().await;
        fleet.signal(name, Signal::SIGKILL);
        fleet.workers.pop();
    }
}

/// How often a step was done in each run.
async fn done(fleet: &Fleet, step: &str) -> Vec<usize> {
    let mut counts = Vec::new();
    for run in fleet.runs().await {
        let detail = fleet.record.run_detail(run.run_id).await.unwrap().unwrap();
        counts.push(detail.artifacts.iter().filter(|artifact| artifact.name == step).count());
    }
    counts
}

#[tokio::test]
async fn etl_may_die_anywhere_around_a_fork_and_a_join() {
    const POINTS: [&str; 12] = [
        "read",
        // With a job of a branch in its hands.
        "read:2",
        "handled",
        "commit",
        "committed",
        "opening",
        "opened",
        "hand_over",
        "handed_over",
        // Of the second passage: the join.
        "opening:2",
        "opened:2",
        "committed:3",
    ];
    let mut fleet = serving("forked", FORKED).await;
    walk(&mut fleet, "etl", &POINTS, "done").await;
    assert_eq!(done(&fleet, "last").await, [1; POINTS.len()], "the join went on once");
}

/// Of the judge's three passages the first two go back, and the last finds the loop exhausted.
#[tokio::test]
async fn the_judge_may_die_anywhere_around_a_way_back_and_the_end_of_a_loop() {
    const POINTS: [&str; 10] = [
        "read",
        "handled",
        "commit",
        "committed",
        "hand_over",
        "handed_over",
        "commit:2",
        "committed:2",
        "commit:3",
        "committed:3",
    ];
    let mut fleet = serving("looping", LOOPING).await;
    fleet.start("etl").await;
    walk(&mut fleet, "judge", &POINTS, "needs_review").await;
    assert_eq!(done(&fleet, "etl").await, [3; POINTS.len()], "each visit once");
    assert_eq!(done(&fleet, "judge").await, [3; POINTS.len()]);
}

/// Whoever is come back to dies with the job that came back.
#[tokio::test]
async fn etl_may_die_anywhere_at_the_step_that_a_loop_comes_back_to() {
    const POINTS: [&str; 6] =
        ["read:2", "handled:2", "commit:2", "committed:2", "hand_over:2", "handed_over:2"];
    let mut fleet = serving("looping", LOOPING).await;
    fleet.start("judge").await;
    walk(&mut fleet, "etl", &POINTS, "needs_review").await;
    assert_eq!(done(&fleet, "etl").await, [3; POINTS.len()], "each visit once");
}
