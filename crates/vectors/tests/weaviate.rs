//! The store behind HTTP, against stand-ins that misbehave.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use chrono::DateTime;
use serde_json::{Value, json};
use tidemill_vectors::{Class, Entry, Error, Query, VectorStore, Weaviate, WeaviateConfig};
use uuid::Uuid;
use wiremock::matchers::{header, method, path, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn config(url: &str) -> WeaviateConfig {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    WeaviateConfig {
        url: url.to_owned(),
        class: "Trend".to_owned(),
        api_key: Some("wv-secret".to_owned()),
        timeout: Duration::from_secs(5),
    }
}

fn entry(n: u128) -> Entry {
    Entry {
        id: Uuid::from_u128(n),
        run_id: Uuid::from_u128(n + 100),
        tenant: "acme".to_owned(),
        model: "m".to_owned(),
        received_at: DateTime::from_timestamp_micros(1_800_000_000_123_456).unwrap(),
        vector: vec![0.6, 0.8],
    }
}

const QUERY: Query<'static> = Query { tenant: "acme", model: "m", vector: &[1.0, 0.0], k: 2, before: None };

/// A class as a server describes it that made it as it was asked to.
fn class() -> Value {
    let text = |name: &str| json!({ "name": name, "dataType": ["text"], "tokenization": "field" });
    json!({
        "class": "Trend", "vectorizer": "none", "vectorIndexConfig": { "distance": "cosine" },
        "multiTenancyConfig": { "enabled": false },
        "properties": [text("run_id"), text("tenant"), text("model"), { "name": "received_at", "dataType": ["date"] }],
    })
}

/// A server that is well, and answers batches and questions like this.
async fn server(answer: impl Fn() -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    let ok = |body: Value| ResponseTemplate::new(200).set_body_json(body);
    for (at, body) in [
        ("/v1/schema/Trend", class()),
        ("/v1/schema/Trend/shards", json!([{ "name": "one", "status": "READY" }])),
        ("/v1/.well-known/ready", json!({})),
        ("/v1/objects", json!({ "objects": [{ "vector": [1.0, 0.0] }] })),
    ] {
        Mock::given(method("GET")).and(path(at)).respond_with(ok(body)).mount(&server).await;
    }
    let removed = ok(json!({ "results": { "failed": 0, "matches": 1, "successful": 1 } }));
    Mock::given(method("DELETE")).respond_with(removed).mount(&server).await;
    Mock::given(method("POST")).respond_with(move |_: &Request| answer()).mount(&server).await;
    server
}

fn store(server: &MockServer) -> Weaviate {
    Weaviate::new(&config(&server.uri())).unwrap()
}

async fn upserted(response: ResponseTemplate) -> Result<Vec<Result<(), Error>>, Error> {
    let server = server(move || response.clone()).await;
    store(&server).upsert(&[entry(1), entry(2)]).await
}

async fn searched(response: ResponseTemplate) -> Error {
    let server = server(move || response.clone()).await;
    store(&server).nearest(QUERY).await.unwrap_err()
}

fn taken(n: u128) -> Value {
    json!({ "id": Uuid::from_u128(n), "result": { "status": "SUCCESS" } })
}

fn refused(n: u128, why: &str) -> Value {
    json!({ "id": Uuid::from_u128(n), "result": { "status": "FAILED", "errors": { "error": [{ "message": why }] } } })
}

fn found(n: u128, tenant: &str, distance: f64) -> Value {
    json!({
        "run_id": Uuid::from_u128(n + 100), "tenant": tenant, "model": "m", "received_at": "2027-01-15T08:00:00.123456Z",
        "_additional": { "id": Uuid::from_u128(n), "distance": distance },
    })
}

fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

#[tokio::test]
async fn a_batch_is_sent_whole_with_the_key_and_the_trends_own_ids() {
    let server = MockServer::start().await;
    let key = header("authorization", "Bearer wv-secret");
    Mock::given(path("/v1/schema/Trend")).and(key).respond_with(ok(class())).expect(1).mount(&server).await;
    let key = header("authorization", "Bearer wv-secret");
    let answer = ok(json!([taken(2), taken(1)]));
    Mock::given(path("/v1/batch/objects")).and(key).respond_with(answer).expect(1).mount(&server).await;
    let zero = Entry { vector: vec![0.0, 0.0], ..entry(3) };
    // The last of one id counts, and one without a direction is not sent.
    let entries = [Entry { tenant: "old".to_owned(), ..entry(1) }, entry(2), zero, entry(1)];
    let results = store(&server).upsert(&entries).await.unwrap();
    assert!(results[0].is_ok() && results[1].is_ok() && results[3].is_ok());
    assert_eq!(results[2].as_ref().unwrap_err().class(), Class::Permanent);
    let requests = server.received_requests().await.unwrap();
    let sent: Value = requests.last().unwrap().body_json().unwrap();
    assert_eq!(sent["objects"].as_array().unwrap().len(), 2);
    let wanted = json!({
        "class": "Trend", "id": Uuid::from_u128(1), "vector": [0.6, 0.8],
        "properties": {
            "run_id": Uuid::from_u128(101), "tenant": "acme", "model": "m", "received_at": "2027-01-15T08:00:00.123456Z",
        },
    });
    assert_eq!(sent["objects"][0], wanted);
}

#[tokio::test]
async fn vectors_of_different_lengths_never_share_a_request() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/schema/Trend")).respond_with(ok(class())).mount(&server).await;
    let echo = |request: &Request| {
        let batch: Value = request.body_json().unwrap();
        let objects = batch["objects"].as_array().unwrap();
        ok(objects.iter().map(|one| json!({ "id": one["id"], "result": { "status": "SUCCESS" } })).collect())
    };
    Mock::given(path("/v1/batch/objects")).respond_with(echo).expect(2).mount(&server).await;
    let long = Entry { vector: vec![1.0, 0.0, 0.0], ..entry(2) };
    let results = store(&server).upsert(&[entry(1), long, entry(3)]).await.unwrap();
    assert!(results.iter().all(Result::is_ok));
    for request in server.received_requests().await.unwrap().iter().filter(|one| one.method == "POST") {
        let batch: Value = request.body_json().unwrap();
        let lengths =
            batch["objects"].as_array().unwrap().iter().map(|one| one["vector"].as_array().unwrap().len());
        assert_eq!(lengths.collect::<std::collections::HashSet<_>>().len(), 1);
    }
}

#[tokio::test]
async fn a_refused_object_fails_alone_and_what_is_left_of_it_is_removed() {
    let server = server(|| ok(json!([taken(1), refused(2, "Validate vector index: dimensions")]))).await;
    let results = store(&server).upsert(&[entry(1), entry(2)]).await.unwrap();
    assert!(results[0].is_ok());
    let error = results[1].as_ref().unwrap_err();
    assert_eq!((error.class(), error.is_outage()), (Class::Transient, false));
    assert!(error.to_string().contains("Validate vector index"), "{error}");
    let requests = server.received_requests().await.unwrap();
    let removal: Value = requests.iter().find(|one| one.method == "DELETE").unwrap().body_json().unwrap();
    assert_eq!(removal["match"]["where"]["valueTextArray"], json!([Uuid::from_u128(2)]));
}

#[tokio::test]
async fn a_server_that_refuses_because_it_is_read_only_is_an_outage() {
    let server = MockServer::start().await;
    Mock::given(path("/v1/schema/Trend")).respond_with(ok(class())).mount(&server).await;
    Mock::given(path("/v1/.well-known/ready")).respond_with(ok(json!({}))).mount(&server).await;
    let shards = ok(json!([{ "name": "one", "status": "READONLY" }]));
    Mock::given(path_regex("shards$")).respond_with(shards).mount(&server).await;
    let answer = ok(json!([refused(1, "store is read-only due to: disk usage too high")]));
    Mock::given(path("/v1/batch/objects")).respond_with(answer).mount(&server).await;
    let error = store(&server).upsert(&[entry(1)]).await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("READONLY"), "{error}");
    assert!(store(&server).check().await.unwrap_err().is_outage());
}

#[tokio::test]
async fn a_server_that_is_away_or_unwell_is_an_outage() {
    for status in [301, 401, 403, 404, 408, 429, 500, 502, 503] {
        let error = upserted(ResponseTemplate::new(status)).await.unwrap_err();
        assert!(error.is_outage(), "{status}: {error}");
        assert!(searched(ResponseTemplate::new(status)).await.is_outage(), "{status}");
        assert!(!error.to_string().contains("wv-secret"));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let store = Weaviate::new(&config(&format!("http://{address}"))).unwrap();
    let error = store.check().await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn what_weaviate_complains_of_is_the_requests_own_fault() {
    for status in [400, 413, 422] {
        let complaint = ResponseTemplate::new(status).set_body_string("no such luck");
        let error = upserted(complaint.clone()).await.unwrap_err();
        assert_eq!((error.class(), error.is_outage()), (Class::Transient, false), "{status}");
        assert!(error.to_string().contains("no such luck"), "{error}");
        assert!(!searched(complaint).await.is_outage());
    }
    let error =
        searched(ok(json!({ "data": null, "errors": [{ "message": "vector lengths don't match" }] }))).await;
    assert!(!error.is_outage() && error.to_string().contains("lengths don't match"), "{error}");
}

#[tokio::test]
async fn hostile_answers_are_errors() {
    let hostile = [
        ("not JSON", ResponseTemplate::new(200).set_body_string("<html>Welcome</html>")),
        ("half of it", ResponseTemplate::new(200).set_body_string(r#"[{"id":"#)),
        ("another shape", ok(json!({ "objects": [] }))),
        ("no ids", ok(json!([{ "id": "moon", "result": { "status": "SUCCESS" } }]))),
        ("others' ids", ok(json!([taken(1), taken(7)]))),
        ("one id twice", ok(json!([taken(1), taken(1)]))),
        ("too few", ok(json!([taken(1)]))),
        ("too much", ResponseTemplate::new(200).set_body_string(" ".repeat(1 << 20))),
        ("very deep", ResponseTemplate::new(200).set_body_string("[".repeat(50_000))),
    ];
    for (what, response) in hostile {
        let error = upserted(response.clone()).await.unwrap_err();
        assert_ne!(error.class(), Class::Permanent, "{what}: {error}");
        assert_ne!(searched(response).await.class(), Class::Permanent, "{what}");
    }
    for (what, rows) in [
        ("no rows", json!(null)),
        ("another tenant's", json!([found(1, "other", 0.1)])),
        ("no id", json!([{ "run_id": "moon" }])),
        ("no distance", json!([found(1, "acme", f64::NAN)])),
        ("more than asked for", json!([found(1, "acme", 0.1), found(2, "acme", 0.2), found(3, "acme", 0.3)])),
    ] {
        let error = searched(ok(json!({ "data": { "Get": { "found": rows } } }))).await;
        assert_ne!(error.class(), Class::Permanent, "{what}: {error}");
    }
}

#[tokio::test]
async fn neighbours_come_nearest_first_and_of_equal_ones_the_earlier() {
    let rows = json!([found(2, "acme", 0.25), found(1, "acme", 0.25)]);
    let server = server(move || ok(json!({ "data": { "Get": { "found": rows } } }))).await;
    let near = store(&server).nearest(QUERY).await.unwrap();
    assert_eq!(near.iter().map(|near| near.id.as_u128()).collect::<Vec<_>>(), [1, 2]);
    assert!((near[0].similarity - 0.75).abs() < 1e-6);
    assert_eq!(near[0].received_at.timestamp_micros(), 1_800_000_000_123_456);
    assert_eq!(store(&server).nearest(Query { k: 0, ..QUERY }).await.unwrap(), []);
    let none = store(&server).nearest(Query { vector: &[0.0, 0.0], ..QUERY }).await.unwrap_err();
    assert_eq!(none.class(), Class::Permanent);
    // Nothing of these is earlier.
    let unfit = Query { before: Some((DateTime::UNIX_EPOCH, Uuid::nil())), ..QUERY };
    assert!(store(&server).nearest(unfit).await.unwrap_err().to_string().contains("not asked for"));
}

#[tokio::test]
async fn a_class_that_is_missing_is_made_and_one_that_does_not_fit_is_a_permanent_fault() {
    let missing = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/schema/Trend"))
        .respond_with(ResponseTemplate::new(404))
        .mount(&missing)
        .await;
    Mock::given(method("GET"))
        .and(path("/v1/objects"))
        .respond_with(ok(json!({ "objects": null })))
        .mount(&missing)
        .await;
    Mock::given(path("/v1/schema")).respond_with(ok(json!({}))).expect(1).mount(&missing).await;
    store(&missing).prepare(Some(2)).await.unwrap();

    let fitting = server(|| ok(json!({}))).await;
    store(&fitting).prepare(Some(2)).await.unwrap();
    let error = store(&fitting).prepare(Some(3)).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("2 dimensions, those to come 3"), "{error}");

    let other = MockServer::start().await;
    let mut altered = class();
    altered["vectorizer"] = json!("text2vec-openai");
    Mock::given(path("/v1/schema/Trend")).respond_with(ok(altered)).mount(&other).await;
    let error = store(&other).prepare(None).await.unwrap_err();
    assert_eq!(error.class(), Class::Permanent);
    assert!(error.to_string().contains("text2vec-openai, and must be none"), "{error}");
    // In mid-flow the same is no job's fault.
    assert!(store(&other).upsert(&[entry(1)]).await.unwrap_err().is_outage());
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up_in_time() {
    let server = MockServer::start().await;
    let stalling = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    Mock::given(method("GET")).respond_with(stalling).mount(&server).await;
    let config = WeaviateConfig { timeout: Duration::from_millis(200), ..config(&server.uri()) };
    let begun = Instant::now();
    let error = Weaviate::new(&config).unwrap().check().await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("in time"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_and_the_key_is_not_shown() {
    let good = config("http://127.0.0.1:9/under/a/path");
    let store = Weaviate::new(&good).unwrap();
    assert!(!format!("{store:?} {good:?}").contains("wv-secret"));
    assert!(format!("{store:?}").contains("/under/a/path"));
    for bad in [
        WeaviateConfig { url: "not a url".to_owned(), ..good.clone() },
        WeaviateConfig { url: "ftp://127.0.0.1".to_owned(), ..good.clone() },
        WeaviateConfig { url: "http://me:hush@127.0.0.1".to_owned(), ..good.clone() },
        WeaviateConfig { class: "trend".to_owned(), ..good },
    ] {
        let error = Weaviate::new(&bad).unwrap_err();
        assert_eq!(error.class(), Class::Permanent);
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
