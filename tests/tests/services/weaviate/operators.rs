//! What operators do to a fleet whose vectors are in Weaviate.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::{PrivateWeaviate, binary};
use tokio::process::Command;

use super::flow::{CLASS, fleet, held, settings};
use super::store::by_hand;
use crate::fleet::{END, Fleet, event, events};

/// Runs a command of the CLI beside the fleet, configured as it is; returns its exit code and what it said.
pub(super) async fn tidemill(
    fleet: &Fleet,
    weaviate: &PrivateWeaviate,
    arguments: &[&str],
) -> (Option<i32>, String) {
    let (redis, database) = (fleet.servers.redis_url(), fleet.servers.database_url().to_owned());
    let run = Command::new(binary("tidemill"))
        .current_dir(fleet.servers.folder())
        .env("TIDEMILL_EMBEDDING__STORE", "weaviate")
        .env("TIDEMILL_EMBEDDING__EMBEDDER", "hashing")
        .env("TIDEMILL_EMBEDDING__WEAVIATE__URL", weaviate.url())
        .env("TIDEMILL_EMBEDDING__WEAVIATE__CLASS", CLASS)
        .args(arguments)
        .args(["--database-url", &database, "--redis-url", &redis])
        .output();
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

/// Asks the gateway what is nearest, through the command line.
async fn ask_gateway(fleet: &Fleet, text: &str) -> (Option<i32>, String) {
    let token = format!("tm_{}", uuid::Uuid::now_v7());
    fleet.record.add_token("default", "reader", &["read".to_owned()], &token).await.unwrap();
    let url = fleet.gateway().await;
    let run = Command::new(binary("tidemill"))
        .args(["recall", text, "-k", "3", "--json", "--url", &url, "--token", &token])
        .output();
    let Output { status, stdout, stderr } = run.await.unwrap();
    (status.code(), [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat())
}

/// The title of the nearest.
async fn recalled(fleet: &Fleet, text: &str) -> String {
    let (code, said) = ask_gateway(fleet, text).await;
    assert_eq!(code, Some(0), "{said}");
    let found: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 3, "{said}");
    found[0]["title"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_emptied_store_is_rebuilt_from_the_record_while_the_fleet_works() {
    let weaviate = PrivateWeaviate::start().await;
    let fleet = fleet(&weaviate).await;
    fleet.add(events(30)).await;
    fleet.settled(30).await;
    let text = event(17).1["body"].as_str().unwrap().to_owned();
    assert!(recalled(&fleet, &text).await.contains("number 17"));

    let (code, said) = tidemill(&fleet, &weaviate, &["vectors", "rebuild"]).await;
    assert_eq!(
        (code, said.contains("0 vectors") && said.contains("30 were there")),
        (Some(0), true),
        "{said}"
    );
    by_hand("DELETE", &format!("{}/v1/schema/{CLASS}", weaviate.url()), json!({})).await;
    fleet.add((30..40).map(event)).await;
    fleet.settled(40).await;
    assert_eq!(held(&weaviate).await, 10, "only the new ones");
    let (_, told) = tidemill(&fleet, &weaviate, &["doctor"]).await;
    assert!(told.contains("has 10 vectors, the record 40") && told.contains("vectors rebuild"), "{told}");

    let (code, said) = tidemill(&fleet, &weaviate, &["vectors", "rebuild"]).await;
    assert_eq!(
        (code, said.contains("30 vectors") && said.contains("10 were there")),
        (Some(0), true),
        "{said}"
    );
    assert_eq!(held(&weaviate).await, 40);
    assert!(recalled(&fleet, &text).await.contains("number 17"));
    let (code, said) = tidemill(&fleet, &weaviate, &["vectors", "rebuild", "--model", "moon"]).await;
    assert_eq!(code, Some(64), "{said}");
    fleet.assert_consistent().await;
}

#[tokio::test]
async fn what_is_pruned_leaves_the_store_even_if_that_was_away() {
    let mut weaviate = PrivateWeaviate::start().await;
    let fleet = fleet(&weaviate).await;
    fleet.add(events(6)).await;
    fleet.settled(6).await;
    assert_eq!(held(&weaviate).await, 6);
    weaviate.kill().await;
    let (code, said) = ask_gateway(&fleet, "a harbour").await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
    let (code, said) = tidemill(&fleet, &weaviate, &["prune", "--older-than", "0s"]).await;
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("Gone: 6 runs") && said.contains("the next `tidemill prune`"), "{said}");
    let (code, said) = tidemill(&fleet, &weaviate, &["vectors", "rebuild"]).await;
    assert_eq!((code, said.contains("0 vectors")), (Some(0), true), "nothing is left to rebuild: {said}");
    weaviate.restart().await;
    assert_eq!(held(&weaviate).await, 6);
    let (code, said) = tidemill(&fleet, &weaviate, &["prune", "--older-than", "0s"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(held(&weaviate).await, 0);
    assert_eq!(fleet.record.removed_vectors(10).await.unwrap(), Vec::<uuid::Uuid>::new());
}

#[tokio::test]
async fn an_embedding_worker_does_not_start_on_a_class_that_does_not_fit_or_without_the_server() {
    let mut weaviate = PrivateWeaviate::start().await;
    let mut fleet = Fleet::quiet().await;
    let class = json!({ "class": CLASS, "vectorIndexConfig": { "distance": "l2-squared" } });
    by_hand("POST", &format!("{}/v1/schema", weaviate.url()), class).await;
    let set = settings(&weaviate);
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("embedding", &set, &[]).await;
    weaviate_says(&mut fleet, 64, "its distance is l2-squared, and must be cosine").await;
    weaviate.kill().await;
    fleet.start_with("embedding", &set, &[]).await;
    weaviate_says(&mut fleet, 69, "cannot be reached").await;
}

/// The process that was started last ends so.
async fn weaviate_says(fleet: &mut Fleet, code: i32, what: &str) {
    let (_, mut worker) = fleet.workers.pop().unwrap();
    let status = worker.wait(END.max(Duration::from_secs(30))).await.unwrap();
    assert_eq!(status.code(), Some(code), "{}", worker.log());
    assert!(worker.log().contains(what), "{}", worker.log());
}
