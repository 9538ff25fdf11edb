//! Jobs that crash, overflow or dawdle harm themselves alone.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{Servers, eventually};

use crate::fleet::{Fleet, event, events};

/// Lets jobs misbehave as their payload says.
pub(crate) const ARMED: [(&str, &str); 1] = [("TIDEMILL_MISBEHAVE", "1")];

/// An event whose job is told to misbehave.
pub(crate) fn rogue(request_id: &str, number: usize, how: &str) -> (String, Value) {
    let (_, mut payload) = event(number);
    payload["misbehave"] = json!(how);
    (request_id.to_owned(), payload)
}

#[tokio::test]
async fn a_job_that_crashes_its_process_each_time_dies_alone() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    let mut batch = events(40);
    batch.insert(20, rogue("poison", 999, "crash"));
    fleet.add(batch).await;
    let mut crashes = 0;
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        assert!(Instant::now() < until, "the poison never died: {:?}", fleet.runs().await);
        let alive = fleet.workers.iter_mut().any(|(name, worker)| *name == "etl" && !worker.has_ended());
        if !alive {
            crashes += 1;
            fleet.workers.retain(|(name, _)| *name != "etl");
            fleet.start_with("etl", &["worker.takeover_after=1s"], &ARMED).await;
        }
        let runs = fleet.runs().await;
        if runs.len() == 41 && runs.iter().all(|run| run.state != "running") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let runs = fleet.runs().await;
    let dead: Vec<_> = runs.iter().filter(|run| run.state == "dead").collect();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].request_id, "poison");
    assert!(runs.iter().all(|run| ["dead", "published"].contains(&run.state.as_str())), "{runs:?}");
    // The first start, then two shared and three solitary deliveries that each took a process with them.
    assert_eq!(crashes, 6, "processes that were started");
    let letters = fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].run, Some(dead[0].run_id));
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn of_a_group_of_256_the_row_that_postgres_refuses_fails_alone() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    let mut batch = events(255);
    batch.insert(100, rogue("refused", 999, "overflow"));
    fleet.add(batch).await;
    fleet.start_with("etl", &[], &ARMED).await;
    let runs = fleet.settled(256).await;
    let dead: Vec<_> = runs.iter().filter(|run| run.state == "dead").collect();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!(dead[0].request_id, "refused");
    assert!(dead[0].reason.contains("the record refuses"), "{}", dead[0].reason);
    assert_eq!(dead[0].attempt, 0, "what PostgreSQL refuses for good is not tried again");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_run_that_cannot_be_read_stops_no_other() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add(events(6)).await;
    eventually("all wait for the judge", async || {
        fleet.runs().await.iter().filter(|run| run.step == "judge").count() == 6
    })
    .await;
    let odd = fleet.runs().await[3].run_id;
    let postgres = fleet.servers.postgres.as_ref().unwrap();
    postgres.sql("tidemill", &format!("UPDATE runs SET chain_head = 'odd' WHERE run_id = '{odd}'")).unwrap();
    fleet.start("judge").await;
    eventually("its neighbours end", async || {
        fleet.runs().await.iter().filter(|run| run.state == "published").count() == 5
    })
    .await;
    let letters = fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap();
    assert!(!letters.is_empty() && letters.iter().all(|letter| letter.run.is_none()), "{letters:?}");
    let expected = format!("run {odd} that cannot be read: its chain head is no SHA-256");
    assert!(letters.iter().all(|letter| letter.reason.contains(&expected)), "{letters:?}");
}

#[tokio::test]
async fn of_two_entries_of_one_run_in_one_read_the_present_one_is_handled_and_the_other_is_deleted() {
    let mut fleet = Fleet::with(&["etl", "embedding", "publisher"]).await;
    fleet.add(events(3)).await;
    eventually("all wait for the judge", async || {
        fleet.streams.backlog("judge").await.is_ok_and(|backlog| backlog.stream == 3)
    })
    .await;
    let page = fleet.streams.page("judge", 0, None, 10).await.unwrap();
    for entry in &page.entries {
        let mut behind = entry.fields.clone();
        behind.iter_mut().find(|(name, _)| name == b"seq").unwrap().1 = b"0".to_vec();
        fleet.streams.add_raw("trend:judge:jobs", &behind).await.unwrap();
        fleet.streams.add_raw("trend:judge:jobs", &entry.fields).await.unwrap();
    }
    fleet.start("judge").await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap(), []);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_slow_job_keeps_its_entry_and_delays_nobody() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    // Two processes: the other one must not take over what is slow but alive.
    for _ in 0..2 {
        fleet.start_with("etl", &["worker.takeover_after=4s"], &ARMED).await;
    }
    fleet.add([rogue("two-minutes", 998, "120s"), rogue("slow", 999, "25s")]).await;
    fleet.add(events(100)).await;
    eventually("the fast ones are done", async || {
        let mut runs = fleet.runs().await;
        runs.retain(|run| run.request_id != "slow");
        runs.len() == 100 && runs.iter().all(|run| run.state != "running")
    })
    .await;
    assert_eq!(fleet.streams.backlog("etl").await.unwrap().stream, 2, "both slow ones are under way still");
    eventually("the slow one ends", async || fleet.runs().await.iter().any(|run| run.request_id == "slow"))
        .await;
    eventually("it is published", async || {
        fleet.runs().await.iter().any(|run| run.request_id == "slow" && run.state == "published")
    })
    .await;
    let taken_over = fleet.workers.iter().filter(|(_, worker)| worker.log().contains("took over")).count();
    assert_eq!(taken_over, 0, "a renewed entry is not taken over");
    assert_eq!(fleet.streams.backlog("etl").await.unwrap().stream, 1);
}
