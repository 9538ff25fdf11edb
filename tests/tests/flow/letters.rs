//! Dead letters are given another life: after a plan, by a canary, with mended code.

use std::process::Output;

use serde_json::{Value, json};
use testkit::{binary, eventually};
use tokio::process::Command;

use crate::door::{ALL, Desk};
use crate::fleet::{END, Fleet, event, events};

pub(crate) async fn dlq(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String) {
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

/// Stops the faulty publisher and starts one that is not.
async fn replace_publisher(fleet: &mut Fleet) {
    fleet.signal("publisher", local::Signal::SIGTERM);
    for (_, worker) in fleet.workers.iter_mut().filter(|(name, _)| *name == "publisher") {
        worker.wait(END).await;
    }
    fleet.start("publisher").await;
}

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

    replace_publisher(&mut fleet).await;
    let (code, said) = dlq(&fleet, &["replay", "--stage", "publish", "--canary", "1", "--yes"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("got past the place"), "{said}");
    let runs = fleet.settled(6).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
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

#[tokio::test]
async fn the_desk_lists_and_replays_letters_of_its_tenant_and_keeps_what_is_said_of_a_post() {
    let port = refusing().await;
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    let faulty = FAULTY.map(|setting| setting.replace("ADDRESS", &port));
    let faulty: Vec<&str> = faulty.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &faulty, &[]).await;
    let desk = Desk::of(&fleet, "default", &ALL).await;
    let other = Desk::of(&fleet, "other", &ALL).await;
    let (request_id, payload) = event(1);
    desk.post("/v1/events", json!({ "source": "s", "request_id": request_id, "payload": payload })).await;
    fleet.settled(1).await;
    let (_, listed) = desk.get("/v1/dead-letters?stage=publish").await;
    let letter = listed["dead_letters"][0]["dead_letter_id"].clone();
    assert!(letter.is_string(), "{listed}");
    assert_eq!(other.get("/v1/dead-letters").await.1["dead_letters"], json!([]));
    let chosen = json!({ "ids": [letter] });
    assert_eq!(other.post("/v1/dead-letters/replay", chosen.clone()).await.0.as_u16(), 404);
    assert_eq!(desk.post("/v1/dead-letters/replay", json!({})).await.0.as_u16(), 422);
    let (_, dry) = desk.post("/v1/dead-letters/replay", json!({ "ids": [letter], "dry_run": true })).await;
    assert_eq!((&dry["replayed"], fleet.runs().await[0].state.as_str()), (&json!(0), "dead"));

    replace_publisher(&mut fleet).await;
    let (status, replayed) = desk.post("/v1/dead-letters/replay", chosen.clone()).await;
    assert_eq!((status.as_u16(), &replayed["replayed"]), (200, &json!(1)), "{replayed}");
    assert_eq!(fleet.settled(1).await[0].state, "published");
    let (_, again) = desk.post("/v1/dead-letters/replay", chosen).await;
    assert_eq!((&again["replayed"], again["refused"].as_array().unwrap().len()), (&json!(0), 1), "{again}");

    let (_, ledger) = desk.get("/v1/publications").await;
    let confirmed = ledger["publications"].as_array().unwrap().iter().find(|row| row["state"] == "confirmed");
    let path =
        format!("/v1/publications/{}/feedback", confirmed.unwrap()["publication_id"].as_str().unwrap());
    let complaint = json!({ "kind": "complaint", "text": "The harbour is in another town." });
    assert_eq!(other.post(&path, complaint.clone()).await.0.as_u16(), 404);
    assert_eq!(desk.post(&path, json!({ "kind": "complaint", "text": " " })).await.0.as_u16(), 422);
    assert_eq!(desk.post(&path, complaint).await.0.as_u16(), 201);
    let run = fleet.runs().await[0].run_id;
    let (_, detail) = desk.get(&format!("/v1/runs/{run}")).await;
    assert_eq!(detail["feedback"][0]["text"], "The harbour is in another town.");
    assert_eq!(desk.get("/v1/incidents").await.1["incidents"], json!([]));
}
