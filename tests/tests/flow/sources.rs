//! Feeds that are polled: each entry is an event once, whoever polls, and one bad source holds up no other.

use std::path::Path;

use serde_json::json;
use testkit::eventually;
use tokio::net::TcpListener;

use crate::fleet::{Fleet, event};

fn feed(items: impl IntoIterator<Item = usize>) -> String {
    let items: String = items
        .into_iter()
        .map(|number| {
            let (_, payload) = event(number);
            format!(
                "<item><guid>entry-{number}</guid><title>{}</title><description>{}</description></item>\n",
                payload["title"].as_str().unwrap(),
                payload["body"].as_str().unwrap()
            )
        })
        .collect();
    format!("<?xml version=\"1.0\"?><rss version=\"2.0\"><channel><title>T</title>{items}</channel></rss>")
}

/// Two planners that poll these sources every second.
async fn polling(fleet: &mut Fleet, sources: &serde_json::Value) {
    let setting = format!("planner.sources={sources}");
    for _ in 0..2 {
        fleet.start_with("planner", &[&setting], &[]).await;
    }
}

fn put(path: &Path, text: &str) {
    let aside = path.with_extension("new");
    std::fs::write(&aside, text).unwrap();
    std::fs::rename(aside, path).unwrap();
}

#[tokio::test]
async fn each_entry_of_a_feed_is_one_event_however_often_and_by_however_many_it_is_polled() {
    let mut fleet = Fleet::quiet().await;
    let path = fleet.servers.folder().join("feed.xml");
    put(&path, &feed(0..3));
    // Someone accepts connections there, and never answers.
    let asleep = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let every_second = "* * * * * *";
    let sources = json!([
        { "name": "asleep", "url": format!("http://{}/", asleep.local_addr().unwrap()), "cron": every_second,
          "allow_private": true },
        { "name": "private", "url": "http://169.254.169.254/latest/", "cron": every_second },
        { "name": "gone", "url": "file:/nowhere/feed.xml", "cron": every_second },
        { "name": "feed", "url": format!("file:{}", path.display()), "cron": every_second },
    ]);
    polling(&mut fleet, &sources).await;
    for worker in ["etl", "embedding", "judge", "publisher"] {
        fleet.start(worker).await;
    }
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.source == "feed" && run.state == "published"), "{runs:?}");
    put(&path, &feed(0..5));
    let runs = fleet.settled(5).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn of_a_feed_cut_in_half_what_can_be_read_is_taken_and_the_rest_is_one_letter() {
    let mut fleet = Fleet::quiet().await;
    let path = fleet.servers.folder().join("feed.xml");
    let whole = feed(0..4);
    let cut = &whole[..whole.find("entry-3").unwrap()];
    put(&path, cut);
    let sources =
        json!([{ "name": "feed", "url": format!("file:{}", path.display()), "cron": "* * * * * *" }]);
    polling(&mut fleet, &sources).await;
    let letters = async || fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap();
    eventually("the readable entries are runs", async || fleet.runs().await.len() == 3).await;
    eventually("the document is a letter", async || letters().await.len() == 1).await;
    let letter = letters().await.remove(0);
    assert_eq!(letter.fields, vec![(b"document".to_vec(), cut.as_bytes().to_vec())]);
    put(&path, &feed(0..4));
    eventually("the whole feed is read", async || fleet.runs().await.len() == 4).await;
    assert_eq!(letters().await.len(), 1);
    put(&path, "<html>now a page</html>");
    eventually("the page is a letter", async || letters().await.len() == 2).await;
}
