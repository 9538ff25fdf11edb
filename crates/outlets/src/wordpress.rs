//! The outlet `wordpress`: posts through the REST API, with an application password.
//!
//! WordPress does not de-duplicate: the same post again becomes a second one. So the publication key is the post's slug,
//! and stands in a comment at the end of its content, and both are searched for when nobody knows whether it arrived.

mod terms;

use calls::{Secret, http};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure, Known, RetryClass, Withdrawal};
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{Outlet, Post};
use terms::Terms;

/// Which site, as whom, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordpressConfig {
    /// The site's address; https, or http on this machine.
    pub url: String,
    /// The user.
    pub username: String,
    /// An application password of that user.
    pub password: Secret,
    /// Whether posts appear at once or wait as drafts.
    #[serde(default)]
    pub status: Status,
    /// Categories by name; made where they are missing.
    #[serde(default)]
    pub categories: Vec<String>,
    /// Whether the content's tags become the post's.
    #[serde(default = "yes")]
    pub tags: bool,
}

fn yes() -> bool {
    true
}

/// How a post appears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// For an editor to publish.
    #[default]
    Draft,
    /// At once.
    Publish,
}

/// The outlet `wordpress`.
#[derive(Debug)]
pub struct Wordpress {
    config: WordpressConfig,
    site: Site,
    terms: Terms,
}

/// The REST API of one site.
#[derive(Clone)]
struct Site {
    url: Url,
    username: String,
    password: String,
    client: reqwest::Client,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site")
            .field("url", &self.url.as_str())
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl Site {
    /// A request to a route such as `posts/7`; works with and without rewriting of addresses.
    fn request(&self, method: Method, route: &str, query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.url.clone();
        url.query_pairs_mut().append_pair("rest_route", &format!("/wp/v2/{route}")).extend_pairs(query);
        self.client.request(method, url).basic_auth(&self.username, Some(&self.password))
    }

    async fn get(&self, route: &str, query: &[(&str, &str)]) -> Result<Value, Failure> {
        read(&self.asked(self.request(Method::GET, route, query)).await?)
    }

    /// The body of a successful answer to a request that publishes nothing.
    async fn asked(&self, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let answer = http::asked(request.send().await).await;
        answer.map_err(|failure| Failure { reason: self.explained(failure.reason), ..failure })
    }

    /// WordPress takes whoever shows a wrong password for a visitor, and says only what visitors may not.
    fn explained(&self, reason: String) -> String {
        if reason.contains("401 Unauthorized") || reason.contains("rest_forbidden") {
            let user = &self.username;
            return format!("{reason}; most likely `{user}` has no such application password any more");
        }
        reason
    }
}

fn read(body: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(body).map_err(|e| {
        Failure::unavailable(format!("the site did not answer with JSON, as its REST API would: {e}"))
    })
}

/// How a site answers that deletes at once and for good (`EMPTY_TRASH_DAYS` is 0): that is not asked of it.
const NO_TRASH: &str = "rest_trash_not_supported";

/// The comment that marks a post.
fn marker(key: &str) -> String {
    format!("<!-- tidemill:{key} -->")
}

impl Wordpress {
    /// Asks nothing yet.
    ///
    /// # Errors
    /// Permanent: the address is none, or would send the password in the clear; the password is missing.
    pub fn new(config: WordpressConfig) -> Result<Self, Failure> {
        let url = Url::parse(&config.url).map_err(|e| Failure::permanent(format!("url: {e}")))?;
        let here = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && here) {
            return Err(Failure::permanent(
                "url: it must be https://; http:// sends the password in the clear",
            ));
        }
        let password =
            config.password.text().ok_or_else(|| Failure::permanent("password: it is missing"))?.to_owned();
        let site = Site { url, username: config.username.clone(), password, client: http::client()? };
        Ok(Self { terms: Terms::new(site.clone()), config, site })
    }

    async fn publish(&self, post: &Post<'_>) -> Result<Value, EffectResult> {
        let categories =
            self.terms.ids("categories", &self.config.categories).await.map_err(EffectResult::NotSent)?;
        let names: &[String] = if self.config.tags { &post.content.tags } else { &[] };
        let tags = self.terms.ids("tags", names).await.map_err(EffectResult::NotSent)?;
        let mut body = self.body(post);
        body["categories"] = json!(categories);
        body["tags"] = json!(tags);
        let sent = self.site.request(Method::POST, "posts", &[]).json(&body).send().await;
        let (_, answer) = http::published(sent).await.map_err(|result| match result {
            EffectResult::Rejected { reason } => {
                EffectResult::Rejected { reason: self.site.explained(reason) }
            }
            other => other,
        })?;
        read(&answer).map_err(|failure| EffectResult::Unsettled { reason: failure.reason })
    }

    fn body(&self, post: &Post<'_>) -> Value {
        let content = &post.content;
        let mut html: String = content
            .body
            .lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| format!("<p>{}</p>\n", html_escape::encode_text(line.trim())))
            .collect();
        if let Some(url) = content.url.as_deref() {
            let url = html_escape::encode_double_quoted_attribute(url);
            html.push_str(&format!("<p><a href=\"{url}\" rel=\"nofollow noopener\">Original</a></p>\n"));
        }
        html.push_str(&marker(post.key));
        json!({
            "title": html_escape::encode_text(&content.title),
            "content": html,
            "excerpt": html_escape::encode_text(&content.summary),
            "slug": post.key,
            "status": self.config.status,
        })
    }

    /// The post that carries the key, in one of these states (`any` leaves out the trash).
    async fn find(&self, key: &str, status: &str) -> Result<Option<Value>, Failure> {
        let common = [("status", status), ("context", "edit"), ("per_page", "20")];
        for way in ["slug", "search"] {
            let query: Vec<(&str, &str)> = std::iter::once((way, key)).chain(common).collect();
            let found = self.site.get("posts", &query).await?;
            let of_key = |post: &&Value| {
                post["slug"] == key
                    || post["content"]["raw"].as_str().is_some_and(|raw| raw.contains(&marker(key)))
            };
            if let Some(post) = found.as_array().into_iter().flatten().find(of_key) {
                return Ok(Some(post.clone()));
            }
        }
        Ok(None)
    }

    /// Moves the post to the trash, where an editor still finds it.
    async fn withdraw(&self, key: &str) -> Result<Withdrawal, Failure> {
        let mut refused = None;
        if let Some(post) = self.find(key, "any").await? {
            let route = format!("posts/{}", post["id"]);
            match self.site.asked(self.site.request(Method::DELETE, &route, &[])).await {
                Ok(_) => {
                    return Ok(Withdrawal::Done { detail: format!("post {} is in the trash", post["id"]) });
                }
                Err(failure) if failure.reason.contains(NO_TRASH) => {
                    return Err(Failure::permanent(format!("the site has no trash: {}", failure.reason)));
                }
                // Another process, or an editor, may have been faster by a moment.
                Err(failure) if failure.class == RetryClass::Permanent => refused = Some(failure),
                Err(failure) => return Err(failure),
            }
        }
        match (self.find(key, "trash").await?, refused) {
            (Some(post), _) => {
                Ok(Withdrawal::Done { detail: format!("post {} was in the trash already", post["id"]) })
            }
            (None, Some(failure)) => Err(failure),
            (None, None) => Ok(Withdrawal::Absent),
        }
    }
}

fn reference(post: &Value) -> String {
    format!("post {} {}", post["id"], post["link"].as_str().unwrap_or_default())
}

impl Outlet for Wordpress {
    fn deduplicates(&self) -> bool {
        false
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            match self.publish(post).await {
                Ok(answer) => EffectResult::Confirmed { reference: reference(&answer) },
                Err(result) => result,
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        async move {
            let found = self.find(key, "any").await?;
            Ok(found.map_or(Known::Absent, |post| Known::Delivered { reference: reference(&post) }))
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        self.withdraw(key).boxed()
    }

    fn preview(&self, post: &Post<'_>) -> Value {
        let mut body = self.body(post);
        body["categories"] = json!(self.config.categories);
        body["tags"] = json!(post.content.tags);
        json!({ "site": self.site.url.as_str(), "post": body })
    }
}
