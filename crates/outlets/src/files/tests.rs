use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use atom_syndication::Feed;
use chrono::{DateTime, Utc};
use model::{Content, RetryClass, RunId};

use super::*;

mod feed;
mod hostile;

fn content(title: &str) -> Content {
    Content {
        title: title.to_owned(),
        summary: "A summary.".to_owned(),
        body: "One.\n\nTwo.".to_owned(),
        url: Some("https://example.org/a?b=c&d=e".to_owned()),
        language: "en".to_owned(),
        tags: vec!["a\"b".to_owned()],
    }
}

/// A different minute for each number, so that order in the feed is certain.
fn at(n: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + 60 * i64::from(n), 123_456_789).unwrap()
}

fn post<'a>(key: &'a str, content: &'a Content, published_at: DateTime<Utc>) -> Post<'a> {
    let sha256 = content.clone().seal().unwrap().sha256;
    Post { key, content, sha256, published_at, run: RunId(uuid::Uuid::nil()), source: "newswire" }
}

async fn deliver(files: &Files, n: u32, content: &Content) -> EffectResult {
    files.deliver(&post(&key(n), content, at(n))).await
}

fn outlet(folder: &Path) -> Files {
    Files::new(FilesConfig { folder: folder.to_owned(), ..FilesConfig::default() }).unwrap()
}

/// Keys whose first characters differ, as those of digests do.
fn key(n: u32) -> String {
    format!("{n:064x}").chars().rev().collect()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".feed.lock")
        .collect();
    names.sort();
    names
}

fn parsed_feed(folder: &Path) -> Feed {
    Feed::read_from(std::fs::read(folder.join("feed.atom")).unwrap().as_slice()).unwrap()
}

fn titles(feed: &Feed) -> Vec<&str> {
    feed.entries.iter().map(|entry| entry.title.as_str()).collect()
}

#[tokio::test]
async fn the_same_key_again_replaces_and_is_found_and_another_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    assert_eq!(files.ask(&key(1)).await, Ok(Known::Absent));
    deliver(&files, 1, &content("first")).await;
    let first = listing(folder.path());
    deliver(&files, 1, &content("first")).await;
    assert_eq!(listing(folder.path()), first);
    let EffectResult::Confirmed { reference } = deliver(&files, 1, &content("second")).await else {
        panic!("not confirmed");
    };
    let names = listing(folder.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].contains("second") && names[1].contains("second"), "{names:?}");
    assert_eq!(titles(&parsed_feed(folder.path())), ["second"]);
    assert_eq!(files.ask(&key(1)).await, Ok(Known::Delivered { reference }));
    assert_eq!(files.ask(&key(2)).await, Ok(Known::Absent));
}

#[tokio::test]
async fn a_key_that_only_begins_alike_is_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    let (one, two) = (format!("{}{}", "a".repeat(16), "0".repeat(48)), "a".repeat(64));
    files.deliver(&post(&one, &content("one"), at(1))).await;
    assert_eq!(files.ask(&two).await, Ok(Known::Absent));
    files.deliver(&post(&two, &content("two"), at(1))).await;
    for key in [one, two] {
        assert!(matches!(files.ask(&key).await, Ok(Known::Delivered { .. })), "{key}");
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    let short = "ab".to_owned();
    for key in [String::new(), short, "/".repeat(64), "A".repeat(64), "ä".repeat(32)] {
        let EffectResult::NotSent(failure) = files.deliver(&post(&key, &content("t"), at(1))).await else {
            panic!("{key} was taken");
        };
        assert_eq!(failure.class, RetryClass::Permanent);
        assert_eq!(files.ask(&key).await.unwrap_err().class, RetryClass::Permanent);
    }
    assert_eq!(listing(folder.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_means_not_sent() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let files = outlet(&folder);
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "a file").unwrap();
    let EffectResult::NotSent(failure) = deliver(&files, 1, &content("t")).await else { panic!("sent") };
    assert_eq!(failure.class, RetryClass::Unavailable);
    assert_eq!(files.ask(&key(1)).await.unwrap_err().class, RetryClass::Unavailable);
    let config = FilesConfig { folder, ..FilesConfig::default() };
    assert_eq!(Files::new(config).unwrap_err().class, RetryClass::Permanent);
}

#[tokio::test]
async fn a_failure_before_the_first_file_is_in_place_leaves_nothing_and_the_earlier_post_whole() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    deliver(&files, 1, &content("first")).await;
    let before = listing(folder.path());
    std::fs::remove_file(folder.path().join("feed.atom")).unwrap();
    std::fs::create_dir(folder.path().join("feed.atom")).unwrap();
    for n in [1, 2] {
        assert!(matches!(deliver(&files, n, &content("second")).await, EffectResult::NotSent(_)));
    }
    assert_eq!(listing(folder.path()), before);
}

#[tokio::test]
async fn a_stopped_neighbour_that_holds_the_lock_is_not_waited_for_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files { lock_limit: Duration::from_millis(30), ..outlet(folder.path()) };
    let held = disk::lock(folder.path(), Duration::ZERO, || true).unwrap();
    assert!(held.is_some());
    let EffectResult::NotSent(failure) = deliver(&files, 1, &content("t")).await else { panic!("sent") };
    assert_eq!(failure.class, RetryClass::Unavailable);
    assert_eq!(listing(folder.path()), Vec::<String>::new());
    drop(held);
    assert!(matches!(deliver(&files, 1, &content("t")).await, EffectResult::Confirmed { .. }));
}

#[tokio::test]
async fn a_delivery_that_nobody_waits_for_any_more_puts_nothing_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    let held = disk::lock(folder.path(), Duration::ZERO, || true).unwrap();
    let (late, gone) = (content("late"), key(1));
    let given_up =
        tokio::time::timeout(Duration::from_millis(50), files.deliver(&post(&gone, &late, at(1)))).await;
    assert!(given_up.is_err());
    drop(held);
    // The next in this process has its turn only when the first has ended.
    deliver(&files, 2, &content("next")).await;
    assert_eq!(files.ask(&gone).await, Ok(Known::Absent));
    assert_eq!(titles(&parsed_feed(folder.path())), ["next"]);
    assert_eq!(listing(folder.path()).len(), 3);
}

#[tokio::test]
async fn what_a_dead_process_left_aside_is_swept_and_what_is_being_written_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (old, fresh) = (folder.path().join(".writing-old"), folder.path().join(".writing-new"));
    std::fs::write(&fresh, "half").unwrap();
    let mut file = std::fs::File::create(&old).unwrap();
    file.write_all(b"half").unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
    outlet(folder.path());
    assert_eq!(listing(folder.path()), [".writing-new"]);
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_sent_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    let (content, key) = (content("A title"), key(1));
    let post = post(&key, &content, at(1));
    let preview = files.preview(&post);
    assert_eq!(listing(folder.path()), Vec::<String>::new());
    files.deliver(&post).await;
    let name = preview["files"][0].as_str().unwrap();
    let written = std::fs::read_to_string(folder.path().join(name)).unwrap();
    assert_eq!(preview["markdown"].as_str(), Some(written.as_str()));
    let mut promised: Vec<_> =
        preview["files"].as_array().unwrap().iter().filter_map(|f| f.as_str()).collect();
    promised.sort_unstable();
    assert_eq!(listing(folder.path()), promised);
}

#[test]
fn a_feed_of_no_entries_or_too_many_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for feed_entries in [0, 5001, usize::MAX] {
        let config = FilesConfig { folder: folder.path().to_owned(), feed_entries, ..FilesConfig::default() };
        assert!(Files::new(config).unwrap_err().reason.contains("feed_entries"));
    }
}

/// The front matter, read by a YAML parser that knows nothing of the writer.
fn front_matter(markdown: &str) -> BTreeMap<String, serde_json::Value> {
    let (front, _) = markdown.strip_prefix("---\n").unwrap().split_once("\n---\n").unwrap();
    serde_saphyr::from_str(front).unwrap()
}
