//! Moves: where an entry goes when its job is done with.

use std::time::Duration;

use model::{EntryFields, Job};

use crate::EntryId;

/// An entry that leaves its stream.
#[derive(Debug, Clone)]
pub struct Move {
    /// The entry.
    pub id: EntryId,
    /// The delivery by which it is held.
    pub deliveries: i64,
    /// Where it goes.
    pub to: Destination,
}

/// Where an entry goes.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A job for a worker type.
    Next {
        /// The worker type.
        worker: String,
        /// The partition of its stream.
        partition: u16,
        /// The job.
        job: Job,
    },
    /// The retry set of its own stream.
    Retry {
        /// The job.
        job: Job,
        /// When it is due, from now.
        after: Duration,
    },
    /// The dead-letter stream of its own stream.
    DeadLetter {
        /// What the letter carries.
        fields: EntryFields,
    },
    /// It is only acknowledged and deleted.
    Nowhere,
}

/// What became of a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moved {
    /// It is where it belongs.
    Done,
    /// Another consumer holds the entry, or this one by another delivery; nothing was moved.
    NotOwner,
    /// The entry is no longer pending; nothing was moved.
    Gone,
    /// Redis refused to add it; the entry is held as before.
    Refused(String),
}

/// What a dead-letter stream carries: the entry's own fields, its origin and the reason.
#[must_use]
pub fn letter_fields(fields: &EntryFields, stream: &str, entry: &EntryId, reason: &str) -> EntryFields {
    let notes = [("dead_stream", stream), ("dead_entry", &entry.0), ("dead_reason", reason)];
    let notes = notes.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    fields.iter().cloned().chain(notes).collect()
}

/// A job as the retry set keeps it: a JSON list of field names and values. The same job has the same member.
pub(crate) fn member(job: &Job) -> String {
    let flat: Vec<String> =
        job.encode().into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    serde_json::Value::from(flat).to_string()
}

/// Reads what [`member`] wrote.
pub(crate) fn job_of(member: &str) -> Option<Job> {
    let flat: Vec<String> = serde_json::from_str(member).ok()?;
    let fields: EntryFields =
        flat.chunks_exact(2).map(|pair| (pair[0].as_bytes().to_vec(), pair[1].as_bytes().to_vec())).collect();
    Job::decode(&fields).ok()
}
