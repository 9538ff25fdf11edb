//! Outlets that speak HTTP, against servers that answer in every way.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod common;

use common::{KEY, content, post};
use model::{EffectResult, Known, RetryClass};
use serde_json::{Value, json};
use tidemill_outlets::{Outlet, Webhook, WebhookConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::{header, method};
use wiremock::{Mock, MockServer, ResponseTemplate};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
fn webhook(url: &str, more: &Value) -> Webhook {
    rustls::crypto::ring::default_provider().install_default().ok();
    let mut config = json!({ "url": url, "secret": SECRET });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Webhook::new(&serde_json::from_value::<WebhookConfig>(config).unwrap()).unwrap()
}

async fn answering(answer: ResponseTemplate) -> MockServer {
    let server = MockServer::builder().start().await;
    Mock::given(method("POST")).respond_with(answer).mount(&server).await;
    server
}

#[tokio::test]
async fn a_webhook_is_signed_and_carries_the_key() {
    let server = MockServer::builder().start().await;
    Mock::given(method("POST"))
        .and(header("webhook-id", KEY))
        .and(header("idempotency-key", KEY))
        .and(header("x-team", "desk"))
        .respond_with(ResponseTemplate::new(204))
        .mount(&server)
        .await;
    let hook = webhook(&server.uri(), &json!({ "headers": { "x-team": "desk" } }));
    let content = content();
    assert!(matches!(hook.deliver(&post(&content)).await, EffectResult::Confirmed { .. }));
    let request = server.received_requests().await.unwrap().remove(0);
    let verifier = standardwebhooks::Webhook::new(SECRET).unwrap();
    verifier.verify(&request.body, &request.headers).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["type"], &body["data"]["title"]), (&json!("post.published"), &json!(content.title)));
}

#[tokio::test]
async fn the_documented_template_fits_content_with_and_without_an_address() {
    let server = answering(ResponseTemplate::new(200)).await;
    let documented = include_str!("../../../docs/outlets.md");
    let line = documented.lines().find_map(|line| line.trim().strip_prefix("template: '{\"text\"")).unwrap();
    let template = format!("{{\"text\"{}", line.trim_end_matches('\''));
    let hook = webhook(&server.uri(), &json!({ "template": template }));
    let with = content();
    let without = model::Content { url: None, ..content() };
    for content in [&with, &without] {
        hook.deliver(&post(content)).await;
    }
    let bodies = server.received_requests().await.unwrap();
    let text = |index: usize| {
        let body: Value = serde_json::from_slice(&bodies[index].body).unwrap();
        body["text"].as_str().unwrap().to_owned()
    };
    assert_eq!(text(0), format!("{} {}", with.title, with.url.as_deref().unwrap()));
    assert_eq!(text(1), without.title);
}

#[tokio::test]
async fn a_template_makes_the_body() {
    let server = answering(ResponseTemplate::new(200)).await;
    let template = r#"{"text": {{ (title ~ " — " ~ url) | tojson }}}"#;
    let hook = webhook(&server.uri(), &json!({ "template": template }));
    hook.deliver(&post(&content())).await;
    let request = server.received_requests().await.unwrap().remove(0);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "text": "A \"title\" & <more> — https://example.org/a" }));
    let broken = json!({ "url": server.uri(), "template": "{{ moon }}" });
    let hook = Webhook::new(&serde_json::from_value(broken).unwrap()).unwrap();
    let EffectResult::NotSent(failure) = hook.deliver(&post(&content())).await else {
        panic!("it cannot be sent")
    };
    assert_eq!(failure.class, RetryClass::Permanent);
}

#[tokio::test]
async fn answers_mean_what_they_say() {
    for status in [400, 401, 404, 410, 422, 301] {
        let server = answering(ResponseTemplate::new(status)).await;
        let result = webhook(&server.uri(), &json!({})).deliver(&post(&content())).await;
        assert!(matches!(result, EffectResult::Rejected { .. }), "{status}: {result:?}");
    }
    for status in [500, 502, 503] {
        let server = answering(ResponseTemplate::new(status)).await;
        let result = webhook(&server.uri(), &json!({})).deliver(&post(&content())).await;
        assert!(matches!(result, EffectResult::Unsettled { .. }), "{status}: {result:?}");
    }
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "7");
    let server = answering(busy).await;
    let EffectResult::NotSent(failure) = webhook(&server.uri(), &json!({})).deliver(&post(&content())).await
    else {
        panic!("it was not taken")
    };
    assert_eq!(failure.class, RetryClass::RetryAfter(std::time::Duration::from_secs(7)));
}

#[tokio::test]
async fn no_connection_is_told_from_a_connection_that_is_cut() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cutting = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
    });
    let hook = webhook(&url, &json!({}));
    assert!(matches!(hook.deliver(&post(&content())).await, EffectResult::Unsettled { .. }));
    cutting.await.unwrap();
    let EffectResult::NotSent(failure) = hook.deliver(&post(&content())).await else {
        panic!("nobody listens")
    };
    assert_eq!(failure.class, RetryClass::Unavailable);
    assert!(
        !failure.reason.contains("127.0.0.1:") || !failure.reason.contains("http://"),
        "{}",
        failure.reason
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
    });
    let result = webhook(&url, &json!({})).deliver(&post(&content())).await;
    assert!(
        matches!(&result, EffectResult::Unsettled { reason } if reason.contains("longer than")),
        "{result:?}"
    );
}

#[tokio::test]
async fn only_a_receiver_that_deduplicates_may_be_sent_to_again() {
    assert_eq!(webhook("http://127.0.0.1:1", &json!({})).ask(KEY).await, Ok(Known::CannotTell));
    let again = webhook("http://127.0.0.1:1", &json!({ "deduplicates": true }));
    assert_eq!((again.ask(KEY).await, again.deduplicates()), (Ok(Known::Repeatable), true));
}
