//! Dead letters are given another life: after a plan, by a canary, with mended code.

use std::process::Output;

use serde_json::Value;
use testkit::{binary, eventually};
use tokio::process::Command;

use crate::fleet::{END, Fleet, events};

async fn dlq(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String) {
    let (redis, database) = (fleet.servers.redis_url(), fleet.servers.database_url().to_owned());
    let run = Command::new(binary("tidemill"))
        .current_dir(fleet.servers.folder())
        .arg("dlq")
        .args(arguments)
        .args(["--database-url", &database, "--redis-url", &redis])
        .output();
    let Output { status, stdout, stderr } = run.await.unwrap();
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (status.code(), said)
}

async fn letters(fleet: &Fleet) -> Vec<Value> {
    let (_, listed) = dlq(fleet, &["list", "--json", "--limit", "1000"]).await;
    serde_json::from_str(&listed).unwrap()
}

/// A publisher that would send elsewhere, where everything is refused.
const FAULTY: [&str; 2] = [
    "publisher.outlets={\"hook\":{\"webhook\":{\"url\":\"http://127.0.0.1:ADDRESS/hook\"}}}",
    "publisher.outlet=hook",
];

/// Answers every request with 422.
async fn refusing() -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = vec![0; 65536];
                if let Ok(1..) = stream.read(&mut bytes).await {
                    let answer = b"HTTP/1.1 422 No\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno";
                    stream.write_all(answer).await.ok();
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn a_faulty_worker_is_replaced_and_its_letters_end_after_a_canary() {
    let port = refusing().await;
    let mut fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    let faulty = FAULTY.map(|setting| setting.replace("ADDRESS", &port));
    let faulty: Vec<&str> = faulty.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &faulty, &[]).await;
    fleet.add(events(6)).await;
    let runs = fleet.settled(6).await;
    let died = runs.iter().filter(|run| run.state == "dead").count();
    assert!(died >= 5, "{runs:?}");
    let known = letters(&fleet).await;
    assert_eq!(known.len(), died);
    let error = known[0]["error"].as_str().unwrap().to_owned();
    assert!(known.iter().all(|letter| letter["error"] == error.as_str()), "{known:?}");

    let (code, plan) = dlq(&fleet, &["replay", "--error", &error]).await;
    assert_eq!(code, Some(0), "{plan}");
    assert!(
        plan.contains("Nothing was done") && plan.contains("publish") && plan.contains("rejected at hook"),
        "{plan}"
    );
    assert_eq!(letters(&fleet).await.len(), died, "a plan changes nothing");

    let (code, said) = dlq(&fleet, &["replay", "--error", &error, "--canary", "1", "--yes"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("same error again"), "{said}");
    eventually("the canary is a letter again", async || letters(&fleet).await.len() == died).await;

    fleet.signal("publisher", local::Signal::SIGTERM);
    for (_, worker) in fleet.workers.iter_mut().filter(|(name, _)| *name == "publisher") {
        worker.wait(END).await;
    }
    fleet.start("publisher").await;
    let (code, said) = dlq(&fleet, &["replay", "--stage", "publish", "--canary", "1", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("got past the place"), "{said}");
    let runs = fleet.settled(6).await;
    assert!(runs.iter().all(|run| ["published", "duplicate"].contains(&run.state.as_str())), "{runs:?}");
    assert_eq!(letters(&fleet).await.len(), 0);
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn letters_without_a_run_are_chosen_by_text_tried_and_given_up() {
    let fleet = Fleet::with(&["etl"]).await;
    for text in ["moonshine", "sunshine"] {
        let fields = vec![(b"what".to_vec(), text.as_bytes().to_vec())];
        fleet.streams.add_raw("trend:ingest:stream", &fields).await.unwrap();
    }
    eventually("both are letters", async || letters(&fleet).await.len() == 2).await;
    let (_, listed) = dlq(&fleet, &["list", "--text", "moonshine", "--json"]).await;
    let chosen: Vec<Value> = serde_json::from_str(&listed).unwrap();
    assert_eq!(chosen.len(), 1, "{listed}");
    let (code, said) = dlq(&fleet, &["replay", "--text", "moonshine", "--canary", "1", "--yes"]).await;
    assert_eq!(code, Some(69), "it is no better now: {said}");
    eventually("it is a letter again", async || letters(&fleet).await.len() == 2).await;
    let (code, said) = dlq(&fleet, &["discard", "--stage", "ingest", "--reason", "noise", "--yes"]).await;
    assert_eq!((code, said.contains("2 discarded")), (Some(0), true), "{said}");
    assert_eq!(letters(&fleet).await.len(), 0);
    let (code, _) = dlq(&fleet, &["list", "--since", "soon"]).await;
    assert_eq!(code, Some(64));
}
