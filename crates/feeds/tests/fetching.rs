//! Fetching from servers that answer in every way.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::path::Path;
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

/// Where someone answers once with a head, and then with this as often as it is read; the connection ends after `times`.
async fn answering(head: &'static str, part: &'static str, times: usize, pause: Duration) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..times {
            if stream.write_all(part.as_bytes()).await.is_err() {
                break;
            }
            tokio::time::sleep(pause).await;
        }
    });
    format!("http://{address}/?token=SECRET")
}

#[tokio::test]
async fn of_an_answer_without_an_end_what_came_is_handed_over_with_the_reason() {
    let at_once = Duration::ZERO;
    let forever = usize::MAX;
    let plain = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\n\r\n";
    let longer = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n";
    for (url, came, why) in [
        (answering(plain, "<item/>", forever, at_once).await, 10_000, "longer than 10000 bytes"),
        (answering(plain, "<item/>", 1, Duration::from_secs(60)).await, 7, "as a whole after 2s"),
        (answering(longer, "<item/>", 3, at_once).await, 21, "broke off"),
    ] {
        let fetched = fetcher(true).fetch(&url, &none()).await;
        let Ok(Fetched::Beginning(bytes, failure)) = fetched else { panic!("{why}: {fetched:?}") };
        assert!(failure.reason.contains(why) && !failure.reason.contains("SECRET"), "{failure}");
        assert_eq!(bytes.len(), came, "{why}");
        assert!(bytes.starts_with(b"<item/>"), "{why}");
    }
}

#[tokio::test]
async fn no_reason_tells_what_an_address_hides() {
    let server = MockServer::start().await;
    let secret = |scheme: &str, rest: &str| format!("{scheme}://user:SECRET@{rest}?token=SECRET");
    for (allow_private, url) in [
        (true, secret("http", "127.0.0.1:1/feed")),
        (false, secret("http", "127.0.0.1:1/feed")),
        (false, secret("http", "localhost:1/feed")),
        (true, secret("ftp", "example.org/feed")),
        (true, secret("http", "exa mple.org/feed")),
        (true, secret("http", "nowhere.invalid/feed")),
    ] {
        let failed = fetcher(allow_private).fetch(&url, &none()).await.unwrap_err();
        assert!(!failed.reason.contains("SECRET"), "{url}: {failed}");
    }
    let host = fetcher(true).fetch("http://127.0.0.1:1/feed", &none()).await.unwrap_err();
    assert!(host.reason.starts_with("127.0.0.1: "), "{host}");
    for location in ["/circle?token=SECRET", "ftp://user:SECRET@example.org/", "http://u:SECRET@127.0.0.1:1/"]
    {
        let elsewhere = ResponseTemplate::new(302).insert_header("location", location);
        Mock::given(path("/circle")).respond_with(elsewhere).up_to_n_times(9).mount(&server).await;
        let failed = fetcher(true).fetch(&format!("{}/circle", server.uri()), &none()).await.unwrap_err();
        assert!(!failed.reason.contains("SECRET"), "{location}: {failed}");
        server.reset().await;
    }
}

#[tokio::test]
async fn what_is_no_regular_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [fifo.as_path(), folder.path(), Path::new("/dev/zero")] {
        let failed = fetcher(true).fetch(&format!("file:{}", path.display()), &none()).await.unwrap_err();
        assert!(failed.reason.contains("is no regular file"), "{failed}");
        assert_eq!(failed.class, RetryClass::Permanent);
    }
    let long = folder.path().join("long.xml");
    std::fs::write(&long, "x".repeat(10_001)).unwrap();
    let fetched = fetcher(true).fetch(&format!("file://{}", long.display()), &none()).await;
    let Ok(Fetched::Beginning(bytes, failure)) = fetched else { panic!("{fetched:?}") };
    assert_eq!((bytes.len(), failure.reason.as_str()), (10_000, "it is longer than 10000 bytes"));
}

#[tokio::test]
async fn circles_and_sleepers_are_cut_off() {
    let server = MockServer::start().await;
    let circle = ResponseTemplate::new(302).insert_header("location", "/circle");
    Mock::given(path("/circle")).respond_with(circle).mount(&server).await;
    let failed = fetcher(true).fetch(&format!("{}/circle", server.uri()), &none()).await.unwrap_err();
    assert!(failed.reason.contains("redirects"), "{failed}");

    let asleep = ResponseTemplate::new(200).set_delay(Duration::from_secs(30));
    Mock::given(path("/asleep")).respond_with(asleep).mount(&server).await;
    let failed = fetcher(true).fetch(&format!("{}/asleep", server.uri()), &none()).await.unwrap_err();
    assert_eq!(failed.class, RetryClass::Transient, "{failed}");
}
