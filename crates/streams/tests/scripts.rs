//! The scripts on a real Redis: who owns an entry moves it, once, and nobody else does.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::time::Duration;

use local::{PrivateRedis, RedisOptions};
use model::{EntryFields, Job, JobKey, RunId};
use tempfile::TempDir;
use tidemill_streams::{Delivery, Destination, EntryId, Error, Lane, Move, Moved, StreamNames, Streams};
use uuid::Uuid;

/// A Redis with two consumers of the embedder's stream.
struct Place {
    redis: PrivateRedis,
    streams: Streams,
    one: Lane,
    two: Lane,
    _folder: TempDir,
}

async fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let options = RedisOptions { folder: folder.path().to_owned(), appendonly: false, extra: vec![] };
    let redis = PrivateRedis::start(options).await.unwrap();
    let streams = Streams::connect(&redis.url(), StreamNames::default()).await.unwrap();
    let lane = |consumer| streams.lane("embedding", 0, consumer).unwrap();
    let (one, two) = (lane("one"), lane("two"));
    one.ensure_group().await.unwrap();
    Place { streams, one, two, redis, _folder: folder }
}

fn job(number: u128) -> Job {
    Job {
        key: JobKey { run: RunId(Uuid::from_u128(number)), branch: 0, seq: 1 },
        step: "embedding".to_owned(),
        attempt: 0,
        traceparent: None,
        enriched_trend_id: None,
    }
}

impl Place {
    async fn add(&self, count: u128) {
        let jobs: Vec<Job> = (1..=count).map(job).collect();
        self.streams.add("embedding", 0, &jobs).await.unwrap();
    }

    /// What the first consumer reads.
    async fn read(&self, count: usize) -> Vec<Delivery> {
        self.one.reader().read(count).await.unwrap()
    }

    async fn lengths(&self, worker: &str) -> (u64, u64, u64) {
        let backlog = self.streams.backlog(worker).await.unwrap();
        (backlog.stream, backlog.retry, backlog.dead_letters)
    }
}

fn next(delivery: &Delivery) -> Move {
    let to = Destination::Next { worker: "judge".to_owned(), partition: 0, job: job(77) };
    Move { id: delivery.id.clone(), deliveries: delivery.deliveries, to }
}

fn to(delivery: &Delivery, to: Destination) -> Move {
    Move { id: delivery.id.clone(), deliveries: delivery.deliveries, to }
}

/// Takes over everything, at once.
async fn claim(lane: &Lane, suspects: usize) -> Vec<Delivery> {
    lane.claim(Duration::ZERO, "0-0", 100, suspects).await.unwrap().deliveries
}

#[tokio::test]
async fn a_group_goes_to_its_four_destinations_in_one_step_and_leaves_nothing_behind() {
    let place = place().await;
    place.add(4).await;
    let held = place.read(10).await;
    let letter: EntryFields = vec![(b"what".to_vec(), vec![0, 0xff])];
    let moves = [
        next(&held[0]),
        to(&held[1], Destination::Retry { job: job(2), after: Duration::from_secs(60) }),
        to(&held[2], Destination::DeadLetter { fields: letter }),
        to(&held[3], Destination::Nowhere),
    ];
    assert_eq!(place.one.hand_over(&moves).await.unwrap(), vec![Moved::Done; 4]);
    assert_eq!(place.lengths("embedding").await, (0, 1, 1));
    assert_eq!(place.lengths("judge").await, (1, 0, 0));
    let page = place.streams.page("judge", 0, None, 10).await.unwrap();
    assert_eq!(Job::decode(&page.entries[0].fields).unwrap(), job(77));
    assert_eq!(place.streams.waiting_retries("embedding", 0, 0, 10).await.unwrap().jobs, [job(2)]);
    assert_eq!(
        place.one.hand_over(&moves).await.unwrap(),
        vec![Moved::Gone; 4],
        "a second time moves nothing"
    );
    assert_eq!(place.lengths("judge").await.0, 1);
}

#[tokio::test]
async fn who_lost_an_entry_or_holds_it_by_an_older_delivery_moves_nothing() {
    let place = place().await;
    place.add(1).await;
    let held = place.read(10).await;
    let taken = claim(&place.two, 1).await;
    assert_eq!((taken.len(), taken[0].deliveries), (1, 2));
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::NotOwner]);
    // Taken back by the first consumer, but by a third delivery: the first one is still void.
    let again = claim(&place.one, 1).await;
    assert_eq!(again[0].deliveries, 3);
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::NotOwner]);
    assert_eq!(place.lengths("judge").await.0, 0);
    assert_eq!(place.one.hand_over(&[next(&again[0])]).await.unwrap(), [Moved::Done]);
    assert_eq!(place.lengths("judge").await.0, 1);
}

#[tokio::test]
async fn a_heartbeat_renews_what_is_held_and_tells_what_is_lost_and_changes_no_count() {
    let place = place().await;
    place.add(2).await;
    let held = place.read(10).await;
    let taken = place.two.claim(Duration::ZERO, "0-0", 1, 1).await.unwrap().deliveries;
    let names: Vec<(EntryId, i64)> = held.iter().map(|d| (d.id.clone(), d.deliveries)).collect();
    assert_eq!(place.one.heartbeat(&names).await.unwrap(), [taken[0].id.clone()]);
    let kept = names.iter().find(|(id, _)| *id != taken[0].id).unwrap();
    assert_eq!(place.one.heartbeat(std::slice::from_ref(kept)).await.unwrap(), []);
    // Renewed a moment ago, so nobody may take it over yet, and it counts as delivered once still.
    assert_eq!(place.two.claim(Duration::from_secs(5), "0-0", 10, 1).await.unwrap().deliveries, []);
    let delivery = held.iter().find(|d| d.id == kept.0).unwrap();
    assert_eq!(place.one.hand_over(&[next(delivery)]).await.unwrap(), [Moved::Done]);
}

#[tokio::test]
async fn of_suspects_only_as_many_are_taken_as_asked_for_and_the_others_keep_their_count() {
    let place = place().await;
    place.add(5).await;
    assert_eq!(place.read(10).await.len(), 5);
    assert_eq!(claim(&place.two, 0).await.len(), 5, "a first redelivery makes no suspect");
    assert_eq!(claim(&place.one, 0).await, [], "from the second on they are suspects");
    let first = claim(&place.one, 1).await;
    assert_eq!((first.len(), first[0].deliveries), (1, 3));
    let second = claim(&place.one, 1).await;
    assert_eq!(second.len(), 1);
    let all = claim(&place.two, 5).await;
    let mut counts: Vec<i64> = all.iter().map(|d| d.deliveries).collect();
    counts.sort_unstable();
    // The first suspect is taken again and again until its holder is done with it; three were never touched.
    assert_eq!(counts, [3, 3, 3, 3, 5]);
}

#[tokio::test]
async fn the_cursor_of_a_takeover_reaches_every_entry() {
    let place = place().await;
    place.add(350).await;
    assert_eq!(place.read(1000).await.len(), 350);
    let (mut cursor, mut found) = ("0-0".to_owned(), std::collections::HashSet::new());
    loop {
        let claimed = place.two.claim(Duration::ZERO, &cursor, 40, 1).await.unwrap();
        assert!(claimed.deliveries.len() <= 40);
        found.extend(claimed.deliveries.into_iter().map(|d| d.id));
        cursor = claimed.cursor;
        if cursor == "0-0" {
            break;
        }
    }
    assert_eq!(found.len(), 350);
}

#[tokio::test]
async fn what_is_given_back_is_claimable_at_once_and_counts_as_delivered_once() {
    let place = place().await;
    place.add(2).await;
    let held = place.read(10).await;
    let names: Vec<(EntryId, i64)> = held.iter().map(|d| (d.id.clone(), d.deliveries)).collect();
    place.one.give_back(&names).await.unwrap();
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::NotOwner]);
    let claimed = place.two.claim(Duration::from_secs(3600), "0-0", 10, 1).await.unwrap().deliveries;
    assert_eq!(claimed.iter().map(|d| d.deliveries).collect::<Vec<_>>(), [2, 2]);
    place.one.leave().await.unwrap();
    let names: Vec<String> =
        place.streams.consumers("embedding", 0).await.unwrap().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["two"], "who holds nothing has left");
    place.two.leave().await.unwrap();
    let two = place.streams.consumers("embedding", 0).await.unwrap();
    assert_eq!((two.len(), two[0].pending), (1, 2), "who holds something stays");
}

#[tokio::test]
async fn due_retries_come_back_once_and_others_wait() {
    let place = place().await;
    for (number, after) in [(1, 0), (2, 0), (3, 60_000)] {
        let after = Duration::from_millis(after);
        place.streams.add_retry("embedding", 0, &job(number), after).await.unwrap();
        place.streams.add_retry("embedding", 0, &job(number), Duration::ZERO).await.unwrap();
    }
    assert_eq!(place.one.promote(1).await.unwrap(), 1);
    let (left, right) = tokio::join!(place.one.promote(10), place.two.promote(10));
    assert_eq!(left.unwrap() + right.unwrap(), 1);
    assert_eq!(place.lengths("embedding").await, (2, 1, 0));
}

#[tokio::test]
async fn a_full_redis_refuses_new_jobs_and_the_entry_stays_held_until_there_is_room() {
    let place = place().await;
    place.add(1).await;
    let held = place.read(10).await;
    // A stream of another type at the target: the addition fails, as it does for want of memory.
    let set = |value: &'static [&'static str]| cli(&place.redis, value);
    set(&["SET", "trend:judge:jobs", "x"]).await;
    let answers = place.one.hand_over(&[next(&held[0])]).await.unwrap();
    assert!(matches!(&answers[..], [Moved::Refused(why)] if why.contains("WRONGTYPE")), "{answers:?}");
    assert_eq!(place.lengths("embedding").await.0, 1);
    set(&["DEL", "trend:judge:jobs"]).await;
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::Done]);
}

#[tokio::test]
async fn hand_overs_work_where_memory_is_used_up() {
    let place = place().await;
    place.add(3).await;
    let held = place.read(10).await;
    cli(&place.redis, &["CONFIG", "SET", "maxmemory", "1"]).await;
    let full = place.streams.add("embedding", 0, &[job(9)]).await;
    assert!(matches!(full, Err(Error::Redis { .. })), "new work is refused: {full:?}");
    let moves: Vec<Move> = held.iter().map(next).collect();
    assert_eq!(place.one.hand_over(&moves).await.unwrap(), vec![Moved::Done; 3], "what is under way goes on");
}

#[tokio::test]
async fn flushed_scripts_and_groups_come_back_by_themselves() {
    let place = place().await;
    place.add(1).await;
    let held = place.read(10).await;
    cli(&place.redis, &["SCRIPT", "FLUSH"]).await;
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::Done]);
    cli(&place.redis, &["FLUSHALL"]).await;
    assert_eq!(place.one.hand_over(&[next(&held[0])]).await.unwrap(), [Moved::Gone]);
    assert_eq!(place.one.heartbeat(&[(held[0].id.clone(), 1)]).await.unwrap(), [held[0].id.clone()]);
    assert_eq!(claim(&place.one, 1).await, []);
    place.add(2).await;
    let mut reader = place.one.reader();
    let mut found = reader.read(10).await.unwrap();
    if found.is_empty() {
        found = reader.read(10).await.unwrap();
    }
    assert_eq!(found.len(), 2, "the group begins with the first entry");
}

#[tokio::test]
async fn entries_that_were_delivered_and_that_nobody_holds_are_found_and_deleted() {
    let place = place().await;
    place.add(3).await;
    let held = place.read(2).await;
    cli(&place.redis, &["XACK", "trend:embedding:jobs", "embedding:jobs", &held[0].id.to_string()]).await;
    let page = place.streams.page("embedding", 0, None, 10).await.unwrap();
    assert_eq!(page.entries.iter().map(|e| e.unheld).collect::<Vec<_>>(), [true, false, false]);
    // Another one was added and not delivered; the caller names it by mistake.
    let all: Vec<EntryId> = page.entries.iter().map(|e| e.id.clone()).collect();
    assert_eq!(place.streams.delete_unheld("embedding", 0, &all).await.unwrap(), 1);
    assert_eq!(place.lengths("embedding").await.0, 2);
}

#[tokio::test]
async fn an_entry_with_very_many_fields_becomes_a_letter_like_any_other() {
    let place = place().await;
    let fields: EntryFields = (0..20_000).map(|n: u32| (n.to_be_bytes().to_vec(), vec![b'x'])).collect();
    place.streams.add_raw("trend:embedding:jobs", &fields).await.unwrap();
    place.add(1).await;
    let held = place.read(10).await;
    assert_eq!(held[0].fields, fields);
    let moves = [to(&held[0], Destination::DeadLetter { fields }), next(&held[1])];
    assert_eq!(place.one.hand_over(&moves).await.unwrap(), vec![Moved::Done; 2]);
    assert_eq!(place.lengths("embedding").await, (0, 0, 1));
}

async fn cli(redis: &PrivateRedis, words: &[&str]) {
    let socket = redis.url().trim_start_matches("redis+unix://").to_owned();
    let done =
        tokio::process::Command::new("redis-cli").arg("-s").arg(socket).args(words).output().await.unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && !said.contains("ERR"), "{said}");
}
