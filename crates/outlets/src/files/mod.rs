//! The outlet `files`: one Markdown and one HTML file a post, and an Atom feed of all.
//!
//! A post's files are named by date, title and key, so the same key replaces the same files. Each file appears whole or
//! not at all: written aside, synced, renamed. The feed is last: a post is delivered when its Markdown is in place, which
//! is what [`Outlet::ask`](crate::Outlet::ask) looks for.

mod feed;
mod names;
mod pages;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use model::{EffectResult, Failure};
use serde::{Deserialize, Serialize};

use crate::{Known, Outlet, Post};

/// Where and how files are written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// The folder of posts; made where it is missing.
    pub folder: PathBuf,
    /// The feed's title.
    pub feed_title: String,
    /// Entries that the feed keeps, the newest.
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
}

impl Files {
    /// Writes into the configured folder.
    ///
    /// # Errors
    /// Permanent where the folder is not one and cannot be made.
    pub fn new(config: FilesConfig) -> Result<Self, Failure> {
        std::fs::create_dir_all(&config.folder).map_err(|e| {
            Failure::permanent(format!("the folder {} cannot be made: {e}", config.folder.display()))
        })?;
        Ok(Self { config: Arc::new(config) })
    }
}

impl Outlet for Files {
    fn deduplicates(&self) -> bool {
        true
    }

    fn deliver<'a>(&'a self, post: &'a Post<'a>) -> BoxFuture<'a, EffectResult> {
        let config = Arc::clone(&self.config);
        let (name, markdown) = (names::file_name(post), pages::markdown(post));
        let page = pages::html(post);
        let entry = feed::entry(post, &name);
        async move {
            let work = move || -> std::io::Result<String> {
                let folder = &config.folder;
                // A post whose title changed has another name: the old files give way.
                remove_other_names(folder, &name)?;
                write_whole(folder, &format!("{name}.html"), page.as_bytes())?;
                feed::insert(&config, entry)?;
                // The Markdown is the proof of delivery, so it comes last.
                write_whole(folder, &format!("{name}.md"), markdown.as_bytes())?;
                Ok(folder.join(format!("{name}.md")).display().to_string())
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(reference)) => EffectResult::Confirmed { reference },
                // A reader finds no proof of delivery, and the same key again replaces what is there.
                Ok(Err(error)) => EffectResult::NotSent(Failure::unavailable(format!(
                    "the files could not be written: {error}"
                ))),
                Err(error) => EffectResult::Unknown { reason: format!("writing broke off: {error}") },
            }
        }
        .boxed()
    }

    fn ask<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Known, Failure>> {
        let folder = self.config.folder.clone();
        let suffix = names::suffix(key);
        async move {
            let look = move || find(&folder, &format!("{suffix}.md"));
            match tokio::task::spawn_blocking(look).await {
                Ok(Ok(Some(path))) => Ok(Known::Delivered { reference: path.display().to_string() }),
                Ok(Ok(None)) => Ok(Known::Absent),
                Ok(Err(error)) => {
                    Err(Failure::unavailable(format!("the folder of posts cannot be read: {error}")))
                }
                Err(error) => Err(Failure::transient(error.to_string())),
            }
        }
        .boxed()
    }

    fn preview(&self, post: &Post<'_>) -> serde_json::Value {
        let name = names::file_name(post);
        serde_json::json!({
            "folder": self.config.folder,
            "files": [format!("{name}.md"), format!("{name}.html")],
            "markdown": pages::markdown(post),
        })
    }
}

fn find(folder: &Path, ending: &str) -> std::io::Result<Option<PathBuf>> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(ending) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn remove_other_names(folder: &Path, name: &str) -> std::io::Result<()> {
    let key = &name[name.len() - names::KEY_LENGTH - 1..];
    for ending in ["md", "html"] {
        let own = format!("{name}.{ending}");
        if let Some(other) = find(folder, &format!("{key}.{ending}"))?
            && other.file_name().is_some_and(|file| *file != *own)
        {
            std::fs::remove_file(other)?;
        }
    }
    Ok(())
}

/// Writes a file so that it is there whole or not at all, also after a power cut.
pub(crate) fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    file.persist(folder.join(name)).map_err(|e| e.error)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
