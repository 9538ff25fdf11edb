//! The embedder behind HTTP, against stand-ins that misbehave.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidemill_vectors::{Class, Embedder, Error, OpenAi, OpenAiConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn config(base_url: &str) -> OpenAiConfig {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    OpenAiConfig {
        base_url: base_url.to_owned(),
        model: "stand-in".to_owned(),
        dimensions: 2,
        api_key: Some("sk-secret".to_owned()),
        timeout: Duration::from_secs(5),
        max_batch: 2,
        request_dimensions: false,
    }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

/// Answers each text with (its length, 1), last text first.
fn lengths(request: &Request) -> ResponseTemplate {
    let asked: Value = request.body_json().unwrap();
    let inputs = asked["input"].as_array().unwrap();
    let items = inputs.iter().enumerate().rev().map(|(index, text)| {
        json!({"object": "embedding", "index": index, "embedding": [text.as_str().unwrap().len(), 1]})
    });
    ResponseTemplate::new(200).set_body_json(json!({"object": "list", "data": items.collect::<Vec<_>>()}))
}

async fn failing(response: ResponseTemplate) -> Error {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(response).mount(&server).await;
    OpenAi::new(config(&server.uri())).unwrap().embed(&texts(&["a", "b"])).await.unwrap_err()
}

#[tokio::test]
async fn texts_are_sent_in_batches_with_the_key_and_come_back_in_order() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/v1/embeddings"))
        .and(header("authorization", "Bearer sk-secret"))
        .respond_with(lengths)
        .expect(3)
        .mount(&server)
        .await;
    let embedder = OpenAi::new(config(&format!("{}/v1/", server.uri()))).unwrap();
    let vectors = embedder.embed(&texts(&["", "22", "333", "4444", "55555"])).await.unwrap();
    // The empty text is sent as a space.
    for (vector, length) in vectors.iter().zip([1.0_f32, 2.0, 3.0, 4.0, 5.0]) {
        assert!((vector[0] / vector[1] - length).abs() < 1e-5, "{vector:?}");
        assert!((vector[0].hypot(vector[1]) - 1.0).abs() < 1e-6);
    }
    assert_eq!(vectors.len(), 5);
    let first: Value = server.received_requests().await.unwrap()[0].body_json().unwrap();
    assert_eq!(first, json!({"model": "stand-in", "input": [" ", "22"], "encoding_format": "float"}));
}

#[tokio::test]
async fn shorter_vectors_are_asked_for_only_where_configured() {
    let server = MockServer::start().await;
    Mock::given(method("POST")).respond_with(lengths).mount(&server).await;
    let config = OpenAiConfig { request_dimensions: true, api_key: None, ..config(&server.uri()) };
    OpenAi::new(config).unwrap().embed(&texts(&["a"])).await.unwrap();
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.body_json::<Value>().unwrap()["dimensions"], 2);
    assert!(!request.headers.contains_key("authorization"));
}

#[tokio::test]
async fn too_many_requests_waits_as_long_as_asked() {
    let asked = failing(ResponseTemplate::new(429).insert_header("retry-after", "17")).await;
    assert_eq!(asked.class(), Class::RetryAfter(Duration::from_secs(17)));
    let unsaid = failing(ResponseTemplate::new(429)).await;
    assert_eq!(unsaid.class(), Class::RetryAfter(Duration::from_secs(5)));
    let absurd = failing(ResponseTemplate::new(429).insert_header("retry-after", "99999999")).await;
    assert_eq!(absurd.class(), Class::RetryAfter(Duration::from_secs(3600)));
    let past =
        failing(ResponseTemplate::new(429).insert_header("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"))
            .await;
    assert_eq!(past.class(), Class::RetryAfter(Duration::ZERO));
}

#[tokio::test]
async fn a_server_that_is_unwell_is_asked_again() {
    for status in [408, 500, 502, 503] {
        let error = failing(ResponseTemplate::new(status)).await;
        assert_eq!((error.class(), error.is_outage()), (Class::Transient, false), "{status}");
    }
    let busy = failing(ResponseTemplate::new(503).insert_header("retry-after", "3")).await;
    assert_eq!(busy.class(), Class::RetryAfter(Duration::from_secs(3)));
}

#[tokio::test]
async fn a_refused_text_is_not_sent_again() {
    for status in [301, 400, 404, 413, 422] {
        let error = failing(ResponseTemplate::new(status).set_body_string("no such luck")).await;
        assert_eq!(error.class(), Class::Permanent, "{status}");
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_key_is_an_outage_and_is_not_shown() {
    for status in [401, 403] {
        let error = failing(ResponseTemplate::new(status)).await;
        assert!(error.is_outage(), "{status}");
        assert!(!error.to_string().contains("sk-secret"));
    }
    let embedder = OpenAi::new(config("http://127.0.0.1:9")).unwrap();
    assert!(!format!("{embedder:?}").contains("sk-secret"));
}

#[tokio::test]
async fn vectors_of_another_length_or_number_are_permanent() {
    let one = json!({"index": 0, "embedding": [1.0, 0.0]});
    let long = json!({"index": 1, "embedding": [1.0, 0.0, 0.0]});
    for data in [json!([one]), json!([one, long])] {
        let error = failing(ResponseTemplate::new(200).set_body_json(json!({"data": data}))).await;
        assert_eq!(error.class(), Class::Permanent, "{error}");
    }
}

#[tokio::test]
async fn half_an_answer_is_transient_and_an_endless_one_is_cut_off() {
    let half = failing(ResponseTemplate::new(200).set_body_string(r#"{"data":[{"index":0,"emb"#)).await;
    assert_eq!(half.class(), Class::Transient, "{half}");
    let endless = failing(ResponseTemplate::new(200).set_body_string(" ".repeat(1 << 20))).await;
    assert_eq!(endless.class(), Class::Permanent, "{endless}");
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up_in_time() {
    let server = MockServer::start().await;
    let stalling = ResponseTemplate::new(200).set_delay(Duration::from_secs(60));
    Mock::given(method("POST")).respond_with(stalling).mount(&server).await;
    let config = OpenAiConfig { timeout: Duration::from_millis(200), ..config(&server.uri()) };
    let begun = Instant::now();
    let error = OpenAi::new(config).unwrap().embed(&texts(&["a"])).await.unwrap_err();
    assert_eq!((error.class(), error.is_outage()), (Class::Transient, false), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_transient() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            assert!(socket.read(&mut request).await.unwrap() > 0);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"data\":[";
            socket.write_all(head).await.unwrap();
        }
    });
    let embedder = OpenAi::new(config(&format!("http://{address}"))).unwrap();
    let error = embedder.embed(&texts(&["a"])).await.unwrap_err();
    assert_eq!(error.class(), Class::Transient, "{error}");
}

#[tokio::test]
async fn nobody_listening_is_an_outage_that_says_why() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let embedder = OpenAi::new(config(&format!("http://{address}"))).unwrap();
    let error = embedder.embed(&texts(&["a"])).await.unwrap_err();
    assert!(error.is_outage() && error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let good = config("http://127.0.0.1:1");
    for bad in [
        OpenAiConfig { base_url: "not a url".to_owned(), ..good.clone() },
        OpenAiConfig { dimensions: 0, ..good.clone() },
        OpenAiConfig { max_batch: 0, ..good },
    ] {
        assert_eq!(OpenAi::new(bad).unwrap_err().class(), Class::Permanent);
    }
}
