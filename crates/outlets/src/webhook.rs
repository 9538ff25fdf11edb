//! The outlet `webhook`: a POST to one address, signed after Standard Webhooks.
//!
//! `webhook-id` and `idempotency-key` are the publication key, the same for every try. Without a template the body is
//! `{"type": "post.published", "timestamp": …, "data": {…}}` with the post's fields.

use std::collections::BTreeMap;

use calls::{Hook, Secret, Template, http};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure, Known, Withdrawal};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::template::{fields, render};
use crate::{Outlet, Post, irrevocable};

/// Where and how to call.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// The address.
    pub url: String,
    /// The signing secret, base64, with or without `whsec_`. Without one the request is not signed.
    #[serde(default)]
    pub secret: Secret,
    /// Whether the receiver takes the same `webhook-id` only once. Only then is a post sent again after a 5xx or a timeout.
    #[serde(default)]
    pub deduplicates: bool,
    /// More headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A template of the body.
    #[serde(default)]
    pub template: Option<String>,
    /// The body's type.
    #[serde(default = "json_type")]
    pub content_type: String,
}

fn json_type() -> String {
    "application/json".to_owned()
}

/// The outlet `webhook`.
pub struct Webhook {
    hook: Hook,
    deduplicates: bool,
    headers: HeaderMap,
    template: Option<Template>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("host", &self.hook.host()).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Sends nothing yet.
    ///
    /// # Errors
    /// Permanent: the address, a header, the template or the secret is none.
    pub fn new(config: &WebhookConfig) -> Result<Self, Failure> {
        let wrong = |what: &str, e: &dyn std::fmt::Display| Failure::permanent(format!("{what}: {e}"));
        let hook = Hook::new(&config.url, &config.secret)?;
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::try_from(&config.content_type).map_err(|e| wrong("content_type", &e))?,
        );
        for (name, value) in &config.headers {
            let name = HeaderName::try_from(name).map_err(|e| wrong("headers", &e))?;
            headers.insert(name, HeaderValue::try_from(value).map_err(|e| wrong("headers", &e))?);
        }
        let template = config.template.as_deref().map(Template::parse).transpose()?;
        Ok(Self { hook, deduplicates: config.deduplicates, headers, template })
    }

    fn body(&self, post: &Post<'_>) -> Result<String, Failure> {
        match &self.template {
            Some(template) => render(template, post),
            None => {
                Ok(json!({ "type": "post.published", "timestamp": post.published_at, "data": fields(post) })
                    .to_string())
            }
        }
    }

    fn request(&self, post: &Post<'_>) -> Result<reqwest::RequestBuilder, Failure> {
        let request = self.hook.post(post.key, self.body(post)?)?;
        Ok(request.headers(self.headers.clone()).header("idempotency-key", post.key))
    }
}

impl Outlet for Webhook {
    fn deduplicates(&self) -> bool {
        self.deduplicates
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            let request = match self.request(post) {
                Ok(request) => request,
                Err(failure) => return EffectResult::NotSent(failure),
            };
            match http::published(request.send().await).await {
                Ok((status, _)) => {
                    EffectResult::Confirmed { reference: format!("{status} by {}", self.hook.host()) }
                }
                Err(result) => result,
            }
        }
        .boxed()
    }

    /// A webhook cannot be asked; one that de-duplicates may be sent to again.
    fn ask<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        let known = if self.deduplicates { Known::Repeatable } else { Known::CannotTell };
        async { Ok(known) }.boxed()
    }

    fn revoke<'a>(&'a self, _key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        irrevocable("a webhook that was called cannot be called back: ask its receiver")
    }

    fn preview(&self, post: &Post<'_>) -> serde_json::Value {
        match self.body(post) {
            Ok(body) => json!({ "post_to": self.hook.host(), "signed": self.hook.is_signed(), "body": body }),
            Err(failure) => json!({ "error": failure.reason }),
        }
    }
}
