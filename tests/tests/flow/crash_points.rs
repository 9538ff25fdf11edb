//! A worker dies at every point of the hand-over protocol in turn; every event still ends exactly once.

use local::Signal;
use testkit::eventually;

use crate::fleet::{Fleet, event};

/// The points that every worker passes, in the order of the protocol.
const POINTS: [&str; 6] = ["read", "handled", "commit", "committed", "hand_over", "handed_over"];
/// Those of an effect outside.
const EFFECT_POINTS: [&str; 3] = ["sent", "performed", "settled"];
/// Events of each crash.
const EVENTS: usize = 8;

async fn walk(name: &'static str, points: &[&str]) {
    let others = ["etl", "embedding", "judge", "publisher"].into_iter().filter(|other| *other != name);
    let mut fleet = Fleet::with(&others.collect::<Vec<_>>()).await;
    let settings = ["worker.takeover_after=1s", "publisher.timeout=1s"];
    for (round, point) in points.iter().enumerate() {
        let marker = fleet.servers.folder().join(format!("died-at-{point}"));
        let environment = [
            ("TIDEMILL_FAILPOINT", *point),
            ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().expect("a path in UTF-8")),
        ];
        fleet.start_with(name, &settings, &environment).await;
        fleet.add((round * EVENTS..(round + 1) * EVENTS).map(event)).await;
        let (_, dying) = fleet.workers.last_mut().expect("the worker just started");
        let died = dying.wait(crate::fleet::END).await;
        assert!(
            died.is_some_and(|status| status.code().is_none()),
            "{name} dies at {point}: {}",
            dying.log()
        );
        assert!(marker.exists(), "{name} dies at {point} and nowhere else");
        fleet.workers.pop();

        // The marker lets this one pass.
        fleet.start_with(name, &settings, &environment).await;
        let runs = fleet.settled((round + 1) * EVENTS).await;
        assert!(runs.iter().all(|run| run.state == "published"), "after a death at {point}: {runs:?}");
        fleet.assert_consistent().await;
        fleet.signal(name, Signal::SIGKILL);
        fleet.workers.pop();
    }
}

#[tokio::test]
async fn etl_may_die_anywhere() {
    walk("etl", &POINTS).await;
}

#[tokio::test]
async fn the_embedder_may_die_anywhere() {
    walk("embedding", &POINTS).await;
}

#[tokio::test]
async fn the_judge_may_die_anywhere() {
    walk("judge", &POINTS).await;
}

#[tokio::test]
async fn the_publisher_may_die_anywhere_and_posts_once() {
    // What a publisher commits is settled with its effect, so it passes the commit lane only where the effect is not
    // carried out; the points around the effect have a walk of their own.
    walk("publisher", &["read", "handled", "hand_over", "handed_over"]).await;
}

#[tokio::test]
async fn the_publisher_may_die_around_its_effect_and_posts_once() {
    walk("publisher", &EFFECT_POINTS).await;
}

/// The gateway dies between the commit of an event and the adding of its job: the event was accepted, so it ends.
#[tokio::test]
async fn the_gateway_may_die_between_commit_and_job() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.start_with("gateway", &[], &[("TIDEMILL_FAILPOINT", "accepted")]).await;
    let desk = crate::door::Desk::of(&fleet, "default", &crate::door::ALL).await;
    let (request_id, payload) = event(1);
    let body = serde_json::json!({ "source": "door", "request_id": request_id, "payload": payload });
    assert!(desk.try_post("/v1/events", &body).await.is_err(), "nobody was answered");
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "published", "{runs:?}");
    fleet.start("gateway").await;
    eventually("the same request again is the same run", async || {
        fleet.workers.iter().any(|(name, worker)| *name == "gateway" && worker.log().contains("serving"))
    })
    .await;
    fleet.workers.retain_mut(|(name, worker)| *name != "gateway" || !worker.has_ended());
    let desk = crate::door::Desk::of(&fleet, "default", &crate::door::ALL).await;
    let (_, again) = desk.post("/v1/events", body).await;
    assert_eq!(again["run_id"], runs[0].run_id.to_string());
    fleet.assert_consistent().await;
}
