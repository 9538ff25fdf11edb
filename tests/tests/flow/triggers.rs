//! Triggers: by an entry, by the clock, by events of runs and of others. Each firing ends as exactly one of run, merged,
//! suppressed, whoever fires it and however often.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta};
use local::Signal;
use record::{Firing, FiringFilter, LetterFilter};
use serde_json::{Value, json};
use testkit::eventually;

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event};
use crate::registry::{activate, digest, registered};

pub(crate) async fn firings(fleet: &Fleet, trigger: &str) -> Vec<Firing> {
    let filter = FiringFilter { trigger: Some(trigger.to_owned()), ..FiringFilter::default() };
    fleet.record.firings(&filter, 1000).await.unwrap()
}

/// Waits until a trigger has this many firings and all are concluded.
pub(crate) async fn concluded(fleet: &Fleet, trigger: &str, count: usize) -> Vec<Firing> {
    eventually(&format!("{count} firings of {trigger} are concluded"), async || {
        let all = firings(fleet, trigger).await;
        all.len() == count && all.iter().all(|firing| firing.outcome.is_some())
    })
    .await;
    firings(fleet, trigger).await
}

pub(crate) fn outcomes(firings: &[Firing]) -> Vec<&str> {
    let mut outcomes: Vec<&str> = firings.iter().filter_map(|f| f.outcome.as_deref()).collect();
    outcomes.sort_unstable();
    outcomes
}

pub(crate) async fn planners(fleet: &mut Fleet, triggers: &Value, count: usize) {
    for _ in 0..count {
        planner(fleet, triggers, &[]).await;
    }
}

/// Starts a planner with these triggers and settings, and waits until they are registered.
pub(crate) async fn planner(fleet: &mut Fleet, triggers: &Value, more: &[&str]) {
    let setting = format!("planner.triggers={triggers}");
    let set: Vec<&str> = [setting.as_str()].iter().chain(more).copied().collect();
    fleet.start_with("planner", &set, &[]).await;
    let expected = triggers.as_array().map_or(0, Vec::len);
    eventually("the triggers are registered", async || {
        fleet.record.triggers().await.is_ok_and(|known| known.iter().filter(|t| t.active).count() == expected)
    })
    .await;
}

async fn add(fleet: &Fleet, stream: &str, fields: &[(&str, &str)]) {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    fleet.streams.add_raw(stream, &fields.collect()).await.unwrap();
}

pub(crate) async fn fire(fleet: &Fleet, trigger: &str, request_id: &str, input: &Value) {
    let input = input.to_string();
    add(fleet, "planner:triggers", &[("trigger", trigger), ("request_id", request_id), ("input", &input)])
        .await;
}

async fn letters(fleet: &Fleet) -> Vec<String> {
    let letters = fleet.record.dead_letters(&LetterFilter::default(), 100).await.unwrap();
    letters.into_iter().map(|letter| letter.reason).collect()
}

#[tokio::test]
async fn an_entry_fires_once_for_its_request_id_and_ends_as_run_merged_or_suppressed() {
    let mut fleet = Fleet::quiet().await;
    let (_, payload) = event(1);
    let triggers = json!([
        { "name": "plain", "source": "plain", "payload": { "title": "fixed" },
          "project": { "body": "input.body + '!'" } },
        { "name": "merging", "source": "merging", "overlap": "merge" },
        { "name": "lone", "source": "lone", "overlap": "suppress" },
        { "name": "calm", "source": "calm", "cooldown": "1h" },
    ]);
    planners(&mut fleet, &triggers, 2).await;
    for request in ["a", "b", "a", "c"] {
        for trigger in ["plain", "merging", "lone", "calm"] {
            fire(&fleet, trigger, request, &payload).await;
        }
    }
    assert_eq!(outcomes(&concluded(&fleet, "plain", 3).await), ["run", "run", "run"]);
    let merging = concluded(&fleet, "merging", 3).await;
    assert_eq!(outcomes(&merging), ["merged", "merged", "run"]);
    assert_eq!(merging.iter().map(|f| f.run_id).collect::<BTreeSet<_>>().len(), 1, "one run serves all");
    let lone = concluded(&fleet, "lone", 3).await;
    assert_eq!(outcomes(&lone), ["run", "suppressed", "suppressed"]);
    assert!(lone.iter().filter(|f| f.run_id.is_none()).all(|f| f.reason.contains("is open")), "{lone:?}");
    let calm = concluded(&fleet, "calm", 3).await;
    assert_eq!(outcomes(&calm), ["run", "suppressed", "suppressed"]);

    // What cannot be projected is suppressed with the reason; what fires nothing is a letter.
    fire(&fleet, "plain", "empty", &json!({})).await;
    let plain = concluded(&fleet, "plain", 4).await;
    assert!(plain[0].reason.contains("`body`"), "{:?}", plain[0]);
    fire(&fleet, "nobody", "x", &json!({})).await;
    add(&fleet, "planner:triggers", &[("trigger", "plain"), ("input", "[")]).await;
    add(&fleet, "planner:triggers", &[("trigger", "plain"), ("tenant", "other")]).await;
    eventually("three letters", async || letters(&fleet).await.len() == 3).await;
    assert_eq!(firings(&fleet, "plain").await.len(), 4);

    for worker in ["etl", "embedding", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    let runs = fleet.settled(6).await;
    let of_plain = runs.iter().find(|run| run.source == "plain").unwrap();
    let body = payload["body"].as_str().unwrap();
    let detail = fleet.record.run_detail(of_plain.run_id).await.unwrap().unwrap();
    assert!(serde_json::to_string(&detail.artifacts).unwrap().contains(&body[..40]), "the projected text");
    fire(&fleet, "merging", "d", &payload).await;
    assert_eq!(outcomes(&concluded(&fleet, "merging", 4).await), ["merged", "merged", "run", "run"]);
    fleet.settled(7).await;
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_paused_source_suppresses_and_a_removed_trigger_fires_no_more() {
    let mut fleet = Fleet::quiet().await;
    let triggers = json!([{ "name": "t", "source": "s" }]);
    planners(&mut fleet, &triggers, 1).await;
    fleet.record.pause(record::PauseKind::Source, "s", "someone", "").await.unwrap();
    let payload = json!({ "body": "text" });
    // Processes look at pauses once a second.
    eventually("the pause is seen", async || {
        fire(&fleet, "t", &format!("request-{}", firings(&fleet, "t").await.len()), &payload).await;
        firings(&fleet, "t").await.iter().any(|f| f.reason.contains("paused"))
    })
    .await;
    fleet.signal("planner", Signal::SIGTERM);
    fleet.workers[0].1.wait(END).await.expect("the planner ends");
    planners(&mut fleet, &json!([]), 1).await;
    fire(&fleet, "t", "late", &payload).await;
    eventually("a letter", async || letters(&fleet).await.iter().any(|reason| reason.contains("`t`"))).await;
}

#[tokio::test]
async fn a_schedule_fires_once_a_time_with_two_planners_of_which_one_is_killed() {
    let mut fleet = Fleet::quiet().await;
    let triggers = json!([
        { "name": "tick", "source": "tick", "payload": { "body": "tick" },
          "schedule": { "cron": "* * * * * *", "timezone": "Europe/Berlin" } },
        { "name": "never", "source": "tick", "schedule": { "cron": "0 0 1 1 *" } },
    ]);
    planners(&mut fleet, &triggers, 2).await;
    eventually("it fired", async || firings(&fleet, "tick").await.len() >= 2).await;
    fleet.workers[0].1.signal(Signal::SIGKILL);
    eventually("it goes on", async || {
        firings(&fleet, "tick").await.iter().filter(|firing| firing.outcome.is_some()).count() >= 5
    })
    .await;
    fleet.signal("planner", Signal::SIGKILL);
    let fired = firings(&fleet, "tick").await;
    let mut times: Vec<_> =
        fired.iter().map(|firing| DateTime::parse_from_rfc3339(&firing.cause).unwrap()).collect();
    times.sort_unstable();
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]), "no time twice: {times:?}");
    // A time may be made up for late, and then the next are counted from now on.
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < TimeDelta::seconds(10)), "{times:?}");
    let ended = fired.iter().filter(|f| f.outcome.as_deref() == Some("run")).count();
    assert_eq!(fleet.runs().await.len(), ended, "one run for each concluded firing");
    assert!(firings(&fleet, "never").await.is_empty());
}

#[tokio::test]
async fn what_happens_to_runs_fires_triggers_that_never_follow_from_themselves() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add([event(0)]).await;
    fleet.settled(1).await;
    fleet.signal("planner", Signal::SIGTERM);
    let triggers = json!([
        { "name": "follow", "source": "follow", "payload": { "title": "A run was published" },
          "project": { "body": "'A run was ' + input.cause.data.state + ': it left its last step and went out.'" },
          "on": { "from": "runs", "type": "io.tidemill.run.published" } },
        { "name": "next", "source": "next", "payload": { "body": "Something followed from something else." },
          "on": { "from": "runs", "type": "io.tidemill.run.accepted", "when": "event.data.reason == 'follow'" } },
        { "name": "stranger", "source": "s", "tenant": "other", "payload": { "body": "x" },
          "on": { "from": "runs", "type": "*" } },
        { "name": "unclear", "source": "s", "payload": { "body": "x" },
          "on": { "from": "runs", "type": "io.tidemill.run.accepted", "when": "event.data.nothing == 'x'" } },
    ]);
    planners(&mut fleet, &triggers, 2).await;
    fleet.add([event(1)]).await;
    // The event's run is published: a follow-up. That is accepted: `next` runs. Both are published in turn, which would fire
    // `follow` again, from its own run.
    let follow = concluded(&fleet, "follow", 3).await;
    assert_eq!(outcomes(&follow), ["run", "suppressed", "suppressed"]);
    assert!(
        follow.iter().filter(|f| f.run_id.is_none()).all(|f| f.reason.contains("its own run: follow")),
        "{follow:?}"
    );
    let next = concluded(&fleet, "next", 1).await;
    assert_eq!((next[0].chain.clone(), outcomes(&next)), (vec!["follow".to_owned()], vec!["run"]));
    assert!(firings(&fleet, "stranger").await.is_empty(), "another tenant's runs are not seen");
    let unclear = concluded(&fleet, "unclear", 3).await;
    assert!(unclear.iter().all(|f| f.reason.contains("cannot be judged")), "{unclear:?}");
    let runs = fleet.settled(4).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    // Links of the run's chain stay in one trace.
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_trigger_does_not_follow_from_a_run_that_goes_on_in_place_of_its_own() {
    let mut fleet = Fleet::quiet().await;
    let triggers = json!([{ "name": "echo", "source": "echo", "payload": { "body": "An echo." },
                            "on": { "from": "runs", "type": "io.tidemill.run.accepted" } }]);
    planners(&mut fleet, &triggers, 1).await;
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let body = json!({ "source": "s", "request_id": "one", "payload": event(1).1 });
    assert!(desk.post("/v1/events", body).await.0.is_success());
    let fired = concluded(&fleet, "echo", 2).await;
    assert_eq!(outcomes(&fired), ["run", "suppressed"]);
    let own = fired.iter().find_map(|firing| firing.run_id).unwrap();
    assert!(desk.post(&format!("/v1/runs/{own}/cancel"), json!({})).await.0.is_success());
    let (status, again) = desk.post(&format!("/v1/runs/{own}/rerun"), json!({})).await;
    assert_eq!(status.as_u16(), 201, "{again}");
    let last = concluded(&fleet, "echo", 3).await.remove(0);
    assert!(last.reason.contains("its own run: echo"), "{last:?}");
}

#[tokio::test]
async fn events_of_others_are_stored_before_they_are_acknowledged_and_fire_once() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add([event(0)]).await;
    fleet.settled(1).await;
    fleet.signal("planner", Signal::SIGKILL);
    let told = |id: &str, kind: &str| {
        json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "data": { "name": "lamp" },
            "traceparent": "no trace\0context" })
        .to_string()
    };
    // While no planner reads, nothing is trimmed, however short the feed should be.
    let sold = told("1", "com.example.sold");
    add(&fleet, "dataset:events", &[("event", &sold)]).await;
    for number in 0..300 {
        let other = told(&format!("other-{number}"), "com.example.other");
        add(&fleet, "dataset:events", &[("tenant", "default"), ("event", &other)]).await;
    }
    add(&fleet, "dataset:events", &[("event", "no event")]).await;
    let before = fleet.streams.tail("dataset:events", "0-0").await.unwrap().next(10_000).await.unwrap().len();
    assert!(before >= 302);
    let triggers = json!([{ "name": "sold", "source": "sold",
        "project": { "body": "'Somebody bought a ' + input.cause.data.name + ' in the shop today.'" },
        "on": { "from": "outside", "type": "com.example.sold", "when": "event.data.name == 'lamp'" } }]);
    let setting = format!("planner.triggers={triggers}");
    for _ in 0..2 {
        fleet.start_with("planner", &[&setting, "planner.relay.length=50"], &[]).await;
    }
    let letter = async || letters(&fleet).await.iter().any(|reason| reason.contains("no event"));
    eventually("what is no event is a letter", letter).await;
    assert!(firings(&fleet, "sold").await.is_empty(), "it happened before the trigger was there");
    add(&fleet, "dataset:events", &[("event", &told("2", "com.example.sold"))]).await;
    add(&fleet, "dataset:events", &[("event", &told("2", "com.example.sold"))]).await;
    assert_eq!(outcomes(&concluded(&fleet, "sold", 1).await), ["run"]);
    let runs = fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    // All is acknowledged now, so that the feed is kept short: about its length, in whole nodes of the stream.
    eventually("the feed is short", async || {
        let mut tail = fleet.streams.tail("dataset:events", "0-0").await.unwrap();
        tail.next(10_000).await.unwrap().len() < 200
    })
    .await;
    assert_eq!(letters(&fleet).await.len(), 1, "this fleet's own events are skipped");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_trigger_is_fired_by_hand_once_for_a_request_id_and_by_its_own_tenant() {
    let mut fleet = Fleet::quiet().await;
    let triggers =
        json!([{ "name": "t", "source": "s" }, { "name": "foreign", "source": "s", "tenant": "other" }]);
    planners(&mut fleet, &triggers, 1).await;
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let listed = desk.get("/v1/triggers").await.1;
    assert_eq!(listed["triggers"].as_array().unwrap().len(), 1, "{listed}");
    let body = json!({ "request_id": "one", "input": { "body": "By hand." } });
    let (status, fired) = desk.post("/v1/triggers/t/fire", body.clone()).await;
    assert_eq!((status.as_u16(), &fired["kind"]), (202, &json!("manual")), "{fired}");
    concluded(&fleet, "t", 1).await;
    let (status, again) = desk.post("/v1/triggers/t/fire", body).await;
    assert_eq!((status.as_u16(), &again["outcome"]), (200, &json!("run")), "{again}");
    for (path, body, expected) in [
        ("/v1/triggers/foreign/fire", json!({}), 404),
        ("/v1/triggers/nobody/fire", json!({}), 404),
        ("/v1/triggers/t/fire", json!({ "input": [] }), 400),
        ("/v1/triggers/t/fire", json!({ "colour": "red" }), 400),
        ("/v1/triggers/t/fire", json!({ "request_id": "" }), 400),
        ("/v1/triggers/t/fire", json!({ "input": { "body": "x".repeat(300_000) } }), 400),
    ] {
        assert_eq!(desk.post(path, body).await.0.as_u16(), expected, "{path}");
    }
    let shown = desk.get("/v1/firings?trigger=t&outcome=run").await.1;
    assert_eq!(shown["firings"].as_array().unwrap().len(), 1, "{shown}");
    assert!(desk.get("/v1/firings?outcome=suppressed").await.1["firings"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn times_that_passed_are_made_up_for_as_the_schedule_says() {
    let mut fleet = Fleet::on(testkit::Servers::start_own().await).await;
    let trigger = |name: &str, catch_up: &str| {
        json!({ "name": name, "source": name, "payload": { "body": "An hour." },
                "schedule": { "cron": "0 * * * *", "catch_up": catch_up } })
    };
    let triggers = json!([trigger("none", "none"), trigger("once", "once"), trigger("all", "all")]);
    planners(&mut fleet, &triggers, 1).await;
    fleet.signal("planner", Signal::SIGKILL);
    // As if the planners had been away for some hours.
    let text = "UPDATE triggers SET next_at = date_trunc('hour', now()) - interval '3 hours'";
    fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap();
    planners(&mut fleet, &triggers, 1).await;
    let all = concluded(&fleet, "all", 4).await;
    assert_eq!(outcomes(&all), ["run"; 4]);
    assert_eq!(outcomes(&concluded(&fleet, "once", 1).await), ["run"]);
    let none = concluded(&fleet, "none", 1).await;
    assert_eq!(outcomes(&none), ["suppressed"]);
    assert!(none[0].reason.contains("late"), "{none:?}");
}

#[tokio::test]
async fn a_trigger_has_any_workflow_as_its_target() {
    let mut fleet = Fleet::with(&["gateway", "etl", "judge", "publisher"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let version = registered(&desk, &digest(1)).await;
    activate(&desk, &version, "finish").await;
    fleet.kill("planner").await;
    planners(&mut fleet, &json!([{ "name": "t", "source": "by-hand", "workflow": "digest" }]), 1).await;
    let (_, payload) = event(1);
    let (status, fired) = desk.post("/v1/triggers/t/fire", json!({ "input": payload })).await;
    assert_eq!(status.as_u16(), 202, "{fired}");
    let run = fleet.settled(1).await.remove(0);
    assert_eq!((run.pipeline_version.as_str(), run.state.as_str()), (version.as_str(), "published"));
    assert_eq!((run.source.as_str(), run.planner_intent.as_str()), ("by-hand", "tell of what is asked for"));
    fleet.assert_consistent().await;
}
