//! Fetching from servers that answer in every way.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::time::Duration;

use model::RetryClass;
use tidemill_feeds::{Fetched, Fetcher, Limits, Validators};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wiremock::matchers::{header, method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

fn fetcher(allow_private: bool) -> Fetcher {
    rustls::crypto::ring::default_provider().install_default().ok();
    Fetcher::new(Limits { timeout: Duration::from_secs(2), size: 10_000, allow_private }).unwrap()
}

fn none() -> Validators {
    Validators::default()
}

#[tokio::test]
async fn an_unchanged_document_is_not_sent_again() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(header("if-none-match", "\"v1\""))
        .respond_with(ResponseTemplate::new(304))
        .with_priority(1)
        .mount(&server)
        .await;
    let document = ResponseTemplate::new(200).insert_header("etag", "\"v1\"").set_body_string("<rss/>");
    Mock::given(method("GET")).respond_with(document).mount(&server).await;
    let fetcher = fetcher(true);
    let Ok(Fetched::Document(bytes, validators)) = fetcher.fetch(&server.uri(), &none()).await else {
        panic!("a document")
    };
    assert_eq!((bytes.as_slice(), validators.etag.as_deref()), (&b"<rss/>"[..], Some("\"v1\"")));
    assert_eq!(fetcher.fetch(&server.uri(), &validators).await, Ok(Fetched::Unchanged));
}

#[tokio::test]
async fn private_addresses_are_refused_directly_and_by_redirect() {
    let server = MockServer::start().await;
    let refused = fetcher(false).fetch(&server.uri(), &none()).await.unwrap_err();
    assert!(refused.reason.contains("private address"), "{refused}");
    let local = server.uri().replace("127.0.0.1", "localhost");
    assert!(fetcher(false).fetch(&local, &none()).await.is_err(), "a name that resolves to this machine");
    assert_eq!(server.received_requests().await.unwrap().len(), 0);
    let other = fetcher(true).fetch("ftp://example.org/x", &none()).await.unwrap_err();
    assert_eq!(other.class, RetryClass::Permanent);
}

#[tokio::test]
async fn circles_endless_documents_and_sleepers_are_cut_off() {
    let server = MockServer::start().await;
    let circle = ResponseTemplate::new(302).insert_header("location", "/circle");
    Mock::given(path("/circle")).respond_with(circle).mount(&server).await;
    let failed = fetcher(true).fetch(&format!("{}/circle", server.uri()), &none()).await.unwrap_err();
    assert!(failed.reason.contains("redirects"), "{failed}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let failed = fetcher(true).fetch(&format!("http://{address}/"), &none()).await.unwrap_err();
    assert!(failed.reason.contains("longer than"), "{failed}");

    let asleep = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(path("/asleep")).respond_with(asleep).mount(&server).await;
    let failed = fetcher(true).fetch(&format!("{}/asleep", server.uri()), &none()).await.unwrap_err();
    assert_eq!(failed.class, RetryClass::Transient, "{failed}");
}
