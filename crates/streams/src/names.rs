//! The one table of streams, and what its keys are called.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Error;

/// A work stream: entries ask one worker type to do steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkStream {
    /// The worker type that reads it.
    pub worker: &'static str,
    /// The name without its kind, such as `trend:embedding`; retry set and dead-letter stream are named by it.
    pub base: &'static str,
    /// `jobs` or `stream`.
    pub kind: &'static str,
}

/// Every work stream, in the order of the flow: a full stream pauses only readers of earlier ones.
pub const WORK_STREAMS: &[WorkStream] = &[
    WorkStream { worker: "etl", base: "trend:ingest", kind: "stream" },
    WorkStream { worker: "embedding", base: "trend:embedding", kind: "jobs" },
    WorkStream { worker: "judge", base: "trend:judge", kind: "jobs" },
    WorkStream { worker: "agent", base: "agent", kind: "jobs" },
    WorkStream { worker: "publisher", base: "trend:publish", kind: "jobs" },
];

/// Decisions wake the planner here; an entry carries an escalation's id.
pub const HITL_RESOLUTION: &str = "hitl:resolution";
/// Triggers for the planner.
pub const PLANNER_TRIGGERS: &str = "planner:triggers";
/// The capped feed of escalations, for outsiders.
pub const ESCALATIONS_FEED: &str = "judge:escalations";
/// The capped feed of everything that happens, for outsiders.
pub const DATASET_EVENTS: &str = "dataset:events";

/// The list of publications that were confirmed last.
pub(crate) const CONFIRMED: &str = "publications:confirmed";

/// The place of a worker type in the flow; `None` for a type without a stream.
#[must_use]
pub fn order_of(worker: &str) -> Option<usize> {
    WORK_STREAMS.iter().position(|stream| stream.worker == worker)
}

/// What the streams are called in this deployment.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StreamNames {
    /// Partitions of the work streams, 1 to 1024. With more than one, keys carry a hash tag, so that a hand-over stays
    /// in one slot of a Redis Cluster.
    pub partitions: u16,
    /// Put before every key, such as `staging:`.
    pub prefix: String,
    /// Other bases for work streams: worker type → base.
    pub bases: BTreeMap<String, String>,
}

impl Default for StreamNames {
    fn default() -> Self {
        Self { partitions: 1, prefix: String::new(), bases: BTreeMap::new() }
    }
}

/// The keys of one partition of a work stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) stream: String,
    pub(crate) retry: String,
    pub(crate) dlq: String,
    pub(crate) group: String,
}

impl StreamNames {
    /// The keys of a worker type's partition. The group is the stream's name without its first part: the consumer
    /// group of `trend:embedding:jobs` is `embedding:jobs`.
    pub(crate) fn keys(&self, worker: &str, partition: u16) -> Result<Keys, Error> {
        let stream = WORK_STREAMS
            .iter()
            .find(|stream| stream.worker == worker)
            .ok_or_else(|| Error::UnknownWorker(worker.to_owned()))?;
        let base = self.bases.get(worker).map_or(stream.base, String::as_str);
        let tag = if self.partitions > 1 { format!("{{p{partition}}}:") } else { String::new() };
        let base_key = format!("{}{tag}{base}", self.prefix);
        let name = format!("{base}:{}", stream.kind);
        Ok(Keys {
            stream: format!("{base_key}:{}", stream.kind),
            retry: format!("{base_key}:retry"),
            dlq: format!("{base_key}:dlq"),
            group: group_of(&name),
        })
    }

    /// The key of a stream outside the partitions.
    pub(crate) fn plain(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

pub(crate) fn group_of(name: &str) -> String {
    name.split_once(':').map_or(name, |(_, rest)| rest).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bare_with_one_partition_and_tagged_with_more() {
        let bare = StreamNames::default().keys("embedding", 0).unwrap();
        assert_eq!(bare.stream, "trend:embedding:jobs");
        assert_eq!(
            (bare.retry.as_str(), bare.dlq.as_str()),
            ("trend:embedding:retry", "trend:embedding:dlq")
        );
        assert_eq!(bare.group, "embedding:jobs");
        let many = StreamNames { partitions: 16, prefix: "x:".to_owned(), ..StreamNames::default() };
        assert_eq!(many.keys("etl", 7).unwrap().stream, "x:{p7}:trend:ingest:stream");
        assert!(many.keys("nobody", 0).is_err());
    }
}
