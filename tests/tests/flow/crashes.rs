//! Processes die at the worst moments; every event still ends exactly once.

use local::Signal;
use testkit::eventually;

use crate::fleet::{END, Fleet, event, events, metrics};
use crate::misbehaviour::{ARMED, rogue};

#[tokio::test]
async fn events_added_to_the_stream_run_through_to_their_end_and_broken_entries_become_letters_byte_for_byte()
{
    let fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    fleet.add(events(20)).await;
    let garbage = vec![(b"what".to_vec(), vec![0, 0xff, 0xfe])];
    for stream in ["trend:ingest:stream", "trend:embedding:jobs", "trend:judge:jobs", "trend:publish:jobs"] {
        fleet.streams.add_raw(stream, &garbage).await.unwrap();
    }
    let runs = fleet.settled(20).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    eventually("each broken entry is a letter", async || {
        fleet
            .record
            .dead_letters(&record::LetterFilter::default(), 100)
            .await
            .is_ok_and(|letters| letters.len() == 4)
    })
    .await;
    let letters = fleet.record.dead_letters(&record::LetterFilter::default(), 100).await.unwrap();
    assert!(letters.iter().all(|letter| letter.fields == garbage && letter.run.is_none()), "{letters:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn the_same_upstream_entry_twice_is_one_run() {
    let fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    // Many pairs, so that of some the later one is analysed first.
    fleet.add((0..40).flat_map(|number| [event(number), event(number)])).await;
    let runs = fleet.settled(40).await;
    let duplicates: Vec<_> = runs.iter().filter_map(|run| run.duplicate_of).collect();
    assert!(
        duplicates.iter().all(|of| runs.iter().any(|run| run.run_id.0 == *of)),
        "a duplicate of what is there"
    );
    let exact = runs.iter().filter(|run| run.reason.contains("exact_duplicate")).count();
    assert_eq!(exact, 0, "no text is there twice: {runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn upstream_entries_wait_for_the_first_planner() {
    let mut fleet = Fleet::quiet().await;
    for worker in ["etl", "embedding", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    fleet.add([event(1), event(2)]).await;
    eventually("ETL says what it waits for", async || {
        fleet.workers.iter().any(|(_, worker)| worker.log().contains("wait for a planner"))
    })
    .await;
    fleet.start("planner").await;
    let runs = fleet.settled(2).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn two_identical_texts_at_two_etl_processes_give_one_post_and_its_duplicate() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    fleet.start("etl").await;
    fleet.start("etl").await;
    let (_, payload) = event(7);
    fleet.add((0..10).map(|n| (format!("copy-{n}"), payload.clone()))).await;
    let runs = fleet.settled(10).await;
    let published: Vec<_> = runs.iter().filter(|run| run.state == "published").collect();
    assert_eq!(published.len(), 1, "{runs:?}");
    assert!(
        runs.iter().filter(|r| r.state == "duplicate").all(|r| r.duplicate_of == Some(published[0].run_id.0))
    );
    fleet.assert_consistent().await;
}

/// Each worker in turn is killed with SIGKILL in mid-flow, twice, and started again.
#[tokio::test]
async fn every_event_ends_once_though_each_worker_is_killed_twice() {
    let mut fleet = Fleet::with(&["etl", "embedding", "judge", "publisher"]).await;
    for round in 0..2 {
        for (number, name) in ["etl", "embedding", "judge", "publisher"].into_iter().enumerate() {
            let first = (round * 4 + number) * 25;
            fleet.add((first..first + 25).map(event)).await;
            fleet.signal(name, Signal::SIGKILL);
            fleet.workers.retain_mut(|(of, worker)| *of != name || !worker.has_ended());
            fleet.start(name).await;
        }
    }
    let runs = fleet.settled(200).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn a_worker_that_sleeps_beyond_the_takeover_time_changes_nothing_when_it_wakes() {
    let mut fleet = Fleet::with(&["embedding", "judge", "publisher"]).await;
    fleet.start_with("etl", &[], &ARMED).await;
    fleet.add((0..8).map(|n| rogue(&format!("slow-{n}"), n, "5s"))).await;
    eventually("it holds all of them", async || {
        let consumers = fleet.streams.consumers("etl", 0).await.unwrap_or_default();
        consumers.iter().map(|consumer| consumer.pending).sum::<u64>() == 8
    })
    .await;
    let sleeper = fleet.workers.pop().unwrap();
    fleet.workers.insert(0, sleeper);
    fleet.workers[0].1.signal(Signal::SIGSTOP);
    fleet.start_with("etl", &[], &ARMED).await;
    let runs = fleet.settled(8).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.workers[0].1.signal(Signal::SIGCONT);
    // What it does with the jobs once it wakes: they are lost to it, or its commits lose.
    eventually("it lets go of all eight", async || {
        let told = metrics(&fleet.workers[0].1).await;
        ["abandoned", "known", "lost", "lost_by_one"].map(|outcome| jobs(&told, outcome)).iter().sum::<u64>()
            == 8
    })
    .await;
    assert_eq!(jobs(&metrics(&fleet.workers[0].1).await, "done"), 0, "none of its results counts");
    assert_eq!(fleet.runs().await, runs);
    fleet.assert_consistent().await;
}

/// The counter of jobs with this outcome.
fn jobs(metrics: &str, outcome: &str) -> u64 {
    let label = format!("outcome=\"{outcome}\"");
    let line = metrics.lines().find(|line| line.starts_with("tidemill_jobs_total") && line.contains(&label));
    line.and_then(|line| line.rsplit(' ').next()).map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn a_worker_told_to_stop_finishes_what_it_can_gives_the_rest_back_at_once_and_exits_with_success() {
    let mut fleet = Fleet::with(&[]).await;
    fleet.start_with("etl", &["worker.grace=10s"], &ARMED).await;
    let long = (100..103).map(|n| rogue(&format!("long-{n}"), n, "100s"));
    fleet.add((0..20).map(|n| rogue(&format!("short-{n}"), n, "500ms")).chain(long)).await;
    let pending = async || {
        let consumers = fleet.streams.consumers("etl", 0).await.unwrap_or_default();
        consumers.iter().map(|consumer| (consumer.name.clone(), consumer.pending)).collect::<Vec<_>>()
    };
    eventually("it holds all of them", async || {
        pending().await.iter().map(|(_, held)| held).sum::<u64>() == 23
    })
    .await;
    let (_, etl) = &mut fleet.workers[1];
    etl.signal(Signal::SIGTERM);
    let status = etl.wait(END).await.expect("it ends in its grace period");
    assert_eq!(status.code(), Some(0), "{}", etl.log());
    let pending = async || {
        let consumers = fleet.streams.consumers("etl", 0).await.unwrap_or_default();
        consumers.iter().map(|consumer| (consumer.name.clone(), consumer.pending)).collect::<Vec<_>>()
    };
    assert_eq!(pending().await, [("given-back".to_owned(), 3)], "what it could not finish");
    assert_eq!(fleet.runs().await.iter().filter(|run| run.step == "embedding").count(), 20);
    // The next one takes them over without waiting for anything to be silent.
    fleet.start_with("etl", &["worker.takeover_after=1h"], &ARMED).await;
    eventually("the next one holds them", async || {
        let consumers = fleet.streams.consumers("etl", 0).await.unwrap_or_default();
        consumers.iter().any(|consumer| consumer.name != "given-back" && consumer.pending == 3)
    })
    .await;
}
