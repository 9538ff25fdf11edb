//! An entry against the record: what happens to it. The table of ARCHITECTURE.md, as a pure function.

use model::{Job, RunState};
use record::LoadedRun;

/// What happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Handle the job.
    Handle,
    /// Its transition was committed before a crash: hand over the run's present job, if it has one.
    HandOver,
    /// Delete it, counted under this name.
    Delete(&'static str),
    /// A dead letter that touches no run.
    Bury(&'static str),
}

/// Compares an entry with its run, or with the branch of it that it names. `serves` tells whether the run's present step belongs to this worker type.
pub(crate) fn decide(job: &Job, deliveries: i64, run: Option<&LoadedRun>, serves: bool) -> Disposition {
    let Some(run) = run else {
        let of_branch = job.key.branch != 0;
        return Disposition::Bury(if of_branch { "its branch is unknown" } else { "its run is unknown" });
    };
    let behind = run.seq - job.key.seq;
    match behind {
        0 if run.state != RunState::Running => Disposition::Delete("not_running"),
        0 if run.step != job.step => Disposition::Bury("its step is not the one its run stands at"),
        0 if !serves => Disposition::Bury("its step belongs to another worker type"),
        0 => Disposition::Handle,
        1 if deliveries > 1 => Disposition::HandOver,
        1.. if deliveries <= 1 => Disposition::Delete("stale"),
        1.. => Disposition::Delete("stale_redelivered"),
        _ => Disposition::Delete("ahead"),
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use model::{JobKey, Lifecycle, RunId, Sha256Digest};
    use uuid::Uuid;

    use super::*;

    fn run(seq: i32, state: RunState) -> LoadedRun {
        LoadedRun {
            run: RunId(Uuid::nil()),
            branch: 0,
            event_id: Uuid::nil(),
            intent_id: Uuid::nil(),
            planner_intent: String::new(),
            tenant: String::new(),
            region: String::new(),
            source: String::new(),
            request_id: String::new(),
            pipeline_version: String::new(),
            state,
            lifecycle: Lifecycle::Draft,
            step: "etl".to_owned(),
            seq,
            attempt: 0,
            chain_head: Sha256Digest([0; 32]),
            chain_len: 1,
            partition: 0,
            content_sha256: None,
            enriched_trend_id: None,
            dry_run: false,
            traceparent: None,
            due_in: std::time::Duration::ZERO,
            received_at: Utc::now(),
            payload: None,
            artifacts: vec![],
            memory: None,
        }
    }

    fn job(seq: i32, step: &str, branch: i32) -> Job {
        Job {
            key: JobKey { run: RunId(Uuid::nil()), branch, seq },
            step: step.to_owned(),
            attempt: 0,
            traceparent: None,
            enriched_trend_id: None,
        }
    }

    #[test]
    fn every_row_of_the_table_holds() {
        use Disposition::{Bury, Delete, HandOver, Handle};
        let decided =
            |seq, deliveries, run: LoadedRun| decide(&job(seq, "etl", 0), deliveries, Some(&run), true);
        assert_eq!(decided(3, 1, run(3, RunState::Running)), Handle);
        assert_eq!(decided(3, 4, run(3, RunState::Running)), Handle);
        assert_eq!(decided(2, 1, run(3, RunState::Running)), Delete("stale"));
        assert_eq!(decided(2, 2, run(3, RunState::Running)), HandOver);
        assert_eq!(decided(2, 2, run(3, RunState::Waiting)), HandOver);
        assert_eq!(decided(1, 2, run(3, RunState::Running)), Delete("stale_redelivered"));
        assert_eq!(decided(3, 1, run(3, RunState::Waiting)), Delete("not_running"));
        assert_eq!(decided(3, 1, run(3, RunState::Dead)), Delete("not_running"));
        assert_eq!(decided(9, 1, run(3, RunState::Running)), Delete("ahead"));
        assert!(matches!(decide(&job(3, "etl", 0), 1, None, true), Bury(_)));
        assert!(matches!(decide(&job(3, "judge", 0), 1, Some(&run(3, RunState::Running)), true), Bury(_)));
        assert!(matches!(decide(&job(3, "etl", 0), 1, Some(&run(3, RunState::Running)), false), Bury(_)));
        assert_eq!(decide(&job(3, "etl", 2), 1, None, true), Bury("its branch is unknown"));
    }
}
