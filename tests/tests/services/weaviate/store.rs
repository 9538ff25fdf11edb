//! The store alone against a server.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use testkit::PrivateWeaviate;
use tokio::sync::OnceCell;
use uuid::Uuid;
use vectors::{Class, Entry, Neighbour, Query, VectorStore, Weaviate, WeaviateConfig};

/// One server for all tests that have a class of their own in it and leave it running.
static SERVER: OnceCell<PrivateWeaviate> = OnceCell::const_new();

async fn url() -> String {
    rustls::crypto::ring::default_provider().install_default().ok();
    SERVER.get_or_init(PrivateWeaviate::start).await.url()
}

pub(super) fn client(url: &str, class: &str, api_key: Option<&str>) -> Weaviate {
    rustls::crypto::ring::default_provider().install_default().ok();
    Weaviate::new(&WeaviateConfig {
        url: url.to_owned(),
        class: class.to_owned(),
        api_key: api_key.map(str::to_owned),
        timeout: Duration::from_secs(20),
    })
    .unwrap()
}

/// A store with an empty class of this name.
async fn store(class: &str) -> Weaviate {
    let store = client(&url().await, class, None);
    store.prepare(Some(3)).await.unwrap();
    store
}

/// What a person would ask the server by hand.
pub(super) async fn by_hand(method: &str, url: &str, body: Value) -> Value {
    rustls::crypto::ring::default_provider().install_default().ok();
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let answer = reqwest::Client::new().request(method, url).json(&body).send().await.unwrap();
    assert!(answer.status().is_success(), "{url}: {}", answer.status());
    answer.json().await.unwrap_or_default()
}

fn at(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::microseconds(micros)
}

fn entry(n: u128, vector: [f32; 3]) -> Entry {
    Entry {
        id: Uuid::from_u128(n),
        run_id: Uuid::from_u128(n),
        tenant: "acme".to_owned(),
        model: "m".to_owned(),
        received_at: at(0),
        vector: vector.to_vec(),
    }
}

fn query(vector: &[f32]) -> Query<'_> {
    Query { tenant: "acme", model: "m", vector, k: 10, before: None }
}

async fn all_in(store: &Weaviate, entries: &[Entry]) {
    for taken in store.upsert(entries).await.unwrap() {
        taken.unwrap();
    }
}

fn ids(found: &[Neighbour]) -> Vec<u128> {
    found.iter().map(|near| near.id.as_u128()).collect()
}

#[tokio::test]
async fn the_same_trend_again_replaces_its_vector() {
    let store = store("Replaced").await;
    all_in(&store, &[entry(1, [1.0, 0.0, 0.0]), entry(2, [0.0, 1.0, 0.0])]).await;
    all_in(&store, &[entry(1, [0.0, 0.0, 1.0])]).await;
    all_in(&store, &[entry(1, [0.0, 0.0, 1.0])]).await;
    assert_eq!(store.len().await.unwrap(), 2);
    let found = store.nearest(query(&[0.0, 0.0, 2.0])).await.unwrap();
    assert_eq!(ids(&found), [1, 2]);
    assert!((found[0].similarity - 1.0).abs() < 1e-5 && found[1].similarity.abs() < 1e-5, "{found:?}");
    assert_eq!((found[0].run_id, found[0].received_at), (Uuid::from_u128(1), at(0)));
}

#[tokio::test]
async fn a_vector_of_another_length_is_refused_and_its_neighbours_are_taken() {
    let store = store("Lengths").await;
    let short = |n: u128| Entry { vector: vec![1.0, 0.0], ..entry(n, [0.0; 3]) };
    // In an empty class the first one decides the length.
    let taken =
        store.upsert(&[entry(1, [1.0, 0.0, 0.0]), short(2), entry(3, [0.0, 1.0, 0.0])]).await.unwrap();
    assert!(taken[0].is_ok() && taken[2].is_ok(), "{taken:?}");
    let error = taken[1].as_ref().unwrap_err();
    assert_eq!((error.class(), error.is_outage()), (Class::Transient, false));
    assert!(error.to_string().contains("Validate vector index"), "{error}");
    let taken = store.upsert(&[short(4), entry(5, [0.0, 0.0, 1.0])]).await.unwrap();
    assert!(taken[0].is_err() && taken[1].is_ok(), "{taken:?}");
    assert_eq!(store.len().await.unwrap(), 3, "nothing is left of what was refused");
    assert_eq!(ids(&store.nearest(query(&[1.0, 0.1, 0.01])).await.unwrap()), [1, 3, 5]);
    let error = store.nearest(query(&[1.0, 0.0])).await.unwrap_err();
    assert!(!error.is_outage() && error.to_string().contains("lengths don't match"), "{error}");
    let error = store.prepare(Some(2)).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent, "{error}");
}

#[tokio::test]
async fn a_search_sees_its_tenant_and_model_and_only_what_is_earlier() {
    let store = store("Filtered").await;
    let mut entries: Vec<Entry> = (1..=4).map(|n| entry(n, [1.0, 0.0, 0.0])).collect();
    entries[2].received_at = at(-1);
    entries[3].received_at = at(1);
    for (n, tenant, model) in
        [(5, "the", "m"), (6, "acme", "other"), (7, "ACME", "m"), (8, "a\"b\\ü {}", "m")]
    {
        let (tenant, model) = (tenant.to_owned(), model.to_owned());
        entries.push(Entry { tenant, model, ..entry(n, [1.0, 0.0, 0.0]) });
    }
    all_in(&store, &entries).await;
    let vector = [1.0, 0.0, 0.0];
    let before = |micros, run| Query { before: Some((at(micros), Uuid::from_u128(run))), ..query(&vector) };
    for (asked, expected) in [
        (query(&vector), &[3, 1, 2, 4][..]),
        (Query { k: 1, ..before(0, 1) }, &[3]),
        (before(0, 1), &[3]),
        (before(0, 2), &[3, 1]),
        (before(1, 4), &[3, 1, 2]),
        (before(2, 0), &[3, 1, 2, 4]),
        (before(-1, 3), &[]),
        (Query { tenant: "the", ..query(&vector) }, &[5]),
        (Query { model: "other", ..query(&vector) }, &[6]),
        (Query { tenant: "ACME", ..query(&vector) }, &[7]),
        (Query { tenant: "a\"b\\ü {}", ..query(&vector) }, &[8]),
        (Query { tenant: "nobody", ..query(&vector) }, &[]),
    ] {
        assert_eq!(ids(&store.nearest(asked).await.unwrap()), expected, "{asked:?}");
    }
}

#[tokio::test]
async fn among_very_many_of_one_moment_the_lower_run_is_the_earlier() {
    let store = store("Moment").await;
    // The nearer, the later: the earlier ones are the last that a search would find.
    let turned = |n: u128| entry(n, [1.0, 0.001 * (1000 - n) as f32, 0.0]);
    all_in(&store, &(1..=200).map(turned).collect::<Vec<_>>()).await;
    let vector = [1.0, 0.0, 0.0];
    for (run, expected) in
        [(1, &[][..]), (2, &[1]), (4, &[3, 2, 1]), (90, &[89, 88, 87]), (200, &[199, 198, 197])]
    {
        let before = Some((at(0), Uuid::from_u128(run)));
        let found = store.nearest(Query { k: 3, before, ..query(&vector) }).await.unwrap();
        assert_eq!(ids(&found), expected, "before {run}");
    }
}

#[tokio::test]
async fn what_is_removed_is_gone_and_unknown_ids_are_ignored() {
    let store = store("Removed").await;
    let many: Vec<Entry> = (1..=300).map(|n| entry(n, [n as f32, 1.0, 0.0])).collect();
    all_in(&store, &many).await;
    assert_eq!(store.len().await.unwrap(), 300);
    let gone: Vec<Uuid> = (1..=200).chain(9_000..9_010).map(Uuid::from_u128).collect();
    store.remove(&gone).await.unwrap();
    store.remove(&gone).await.unwrap();
    assert_eq!(store.len().await.unwrap(), 100);
    let asked: Vec<Uuid> = (150..=250).map(Uuid::from_u128).collect();
    assert_eq!(store.missing(&asked, "m").await.unwrap(), asked[..=50]);
    assert_eq!(store.missing(&asked, "other").await.unwrap(), asked);
    assert!(store.nearest(query(&[1.0, 1.0, 0.0])).await.unwrap().iter().all(|near| near.id > gone[199]));
}

#[tokio::test]
async fn a_class_that_does_not_fit_is_a_permanent_fault() {
    let url = url().await;
    for (class, change, what) in [
        ("Euclid", json!({ "vectorIndexConfig": { "distance": "l2-squared" } }), "l2-squared"),
        ("Bare", json!({ "properties": [] }), "no property run_id"),
        ("Shared", json!({ "multiTenancyConfig": { "enabled": true } }), "multi-tenancy"),
        (
            "Named",
            json!({ "vectorConfig": { "title": { "vectorizer": { "none": {} }, "vectorIndexType": "hnsw" } } }),
            "named",
        ),
    ] {
        let mut definition = json!({ "class": class });
        definition.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        by_hand("POST", &format!("{url}/v1/schema"), definition).await;
        let error = client(&url, class, None).prepare(Some(3)).await.unwrap_err();
        assert_eq!(error.class(), Class::Permanent, "{class}: {error}");
        assert!(error.to_string().contains(what), "{class}: {error}");
    }
}

#[tokio::test]
async fn a_class_that_vanishes_is_made_as_it_must_be_and_not_guessed() {
    let store = store("Vanishing").await;
    all_in(&store, &[entry(1, [1.0, 0.0, 0.0])]).await;
    by_hand("DELETE", &format!("{}/v1/schema/Vanishing", url().await), json!({})).await;
    let other = Entry { tenant: "the other".to_owned(), ..entry(2, [1.0, 0.0, 0.0]) };
    all_in(&store, &[other, entry(3, [1.0, 0.0, 0.0])]).await;
    store.prepare(Some(3)).await.unwrap();
    assert_eq!(ids(&store.nearest(query(&[1.0, 0.0, 0.0])).await.unwrap()), [3]);
}

#[tokio::test]
async fn a_store_that_became_read_only_is_out_and_not_the_objects_fault() {
    let store = store("Closed").await;
    all_in(&store, &[entry(1, [1.0, 0.0, 0.0])]).await;
    let shards = format!("{}/v1/schema/Closed/shards", url().await);
    let shard = by_hand("GET", &shards, json!({})).await[0]["name"].as_str().unwrap().to_owned();
    let shard = format!("{shards}/{shard}");
    by_hand("PUT", &shard, json!({ "status": "READONLY" })).await;
    let error = store.upsert(&[entry(2, [1.0, 0.0, 0.0])]).await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("READONLY"), "{error}");
    assert!(store.check().await.unwrap_err().is_outage());
    by_hand("PUT", &shard, json!({ "status": "READY" })).await;
    store.check().await.unwrap();
    all_in(&store, &[entry(2, [1.0, 0.0, 0.0])]).await;
}

#[tokio::test]
async fn a_key_is_asked_for_and_given() {
    let server = PrivateWeaviate::start_with_key("right-key").await;
    for wrong in [None, Some("wrong-key")] {
        let error = client(&server.url(), "Keyed", wrong).prepare(Some(3)).await.unwrap_err();
        assert!(error.is_outage() && error.to_string().contains("401"), "{error}");
        assert!(!error.to_string().contains("wrong-key"), "{error}");
    }
    let store = client(&server.url(), "Keyed", Some("right-key"));
    store.prepare(Some(3)).await.unwrap();
    all_in(&store, &[entry(1, [1.0, 0.0, 0.0])]).await;
    assert_eq!(ids(&store.nearest(query(&[1.0, 0.0, 0.0])).await.unwrap()), [1]);
    store.check().await.unwrap();
    store.remove(&[Uuid::from_u128(1)]).await.unwrap();
    assert!(store.is_empty().await.unwrap());
}
