use chrono::Utc;
use model::{Content, RunId};

use super::*;

fn content(title: &str) -> Content {
    Content {
        title: title.to_owned(),
        summary: "A summary.".to_owned(),
        body: "One.\n\n---\n<script>alert(1)</script>\n1. [x](javascript:alert(1))".to_owned(),
        url: Some("javascript:alert(1)".to_owned()),
        language: "en".to_owned(),
        tags: vec!["a\"b".to_owned()],
    }
}

async fn deliver(files: &Files, key: &str, content: &Content) -> EffectResult {
    let sha256 = content.clone().seal().unwrap().sha256;
    let run = RunId(uuid::Uuid::nil());
    let post = Post { key, content, sha256, published_at: Utc::now(), run, source: "s" };
    files.deliver(&post).await
}

fn outlet(folder: &Path) -> Files {
    Files::new(FilesConfig { folder: folder.to_owned(), ..FilesConfig::default() }).unwrap()
}

fn key(n: u32) -> String {
    format!("{n:064x}").chars().rev().collect()
}

fn listing(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn hostile_titles_stay_inside_the_folder_and_inside_their_place() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("out");
    let files = outlet(&folder);
    let long = "x".repeat(5000);
    let titles = [
        "../../etc/passwd",
        "a\0b",
        "...",
        "con",
        "\u{202e}evil",
        long.as_str(),
        "---\ntitle: forged",
        "</title><script>",
        "",
    ];
    for (n, title) in (0..).zip(titles) {
        let result = deliver(&files, &key(n), &content(title)).await;
        assert!(matches!(result, EffectResult::Confirmed { .. }), "{title}: {result:?}");
    }
    assert_eq!(listing(&folder).len(), titles.len() * 2 + 1);
    assert_eq!(listing(parent.path()), ["out"]);
    for name in listing(&folder) {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        // In Markdown the text begins after the front matter, whose values are quoted.
        let shown = text
            .strip_prefix("---\n")
            .and_then(|rest| rest.split_once("\n---\n"))
            .map_or(&*text, |(_, body)| body);
        assert!(shown.match_indices("<script").all(|(at, _)| shown[..at].ends_with('\\')), "{name}");
        assert!(!text.contains("href=\"javascript"), "{name}");
        if name.ends_with(".md") {
            assert_eq!(text.lines().filter(|line| line.starts_with("title:")).count(), 1, "{name}");
            assert_eq!(text.lines().filter(|line| *line == "---").count(), 2, "{name}");
        }
    }
    let feed = atom_syndication::Feed::read_from(std::io::BufReader::new(
        std::fs::File::open(folder.join("feed.atom")).unwrap(),
    ));
    assert_eq!(feed.unwrap().entries.len(), titles.len());
}

#[tokio::test]
async fn the_same_key_again_replaces_and_is_found_and_another_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    assert_eq!(files.ask(&key(1)).await, Ok(Known::Absent));
    deliver(&files, &key(1), &content("first")).await;
    deliver(&files, &key(1), &content("second")).await;
    let names = listing(folder.path());
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names[0].contains("second"));
    assert!(matches!(files.ask(&key(1)).await, Ok(Known::Delivered { .. })));
    assert_eq!(files.ask(&key(2)).await, Ok(Known::Absent));
}

#[tokio::test]
async fn publishers_that_share_a_folder_lose_no_entry_and_the_feed_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let config = FilesConfig { folder: folder.path().to_owned(), feed_entries: 20, ..FilesConfig::default() };
    let (one, two) = (Files::new(config.clone()).unwrap(), Files::new(config).unwrap());
    let content = content("t");
    let keys: Vec<String> = (0..30).map(key).collect();
    let sent =
        keys.iter().enumerate().map(|(n, key)| deliver(if n % 2 == 0 { &one } else { &two }, key, &content));
    futures::future::join_all(sent).await;
    let names = listing(folder.path());
    assert_eq!(names.iter().filter(|name| name.ends_with(".md")).count(), 30);
    let feed = std::fs::read_to_string(folder.path().join("feed.atom")).unwrap();
    assert_eq!(feed.matches("<entry>").count(), 20);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_means_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(&folder.path().join("out"));
    std::fs::remove_dir(folder.path().join("out")).unwrap();
    std::fs::write(folder.path().join("out"), "a file").unwrap();
    assert!(matches!(deliver(&files, &key(1), &content("t")).await, EffectResult::NotSent(_)));
    assert!(Files::new(FilesConfig { folder: folder.path().join("out"), ..FilesConfig::default() }).is_err());
}
