//! The folder: files written aside and put in place whole, a lock among processes, what is found again by key.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use tempfile::NamedTempFile;

use super::head::Head;
use super::names;

const LOCK: &str = ".feed.lock";
/// How files begin that are not in place yet.
const ASIDE: &str = ".writing-";
/// Files aside that are older were left by a process that died: none writes so long.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);
/// Between two looks at a lock that another process holds.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Writes a file aside, all of it and to the disk: putting it in place takes no more room.
pub(super) fn aside(folder: &Path, bytes: &[u8]) -> std::io::Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(ASIDE)
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Puts a file in place: it is there whole or not at all.
pub(super) fn put(file: NamedTempFile, folder: &Path, name: &str) -> std::io::Result<()> {
    file.persist(folder.join(name)).map(drop).map_err(|e| e.error)
}

/// Makes the names in the folder outlive a power cut.
pub(super) fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Takes the folder's lock; it is given back when the file is dropped, also by a death. `None` where `go_on` says no or
/// the lock could not be had in `limit`: a holder may be stopped, and nobody should wait for it without end.
pub(super) fn lock(
    folder: &Path,
    limit: Duration,
    go_on: impl Fn() -> bool,
) -> std::io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK))?;
    let until = Instant::now() + limit;
    while go_on() {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if Instant::now() >= until => return Ok(None),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AGAIN),
        }
    }
    Ok(None)
}

/// The names, without extension, of all posts. One pass over the folder's names; no post is opened.
pub(super) fn posts(folder: &Path) -> std::io::Result<Vec<String>> {
    matching(folder, names::is_post)
}

/// The names, without extension, under which a key's post stands: one, unless a process died while its title changed.
pub(super) fn posts_of(folder: &Path, key: &str) -> std::io::Result<Vec<String>> {
    let suffix = names::suffix(key);
    let mut found = matching(folder, |name| name.ends_with(&suffix))?;
    let mut failed = None;
    found.retain(|name| match head(folder, name) {
        Ok(head) => head.is_some_and(|head| head.key == key),
        Err(error) => failed.replace(error).is_some(),
    });
    failed.map_or(Ok(found), Err)
}

/// The head of the post of this name; `None` where it is gone or is no post.
pub(super) fn head(folder: &Path, name: &str) -> std::io::Result<Option<Head>> {
    match Head::read(&folder.join(format!("{name}.md"))) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        read => read,
    }
}

fn matching(folder: &Path, wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.file_name();
        let name =
            file.to_str().and_then(|file| file.strip_suffix(".md")).filter(|name| !name.starts_with('.'));
        found.extend(name.filter(|name| wanted(name)).map(str::to_owned));
    }
    Ok(found)
}

/// Removes what processes that died left aside.
pub(super) fn sweep(folder: &Path, now: SystemTime) -> std::io::Result<()> {
    for path in std::fs::read_dir(folder)?.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
        if is_aside(&path) && age(&path, now).is_some_and(|age| age > LEFT_BEHIND) {
            gone(std::fs::remove_file(path))?;
        }
    }
    Ok(())
}

/// Removes a post's two files, its proof of delivery last: a withdrawal that broke off is found again.
pub(super) fn withdraw(folder: &Path, name: &str) -> std::io::Result<()> {
    gone(std::fs::remove_file(folder.join(format!("{name}.html"))))?;
    sync(folder)?;
    gone(std::fs::remove_file(folder.join(format!("{name}.md"))))
}

/// Removes a post's two files; it does not matter if one is gone.
pub(super) fn remove(folder: &Path, name: &str) -> std::io::Result<()> {
    gone(std::fs::remove_file(folder.join(format!("{name}.md"))))?;
    gone(std::fs::remove_file(folder.join(format!("{name}.html"))))
}

fn is_aside(path: &Path) -> bool {
    path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(ASIDE))
}

fn age(path: &PathBuf, now: SystemTime) -> Option<Duration> {
    now.duration_since(std::fs::metadata(path).ok()?.modified().ok()?).ok()
}

fn gone(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
