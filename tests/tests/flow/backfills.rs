//! Backfills: the times of a schedule over a range, beside what the schedule itself fires.

use record::Firing;
use serde_json::{Value, json};
use testkit::{Servers, eventually};

use crate::door::{ALL, Desk};
use crate::fleet::{Fleet, event};
use crate::registry::{activate, digest, pinned, registered, stand_at};
use crate::triggers::{concluded, fire, firings, outcomes, planner, planners};

/// Fires the times of a trigger between two times.
async fn backfill(desk: &Desk, trigger: &str, from: &str, until: &str, more: Value) -> Value {
    let mut range = json!({ "from": from, "until": until, "rate": "20/s" });
    range.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, begun) = desk.post(&format!("/v1/triggers/{trigger}/backfill"), range).await;
    assert_eq!(status.as_u16(), 202, "{begun}");
    begun
}

/// How many firings each backfill made, the newest first, once all are done.
async fn done(desk: &Desk) -> Vec<Value> {
    let all = async || desk.get("/v1/backfills").await.1["backfills"].as_array().unwrap().clone();
    eventually("the backfills are done", async || all().await.iter().all(|one| !one["ended_at"].is_null()))
        .await;
    all().await.iter().map(|one| one["fired"].clone()).collect()
}

#[tokio::test]
async fn a_backfill_fires_each_time_of_its_range_once_and_tells_nobody_where_it_is_asked_not_to() {
    let mut fleet = Fleet::quiet().await;
    let schedule = json!({ "cron": "0 7 * * *", "deadline": "1h" });
    let triggers = json!([
        { "name": "daily", "source": "daily", "payload": { "body": "A day." }, "schedule": schedule,
          "overlap": "suppress", "cooldown": "1h" },
        { "name": "plain", "source": "plain" },
        { "name": "follow", "source": "follow", "payload": { "body": "x" },
          "on": { "from": "runs", "type": "io.tidemill.run.accepted", "when": "event.data.reason == 'daily'" } },
    ]);
    planners(&mut fleet, &triggers, 2).await;
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let range = |until: &str| json!({ "from": "2026-01-01T07:00:00Z", "until": until, "rate": "20/s", "quiet": true });
    let (status, begun) = desk.post("/v1/triggers/daily/backfill", range("2026-01-04T07:00:00Z")).await;
    assert_eq!(status.as_u16(), 202, "{begun}");
    let fired = concluded(&fleet, "daily", 3).await;
    assert_eq!(
        outcomes(&fired),
        ["run", "run", "run"],
        "neither overlap, cooldown nor deadline is heeded: {fired:?}"
    );
    assert_eq!(fired[2].cause, "2026-01-01T07:00:00Z");

    let louder = json!({ "from": "2026-01-01T00:00:00Z", "until": "2026-01-05T07:00:01Z", "rate": "600/m" });
    desk.post("/v1/triggers/daily/backfill", louder).await;
    let fired = concluded(&fleet, "daily", 5).await;
    assert_eq!(outcomes(&fired), ["run"; 5]);
    assert_eq!(done(&desk).await, [2, 3], "what fired before does not fire again");
    // Two of the five were told of: those of the backfill that did not ask for silence.
    let followed = concluded(&fleet, "follow", 2).await;
    assert_eq!(outcomes(&followed), ["run", "run"]);
    let told = crate::relay::told(&fleet).await;
    let tells_of = |firing: &Firing| {
        let run = firing.run_id.unwrap().to_string();
        told.iter().any(|id| id.starts_with(&run))
    };
    assert_eq!(fired.iter().map(tells_of).collect::<Vec<_>>(), [true, true, false, false, false], "{told:?}");

    for (path, body, expected) in [
        ("/v1/triggers/plain/backfill", range("2026-01-04T07:00:00Z"), 400),
        ("/v1/triggers/daily/backfill", range("2026-01-01T07:00:00Z"), 400),
        ("/v1/triggers/nobody/backfill", range("2026-01-04T07:00:00Z"), 404),
        ("/v1/triggers/daily/backfill", json!({ "from": "yesterday", "until": "today" }), 400),
    ] {
        assert_eq!(desk.post(path, body).await.0.as_u16(), expected, "{path}");
    }
    let slow = json!({ "from": "2020-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z", "rate": "1/h" });
    let (_, slow) = desk.post("/v1/triggers/daily/backfill", slow).await;
    let stop = format!("/v1/backfills/{}/stop", slow["backfill_id"].as_str().unwrap());
    let (status, stopped) = desk.post(&stop, json!({})).await;
    assert_eq!(status.as_u16(), 200, "{stopped}");
    assert!(stopped["stopped_by"].is_string(), "{stopped}");
    let stranger = Desk::of(&fleet, "other", &ALL).await;
    assert_eq!(stranger.post(&stop, json!({})).await.0.as_u16(), 404);
}

#[tokio::test]
async fn a_backfill_is_no_earlier_run_for_what_fires_beside_it() {
    let mut fleet = Fleet::quiet().await;
    let yearly = |name: &str, more: Value| {
        let mut trigger = json!({ "name": name, "source": name, "payload": { "body": "A year." },
                                  "schedule": { "cron": "0 7 1 1 *" } });
        trigger.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        trigger
    };
    let triggers = json!([
        yearly("lone", json!({ "overlap": "suppress" })),
        yearly("calm", json!({ "cooldown": "1h" }))
    ]);
    planners(&mut fleet, &triggers, 2).await;
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    for trigger in ["lone", "calm"] {
        backfill(&desk, trigger, "2020-01-01T00:00:00Z", "2022-01-01T00:00:00Z", json!({})).await;
        assert_eq!(outcomes(&concluded(&fleet, trigger, 2).await), ["run"; 2]);
        fire(&fleet, trigger, "one", &json!({})).await;
        assert_eq!(outcomes(&concluded(&fleet, trigger, 3).await), ["run"; 3], "no run of its own is open");
    }
    let own = concluded(&fleet, "lone", 3).await[0].run_id.unwrap();
    backfill(&desk, "lone", "2022-01-01T00:00:00Z", "2023-01-01T08:00:00Z", json!({})).await;
    for firing in &concluded(&fleet, "lone", 5).await[..2] {
        let path = format!("/v1/runs/{}/cancel", firing.run_id.unwrap());
        assert!(desk.post(&path, json!({})).await.0.is_success());
    }
    fire(&fleet, "lone", "two", &json!({})).await;
    let last = concluded(&fleet, "lone", 6).await.remove(0);
    assert_eq!(last.reason, format!("run {own} of an earlier firing is open"), "{last:?}");
}

#[tokio::test]
async fn a_migrated_run_is_still_its_triggers_and_as_quiet_as_before() {
    let mut fleet = Fleet::with(&["gateway", "etl"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let versions = [registered(&desk, &digest(1)).await, registered(&desk, &digest(2)).await];
    activate(&desk, &versions[0], "finish").await;
    fleet.kill("planner").await;
    let triggers = json!([{ "name": "t", "source": "t", "workflow": "digest", "payload": event(1).1,
                            "schedule": { "cron": "0 7 1 1 *" }, "overlap": "merge" }]);
    planners(&mut fleet, &triggers, 1).await;
    backfill(&desk, "t", "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z", json!({ "quiet": true })).await;
    let quiet = concluded(&fleet, "t", 1).await[0].run_id.unwrap();
    fire(&fleet, "t", "one", &json!({})).await;
    let own = concluded(&fleet, "t", 2).await[0].run_id.unwrap();
    stand_at(&fleet, "judge", 2).await;

    activate(&desk, &versions[1], "migrate").await;
    let successors = async || {
        let runs = fleet.runs().await;
        let after = |run: model::RunId| {
            let new = pinned(&runs, &versions[1]);
            new.iter().find(|one| one.rerun_of == Some(run.0) && one.step == "judge").map(|one| one.run_id)
        };
        after(quiet).zip(after(own))
    };
    eventually("both were migrated", async || successors().await.is_some()).await;
    let (quiet, own) = successors().await.unwrap();
    fire(&fleet, "t", "two", &json!({})).await;
    let last = concluded(&fleet, "t", 3).await.remove(0);
    assert_eq!((last.outcome.as_deref(), last.run_id), (Some("merged"), Some(own)), "{last:?}");

    // What happens after both were migrated is told after that.
    let (_, later) = desk.post("/v1/runs", json!({ "workflow": "digest", "inputs": event(2).1 })).await;
    let tells_of = async |run: &str| crate::relay::told(&fleet).await.iter().any(|id| id.starts_with(run));
    let later = later["run_id"].as_str().unwrap();
    eventually("the later run is told of", async || tells_of(later).await).await;
    assert!(tells_of(&own.to_string()).await);
    assert!(!tells_of(&quiet.to_string()).await, "a backfill asked for silence");
}

#[tokio::test]
async fn a_backfill_makes_up_for_times_that_were_suppressed() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    let trigger = |name: &str, more: Value| {
        let mut schedule = json!({ "cron": "0 * * * *" });
        schedule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "name": name, "source": name, "payload": { "body": "An hour." }, "schedule": schedule })
    };
    let triggers =
        json!([trigger("due", json!({ "deadline": "1m" })), trigger("none", json!({ "catch_up": "none" }))]);
    planners(&mut fleet, &triggers, 1).await;
    fleet.start("gateway").await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    fleet.kill("planner").await;
    // As if the planners had been away for some hours.
    let text = "UPDATE triggers SET next_at = date_trunc('hour', now()) - interval '3 hours'";
    let sql = |text: &str| fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap();
    sql(text);
    let missed = sql(
        "SELECT to_char((date_trunc('hour', now()) - interval '3 hours') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
    );
    let missed = missed.trim().to_owned();
    let until = missed.replace(":00:00Z", ":00:01Z");
    // Of one it is asked for before the planners are back, of the other afterwards.
    backfill(&desk, "none", &missed, &until, json!({})).await;
    planners(&mut fleet, &triggers, 1).await;
    let late = concluded(&fleet, "due", 1).await;
    assert!(late[0].cause == missed && late[0].reason.contains("late"), "{late:?}");
    backfill(&desk, "due", &missed, &until, json!({})).await;
    assert_eq!(done(&desk).await, [1, 1]);
    for trigger in ["due", "none"] {
        let fired = concluded(&fleet, trigger, 1).await;
        assert_eq!((fired[0].cause.as_str(), outcomes(&fired)), (missed.as_str(), vec!["run"]), "{fired:?}");
    }
    backfill(&desk, "due", &missed, &until, json!({})).await;
    assert_eq!(done(&desk).await, [0, 1, 1], "what has a run does not fire again");
}

#[tokio::test]
async fn over_the_high_water_mark_firings_stay_open_and_a_backfill_waits_for_them() {
    let mut fleet = Fleet::with(&["gateway"]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let document =
        "name: judged\nversion: 1\nsteps:\n  - { id: judge, worker: judge, on_success: { end: done } }\n";
    activate(&desk, &registered(&desk, document).await, "finish").await;
    fleet.kill("planner").await;
    let triggers = json!([
        { "name": "daily", "source": "daily", "payload": event(1).1, "schedule": { "cron": "0 7 * * *" } },
        { "name": "judged", "source": "judged", "workflow": "judged" },
    ]);
    planner(&mut fleet, &triggers, &["worker.high_water=2"]).await;
    let (from, until) = ("2026-01-01T00:00:00Z", "2026-01-07T00:00:00Z");
    backfill(&desk, "daily", from, until, json!({ "rate": "2/s" })).await;
    let open = async || {
        let fired = firings(&fleet, "daily").await;
        (fired.len(), fired.iter().filter(|firing| firing.outcome.is_none()).count())
    };
    eventually("the stream is full", async || open().await == (4, 1)).await;
    // Other triggers go on, and rounds pass.
    for number in 0..2 {
        fire(&fleet, "judged", &format!("{number}"), &event(number).1).await;
        assert_eq!(outcomes(&concluded(&fleet, "judged", number + 1).await), vec!["run"; number + 1]);
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        assert_eq!(open().await, (4, 1), "it neither begins nor fires more");
    }
    for worker in ["etl", "embedding", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    assert_eq!(outcomes(&concluded(&fleet, "daily", 6).await), ["run"; 6]);
    assert_eq!(done(&desk).await, [6]);
    fleet.settled(8).await;
    fleet.assert_consistent().await;
}
