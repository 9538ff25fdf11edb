//! The outlet `wordpress`, against a stand-in of its REST API. `make test-services` runs it on a real one.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod common;

use std::sync::{Arc, Mutex};

use common::{KEY, content, post};
use model::{EffectResult, Failure, Known, RetryClass, Withdrawal};
use serde_json::{Value, json};
use tidemill_outlets::{Outlet, Wordpress, WordpressConfig};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

type Posts = Arc<Mutex<Vec<Value>>>;

/// A site that keeps posts; `swallow` makes it answer 504 after it has kept one.
async fn site(swallow: bool) -> (MockServer, Posts) {
    let posts: Posts = Arc::default();
    let kept = Arc::clone(&posts);
    let server = MockServer::start().await;
    let respond = move |request: &Request| {
        if !request.headers.contains_key("authorization") {
            return ResponseTemplate::new(401);
        }
        let query: std::collections::HashMap<_, _> = request.url.query_pairs().into_owned().collect();
        let route = query["rest_route"].as_str();
        let mut posts = kept.lock().unwrap();
        match (request.method.as_str(), route) {
            ("GET", "/wp/v2/categories" | "/wp/v2/tags") => {
                ResponseTemplate::new(200).set_body_json(json!([{ "id": 3, "name": "News &amp; Views" }]))
            }
            ("POST", "/wp/v2/tags") => ResponseTemplate::new(400).set_body_json(
                json!({ "code": "term_exists", "message": "it is there", "data": { "term_id": 9 } }),
            ),
            ("GET", "/wp/v2/posts") => {
                let found = |post: &&Value| query.get("slug").is_none_or(|slug| post["slug"] == **slug);
                let found: Vec<&Value> = posts.iter().filter(found).collect();
                ResponseTemplate::new(200).set_body_json(found)
            }
            ("POST", "/wp/v2/posts") => {
                let mut post: Value = serde_json::from_slice(&request.body).unwrap();
                post["content"] = json!({ "raw": post["content"] });
                post["id"] = json!(posts.len() + 40);
                post["link"] = json!("https://blog.example.org/?p=40");
                posts.push(post.clone());
                if swallow {
                    ResponseTemplate::new(504)
                } else {
                    ResponseTemplate::new(201).set_body_json(post)
                }
            }
            ("DELETE", _) => {
                posts.clear();
                ResponseTemplate::new(200).set_body_json(json!({}))
            }
            _ => ResponseTemplate::new(404),
        }
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    (server, posts)
}

fn wordpress(url: &str) -> Wordpress {
    rustls::crypto::ring::default_provider().install_default().ok();
    let config = json!({ "url": url, "username": "u", "password": "p p p", "categories": ["news & views"] });
    Wordpress::new(serde_json::from_value::<WordpressConfig>(config).unwrap()).unwrap()
}

#[tokio::test]
async fn a_post_carries_the_key_as_slug_and_marker_and_its_terms_by_name() {
    let (server, posts) = site(false).await;
    let outlet = wordpress(&server.uri());
    let result = outlet.deliver(&post(&content())).await;
    assert_eq!(
        result,
        EffectResult::Confirmed { reference: "post 40 https://blog.example.org/?p=40".to_owned() }
    );
    let made = posts.lock().unwrap()[0].clone();
    assert_eq!((&made["slug"], &made["status"]), (&json!(KEY), &json!("draft")));
    assert_eq!((&made["categories"], &made["tags"]), (&json!([3]), &json!([9])));
    let html = made["content"]["raw"].as_str().unwrap();
    assert!(html.contains("<p>First.</p>") && html.contains(&format!("<!-- tidemill:{KEY} -->")), "{html}");
    assert_eq!(made["title"], "A \"title\" &amp; &lt;more&gt;");
    let withdrawn = outlet.revoke(KEY).await;
    assert_eq!(withdrawn, Ok(Withdrawal::Done { detail: "post 40 is in the trash".to_owned() }));
    assert_eq!(outlet.ask(KEY).await, Ok(Known::Absent));
}

#[tokio::test]
async fn a_post_whose_answer_was_lost_is_found_again() {
    let (server, posts) = site(true).await;
    let outlet = wordpress(&server.uri());
    assert_eq!(outlet.ask(KEY).await, Ok(Known::Absent));
    assert!(matches!(outlet.deliver(&post(&content())).await, EffectResult::Unsettled { .. }));
    assert!(matches!(outlet.ask(KEY).await, Ok(Known::Delivered { .. })));
    // An editor gave it another slug: the marker is left.
    posts.lock().unwrap()[0]["slug"] = json!("a-better-slug");
    let known = outlet.ask(KEY).await;
    assert!(matches!(known, Ok(Known::Delivered { .. })), "{known:?}");
}

#[tokio::test]
async fn a_password_needs_https_and_a_site_that_is_out_is_an_outage() {
    let config = json!({ "url": "http://blog.example.org", "username": "u", "password": "p" });
    assert!(Wordpress::new(serde_json::from_value(config).unwrap()).is_err());
    let EffectResult::NotSent(failure) = wordpress("http://127.0.0.1:1").deliver(&post(&content())).await
    else {
        panic!("nobody listens")
    };
    assert_eq!(failure.class, RetryClass::Unavailable);
}

/// A site that has one post of the key, in the trash or not, and answers its deletion like this.
async fn deleting(trashed: bool, status: u16, code: &str) -> Result<Withdrawal, Failure> {
    let server = MockServer::start().await;
    let refusal = json!({ "code": code });
    let respond = move |request: &Request| {
        let query: std::collections::HashMap<_, _> = request.url.query_pairs().into_owned().collect();
        let found = if query.get("status").is_some_and(|s| s == "trash") && !trashed {
            json!([])
        } else {
            json!([{ "id": 7, "slug": KEY }])
        };
        match request.method.as_str() {
            "DELETE" => ResponseTemplate::new(status).set_body_json(&refusal),
            _ => ResponseTemplate::new(200).set_body_json(found),
        }
    };
    Mock::given(any()).respond_with(respond).mount(&server).await;
    wordpress(&server.uri()).revoke(KEY).await
}

#[tokio::test]
async fn a_post_that_somebody_else_threw_away_is_withdrawn_and_a_site_without_a_trash_refuses() {
    let done = deleting(true, 410, "rest_already_trashed").await;
    assert!(matches!(&done, Ok(Withdrawal::Done { detail }) if detail.contains("already")), "{done:?}");
    let failure = deleting(false, 403, "rest_cannot_delete").await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Permanent);
    let failure = deleting(false, 501, "rest_trash_not_supported").await.unwrap_err();
    assert!(failure.class == RetryClass::Permanent && failure.reason.contains("no trash"), "{failure:?}");
    let failure = deleting(false, 503, "maintenance").await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Unavailable);
}
