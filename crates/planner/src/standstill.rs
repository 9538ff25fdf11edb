//! What stands still, as metrics: runs that do not move on from a step, and jobs for which no process lives. The planner tells it
//! that reconciles, and only that one.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleet::{Metrics, Process, StepLabels, WorkerLabels};
use record::PauseKind;

use crate::error::RoundError;

/// How long runs have been at steps, by workflow and step.
#[derive(Default)]
pub(crate) struct Standstill {
    told: HashMap<StepLabels, Duration>,
}

impl Standstill {
    /// Tells of these steps, and no more of others.
    pub(crate) fn tell(&mut self, metrics: &Metrics, longest: HashMap<StepLabels, Duration>) {
        for gone in self.told.keys().filter(|step| !longest.contains_key(step)) {
            metrics.at_step_seconds.remove(gone);
        }
        for (step, time) in &longest {
            metrics.at_step_seconds.get_or_create(step).set(time.as_secs_f64());
        }
        self.told = longest;
    }

    /// Another planner tells from now on.
    pub(crate) fn leave(&mut self, metrics: &Metrics) {
        self.tell(metrics, HashMap::new());
        metrics.unattended.clear();
    }
}

/// Tells how many jobs are overdue of each worker type of which no process lives, unless a person paused it.
pub(crate) async fn tell_unattended(
    process: &Process,
    overdue: &BTreeMap<&str, u64>,
) -> Result<(), RoundError> {
    for stream in streams::WORK_STREAMS {
        let waiting = overdue.get(stream.worker).copied().unwrap_or(0);
        let attended = waiting == 0
            || process.pauses.has(PauseKind::Stage, stream.worker)
            || is_attended(process, stream.worker).await?;
        let jobs = if attended { 0 } else { i64::try_from(waiting).unwrap_or(i64::MAX) };
        let labels = WorkerLabels { worker: stream.worker.to_owned() };
        process.metrics.unattended.get_or_create(&labels).set(jobs);
    }
    Ok(())
}

async fn is_attended(process: &Process, worker: &str) -> Result<bool, RoundError> {
    for partition in 0..process.streams.partitions() {
        let consumers = process.streams.consumers(worker, partition).await?;
        if consumers.iter().any(|consumer| consumer.idle_ms < streams::SILENT_MS) {
            return Ok(true);
        }
    }
    Ok(false)
}
