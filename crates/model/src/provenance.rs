//! The hash chain of who did what.

use serde::{Deserialize, Serialize};

use crate::{RunId, Sha256Digest, sha256};

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The binary, or `person`.
    pub name: String,
    /// Its version; empty for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The consumer, or the person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
}

impl Actor {
    /// A person.
    #[must_use]
    pub fn person(who: &str) -> Self {
        Self { name: "person".to_owned(), version: String::new(), id: who.to_owned() }
    }
}

/// One stored link of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainLink {
    /// 1-based position along the branch's chain.
    pub pos: i32,
    /// The stored bytes.
    pub body: String,
    /// `SHA-256(prev ‖ body)`.
    pub hash: Sha256Digest,
}

/// What the first link of a branch is chained to: bound to run and branch, so that no chain fits another run.
#[must_use]
pub fn genesis(run: RunId, branch: i32) -> Sha256Digest {
    sha256(&[b"tidemill/provenance/1", run.0.as_bytes(), &branch.to_be_bytes()])
}

/// `SHA-256(prev ‖ body)`.
#[must_use]
pub fn link_hash(prev: Sha256Digest, body: &str) -> Sha256Digest {
    sha256(&[&prev.0, body.as_bytes()])
}
