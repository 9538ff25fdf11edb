//! Feeds that are polled: each entry is an event once, whoever polls, and one bad source holds up no other.

use std::path::Path;

use serde_json::json;
use testkit::{Servers, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

fn sql(fleet: &Fleet, text: &str) -> String {
    fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap().trim().to_owned()
}

/// A server whose answers never end: `whole` at once, then an item each time that nobody can foresee.
async fn endless(whole: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let whole = whole.clone();
            tokio::spawn(async move {
                let head = "HTTP/1.1 200 OK\r\netag: \"of-a-part\"\r\n\r\n";
                let mut sent = stream.read(&mut [0; 4096]).await.is_ok();
                sent &= stream.write_all(format!("{head}{whole}").as_bytes()).await.is_ok();
                while sent {
                    let comment = format!("<!-- {} -->", uuid::Uuid::now_v7());
                    sent = stream.write_all(comment.repeat(100).as_bytes()).await.is_ok();
                }
            });
        }
    });
    format!("http://user:SECRET@{address}/feed?token=SECRET")
}

#[tokio::test]
async fn an_endless_feed_gives_its_entries_and_one_letter_and_tells_no_secret() {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    let whole = feed(0..3);
    let url = endless(whole[..whole.find("</channel>").unwrap()].to_owned()).await;
    let every_second = "* * * * * *";
    let sources = json!([
        { "name": "endless", "url": url, "cron": every_second, "max_size": "64KiB", "allow_private": true },
        { "name": "refused", "url": url, "cron": every_second },
        { "name": "nobody", "url": "http://user:SECRET@127.0.0.1:1/feed?token=SECRET", "cron": every_second,
          "allow_private": true },
    ]);
    polling(&mut fleet, &sources).await;
    eventually("the whole entries are runs", async || fleet.runs().await.len() == 3).await;
    let often = "SELECT count(*) FROM sources WHERE failures >= 4";
    eventually("each has failed some times", async || sql(&fleet, often) == "3").await;
    let noted = sql(&fleet, "SELECT name, failure, etag FROM sources ORDER BY name");
    let logs: String = fleet.workers.iter().map(|(_, worker)| worker.log()).collect();
    for why in [
        "endless|it is longer than 65536 bytes|",
        "nobody|127.0.0.1: ",
        "refused|127.0.0.1 is a private address",
    ] {
        assert!(noted.contains(why), "{noted}");
    }
    assert!(logs.contains("a poll failed"), "{logs}");
    assert!(!noted.contains("SECRET") && !logs.contains("SECRET"), "{noted}\n{logs}");
    assert!(!noted.contains("of-a-part"), "{noted}");
    let letters = fleet.record.dead_letters(&record::LetterFilter::default(), 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason, "it was cut off: it is longer than 65536 bytes");
    assert_eq!(letters[0].fields[0].1.len(), 65536);
    assert_eq!(fleet.runs().await.len(), 3);
}
