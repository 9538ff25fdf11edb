//! What private servers have in common: finding programs, folders, waiting.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use nix::sys::signal::Signal;

use crate::Error;

/// How long a server may take to become ready.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// The longest path of a Unix socket on Linux, without the final NUL.
const SOCKET_PATH: usize = 107;

/// Finds a program in `PATH`, else in one of these folders.
pub(crate) fn find(
    program: &'static str,
    package: &'static str,
    folders: &[PathBuf],
) -> Result<PathBuf, Error> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(folders.iter().cloned())
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or(Error::Missing { program, package })
}

/// Makes a folder that only its owner can enter.
pub(crate) fn private_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(Error::folder(path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(Error::folder(path))
}

/// A folder for a socket of this name: the wanted one, or a short one where the path would be too long.
pub(crate) fn socket_folder(wanted: &Path, socket: &str) -> PathBuf {
    if wanted.join(socket).as_os_str().len() <= SOCKET_PATH {
        return wanted.to_owned();
    }
    PathBuf::from("/tmp").join(format!("tidemill-{}", short_name(wanted)))
}

/// A short name that stands for a path.
pub(crate) fn short_name(path: &Path) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    path.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Whether a user may pass through every folder above `path`.
pub(crate) fn reachable(path: &Path, uid: u32) -> bool {
    path.ancestors().skip(1).filter_map(|folder| folder.metadata().ok()).all(|folder| {
        let mode = folder.mode();
        mode & 0o001 != 0 || (folder.uid() == uid && mode & 0o100 != 0)
    })
}

/// The end of a log file, for messages.
pub(crate) fn log_tail(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
