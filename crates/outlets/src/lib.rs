//! Outlets: where approved content goes out.
//!
//! [`Outlet`] is the seam. An outlet is called at most once per claim in the ledger; what it answers must be true:
//! "rejected" and "not sent" mean that nothing went out.
//!
//! | outlet        | sends to                                            | asked by key            | withdraws      |
//! | ------------- | --------------------------------------------------- | ----------------------- | -------------- |
//! | [`Files`]     | a folder: Markdown, HTML and an Atom feed           | yes; de-duplicates      | yes            |
//! | [`Webhook`]   | an address, signed after Standard Webhooks          | no; may de-duplicate    | no             |
//! | [`Wordpress`] | a WordPress site, through its REST API              | yes                     | to the trash   |
//! | [`Email`]     | people, over SMTP                                   | no                      | no             |
//! | [`Mcp`]       | a tool of an MCP server                             | no; may de-duplicate    | no             |
//!
//! [`Target`] sends notifications to people over the same signed call that [`Webhook`] makes.

mod email;
mod files;
mod mcp;
mod notification;
mod template;
mod webhook;
mod wordpress;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use model::{Content, EffectResult, Failure, Known, RunId, Sha256Digest, Withdrawal};

pub use calls::Secret;
pub use email::{Email, EmailConfig, Security};
pub use files::{Files, FilesConfig};
pub use mcp::{Mcp, McpConfig};
pub use notification::{Target, TargetConfig};
pub use webhook::{Webhook, WebhookConfig};
pub use wordpress::{Status, Wordpress, WordpressConfig};

/// One content on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Post<'a> {
    /// The publication key, 64 hexadecimal characters: the same for every try.
    pub key: &'a str,
    /// The content: plain text throughout, to be escaped for the outlet's medium.
    pub content: &'a Content,
    /// Digest of the content, what its approval is bound to.
    pub sha256: Sha256Digest,
    /// The date that the post carries.
    pub published_at: DateTime<Utc>,
    /// The run.
    pub run: RunId,
    /// The event's source.
    pub source: &'a str,
}

/// Sends posts.
pub trait Outlet: Send + Sync + std::fmt::Debug {
    /// Whether the outlet itself makes one post of two with the same key.
    fn deduplicates(&self) -> bool;

    /// Sends a post. May be dropped at its timeout; what it did by then, [`Outlet::ask`] tells.
    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult>;

    /// Asks whether the outlet has a key.
    ///
    /// # Errors
    /// Transient where it cannot be asked now.
    fn ask<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Known, Failure>>;

    /// Withdraws the post of a key. Called again where nobody saw the first call end, so it must not matter how often.
    ///
    /// # Errors
    /// Permanent where the outlet refuses, anything else where it cannot be reached now.
    fn revoke<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>>;

    /// What would be sent, for a dry run.
    fn preview(&self, post: &Post<'_>) -> serde_json::Value;
}

/// What an outlet answers whose posts cannot be called back.
fn irrevocable(reason: &'static str) -> BoxFuture<'static, Result<Withdrawal, Failure>> {
    Box::pin(async move { Ok(Withdrawal::Impossible { reason: reason.to_owned() }) })
}
