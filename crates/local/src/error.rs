//! Why a private server cannot be had.

use std::path::PathBuf;

/// A private server cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program is missing.
    #[error("`{program}` is not installed: run `apt-get install {package}`")]
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// A folder or file cannot be used.
    #[error("{} cannot be used: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A program could not be started.
    #[error("`{program}` could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A server started and did not become ready.
    #[error("{what} did not become ready: {why}")]
    NotReady {
        /// Which server.
        what: &'static str,
        /// What its log says.
        why: String,
    },
}

impl Error {
    pub(crate) fn folder(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Folder { path, source }
    }
}
