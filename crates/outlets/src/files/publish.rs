//! One publication, from text to files in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use model::Failure;
use tempfile::NamedTempFile;

use super::head::Head;
use super::{FilesConfig, disk, feed, names, pages};
use crate::Post;

/// A post as it will be written.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) name: String,
    pub(super) markdown: String,
    pub(super) html: String,
    head: Head,
}

impl Rendered {
    /// # Errors
    /// Permanent: the key is none, or the page's template is broken.
    pub(super) fn of(post: &Post<'_>) -> Result<Self, Failure> {
        check_key(post.key)?;
        let head = Head::of(post);
        let html = pages::html(post, &head)
            .map_err(|e| Failure::permanent(format!("run {}: no page could be made: {e}", post.run)))?;
        Ok(Self { name: names::file_name(post), markdown: pages::markdown(post, &head), html, head })
    }
}

/// # Errors
/// Permanent.
pub(super) fn check_key(key: &str) -> Result<(), Failure> {
    if names::is_key(key) {
        return Ok(());
    }
    let shown: String = key.chars().take(80).collect();
    Err(Failure::permanent(format!("`{shown}` is no publication key: 64 lower-case hexadecimal characters")))
}

/// Whether somebody still waits for a publication: once nobody does, nothing is put in place any more.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted(Arc<AtomicBool>);

/// Ends the wanting when it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(Wanted);

impl Wanted {
    pub(super) fn while_waiting(&self) -> Waiting {
        Waiting(self.clone())
    }

    fn still(&self) -> bool {
        !self.0.load(Ordering::Acquire)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        (self.0).0.store(true, Ordering::Release);
    }
}

/// How far a publication came that did not come to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nothing is in place.
    Before(Failure),
    /// Something is.
    Midway(std::io::Error),
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Before(Failure::unavailable(format!("the files could not be written: {error}")))
    }
}

/// A post's files, written aside.
#[derive(Debug)]
pub(super) struct Staged {
    rendered: Rendered,
    markdown: NamedTempFile,
    html: NamedTempFile,
}

impl Staged {
    pub(super) fn write(config: &FilesConfig, rendered: Rendered) -> Result<Self, Stopped> {
        let markdown = disk::aside(&config.folder, rendered.markdown.as_bytes())?;
        let html = disk::aside(&config.folder, rendered.html.as_bytes())?;
        Ok(Self { rendered, markdown, html })
    }

    /// Puts page, feed and Markdown in place, in this order: the Markdown is the proof of delivery, so whatever has it
    /// has the rest. All room is taken before the first is put in place.
    pub(super) fn place(
        self,
        config: &FilesConfig,
        wanted: &Wanted,
        lock_limit: Duration,
    ) -> Result<PathBuf, Stopped> {
        let Some(_lock) = disk::lock(&config.folder, lock_limit, || wanted.still())? else {
            return Err(Stopped::Before(Failure::unavailable(format!(
                "another process holds the lock of {} for too long",
                config.folder.display()
            ))));
        };
        let Rendered { name, head, .. } = &self.rendered;
        let feed = disk::aside(&config.folder, &feed::with(config, head, name)?)?;
        // A post whose title changed has another name: the old files give way to the new.
        let mut old = disk::posts_of(&config.folder, &head.key)?;
        old.retain(|other| other != name);
        if !wanted.still() {
            return Err(Stopped::Before(Failure::transient("its time was over before it was written")));
        }
        disk::put(self.html, &config.folder, &format!("{name}.html"))?;
        put_rest(config, name, feed, self.markdown, &old).map_err(Stopped::Midway)?;
        Ok(config.folder.join(format!("{name}.md")))
    }
}

fn put_rest(
    config: &FilesConfig,
    name: &str,
    feed: NamedTempFile,
    markdown: NamedTempFile,
    old: &[String],
) -> std::io::Result<()> {
    disk::put(feed, &config.folder, feed::FILE)?;
    disk::sync(&config.folder)?;
    disk::put(markdown, &config.folder, &format!("{name}.md"))?;
    old.iter().try_for_each(|other| disk::remove(&config.folder, other))?;
    disk::sync(&config.folder)
}
