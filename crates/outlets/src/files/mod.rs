//! The outlet `files`: one Markdown and one HTML file a post, and an Atom feed of all.
//!
//! A post's files are named by date, title and key (`2026-11-20-tidal-power-1f0c….md`), so the same key replaces the same
//! files. Each file appears whole or not at all: written aside, synced, renamed. The Markdown is put in place last: a
//! post is delivered when it is there, which is what [`Outlet::ask`](crate::Outlet::ask) looks for. Publishers, also of
//! several processes, may share a folder; they take turns by a lock in it.
//!
//! | file         | holds                                                                               |
//! | ------------ | ----------------------------------------------------------------------------------- |
//! | `head`       | what is said about a post: the front matter, and all that the feed needs            |
//! | `shown`      | text without what no reader sees                                                    |
//! | `pages`      | Markdown and HTML                                                                   |
//! | `feed`       | the feed with one more post; made again from the posts where it is lost             |
//! | `names`      | file names                                                                          |
//! | `disk`       | writing aside, putting in place, the lock, finding by key                           |
//! | `publish`    | the order of things                                                                 |
//! | `revoke`     | the same in reverse                                                                 |
//!
//! A publication costs one pass over the folder's names and a rewriting of the feed; no earlier post is opened.

mod disk;
mod feed;
mod head;
mod names;
mod pages;
mod publish;
mod revoke;
mod shown;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure, Known, Withdrawal};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use self::publish::{Rendered, Staged, Stopped, Wanted, check_key};
use crate::{Outlet, Post};

/// Entries a feed may keep: each publication reads and writes all of them.
const MOST_ENTRIES: usize = 5000;
/// How long a publication waits for another process's turn; a turn takes milliseconds.
const LOCK_LIMIT: Duration = Duration::from_secs(10);

/// Where and how files are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// The folder of posts; made where it is missing.
    pub folder: PathBuf,
    /// The feed's title.
    pub feed_title: String,
    /// Entries that the feed keeps, the newest; 1 to 5,000.
    pub feed_entries: usize,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self { folder: PathBuf::from("published"), feed_title: "Tidemill".to_owned(), feed_entries: 100 }
    }
}

/// The outlet `files`.
#[derive(Debug)]
pub struct Files {
    config: Arc<FilesConfig>,
    /// Whose turn it is in this process: waiting here takes no thread, and is fair.
    turn: Arc<Mutex<()>>,
    lock_limit: Duration,
}

impl Files {
    /// Writes into the configured folder. Blocking: it looks through the folder for what a process that died left.
    ///
    /// # Errors
    /// Permanent where the folder is not one, cannot be made or read, or `feed_entries` is out of its range.
    pub fn new(config: FilesConfig) -> Result<Self, Failure> {
        if !(1..=MOST_ENTRIES).contains(&config.feed_entries) {
            return Err(Failure::permanent(format!(
                "feed_entries is {}; it must be 1 to {MOST_ENTRIES}",
                config.feed_entries
            )));
        }
        std::fs::create_dir_all(&config.folder)
            .and_then(|()| disk::sweep(&config.folder, SystemTime::now()))
            .map_err(|e| {
                Failure::permanent(format!("the folder {} cannot be used: {e}", config.folder.display()))
            })?;
        Ok(Self { config: Arc::new(config), turn: Arc::default(), lock_limit: LOCK_LIMIT })
    }

    async fn publish(&self, rendered: Rendered) -> EffectResult {
        let wanted = Wanted::default();
        let _waiting = wanted.while_waiting();
        let config = Arc::clone(&self.config);
        let staged = match spawn_blocking(move || Staged::write(&config, rendered)).await {
            Ok(Ok(staged)) => staged,
            Ok(Err(stopped)) => return stopped.into(),
            Err(error) => {
                return EffectResult::NotSent(Failure::transient(format!("writing broke off: {error}")));
            }
        };
        let turn = Arc::clone(&self.turn).lock_owned().await;
        let (config, wanted, limit) = (Arc::clone(&self.config), wanted.clone(), self.lock_limit);
        let work = move || {
            // Held by the work, not by the one who waits for it, who may give up first.
            let _turn = turn;
            staged.place(&config, &wanted, limit)
        };
        match spawn_blocking(work).await {
            Ok(Ok(path)) => EffectResult::Confirmed { reference: path.display().to_string() },
            Ok(Err(stopped)) => stopped.into(),
            Err(error) => EffectResult::Unsettled { reason: format!("writing broke off: {error}") },
        }
    }
}

impl From<Stopped> for EffectResult {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Before(failure) => Self::NotSent(failure),
            Stopped::Midway(error) => {
                Self::Unsettled { reason: format!("some of the files are in place, then: {error}") }
            }
        }
    }
}

impl Outlet for Files {
    fn deduplicates(&self) -> bool {
        true
    }

    /// Unavailable where the folder cannot be written, the disk is full, or another process keeps the lock. Dropped
    /// before its first file is in place, it puts none there afterwards.
    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        async move {
            match Rendered::of(post) {
                Ok(rendered) => self.publish(rendered).await,
                Err(failure) => EffectResult::NotSent(failure),
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        async move {
            check_key(key)?;
            let (config, key) = (Arc::clone(&self.config), key.to_owned());
            let found = spawn_blocking(move || disk::posts_of(&config.folder, &key))
                .await
                .map_err(|e| Failure::transient(format!("looking for the post broke off: {e}")))?
                .map_err(|e| {
                    let folder = self.config.folder.display();
                    Failure::unavailable(format!("the folder {folder} cannot be read: {e}"))
                })?;
            Ok(found.first().map_or(Known::Absent, |name| {
                let path = self.config.folder.join(format!("{name}.md"));
                Known::Delivered { reference: path.display().to_string() }
            }))
        }
        .boxed()
    }

    fn revoke<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Withdrawal, Failure>> {
        async move {
            check_key(key)?;
            let turn = Arc::clone(&self.turn).lock_owned().await;
            let (config, key, limit) = (Arc::clone(&self.config), key.to_owned(), self.lock_limit);
            let work = move || {
                let _turn = turn;
                revoke::withdraw(&config, &key, limit)
            };
            spawn_blocking(work)
                .await
                .map_err(|e| Failure::transient(format!("the withdrawal broke off: {e}")))?
        }
        .boxed()
    }

    fn preview(&self, post: &Post<'_>) -> serde_json::Value {
        match Rendered::of(post) {
            Ok(rendered) => serde_json::json!({
                "folder": self.config.folder,
                "files": [format!("{}.md", rendered.name), format!("{}.html", rendered.name), feed::FILE],
                "markdown": rendered.markdown,
            }),
            Err(failure) => serde_json::json!({ "error": failure.reason }),
        }
    }
}

#[cfg(test)]
mod tests;
