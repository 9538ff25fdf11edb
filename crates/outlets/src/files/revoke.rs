//! One withdrawal: the post leaves the feed, then the folder.

use std::time::Duration;

use model::{Failure, Withdrawal};

use super::{FilesConfig, disk, feed};

/// Feed, page and Markdown go in this order: while the Markdown is there, whoever tries again finds what is left.
pub(super) fn withdraw(config: &FilesConfig, key: &str, lock_limit: Duration) -> Result<Withdrawal, Failure> {
    let folder = &config.folder;
    let Some(_lock) = disk::lock(folder, lock_limit, || true).map_err(|e| away(config, &e))? else {
        return Err(Failure::unavailable(format!(
            "another process holds the lock of {} for too long",
            folder.display()
        )));
    };
    take_out(config, key).map_err(|e| away(config, &e))
}

fn take_out(config: &FilesConfig, key: &str) -> std::io::Result<Withdrawal> {
    let folder = &config.folder;
    let names = disk::posts_of(folder, key)?;
    let feed = feed::without(config, key)?;
    if names.is_empty() && feed.is_none() {
        return Ok(Withdrawal::Absent);
    }
    if let Some(feed) = feed {
        disk::put(disk::aside(folder, &feed)?, folder, feed::FILE)?;
    }
    names.iter().try_for_each(|name| disk::withdraw(folder, name))?;
    disk::sync(folder)?;
    let removed: Vec<String> = names.iter().map(|name| format!("{name}.md")).collect();
    Ok(Withdrawal::Done { detail: format!("{} and its entry in the feed are removed", removed.join(", ")) })
}

fn away(config: &FilesConfig, error: &std::io::Error) -> Failure {
    Failure::unavailable(format!("the folder {} cannot be changed: {error}", config.folder.display()))
}
