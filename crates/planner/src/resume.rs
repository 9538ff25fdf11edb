//! Resumption: a decision wakes the planner, which adds the run's present job. The entry only carries an id; what was
//! decided is read from the record, so a forged entry decides nothing.

use std::time::Duration;

use fleet::{Process, Workflows};
use model::EntryFields;
use rails::Workflow;
use record::{BranchKey, OutstandingRun};
use streams::{Delivery, HITL_RESOLUTION, PlannerStream};
use uuid::Uuid;

use crate::error::{RoundError, bury};

/// Entries read at once.
const READ: usize = 64;
/// Pause after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// Resumes decided runs until the process stops.
pub(crate) async fn run(process: Process) {
    let workflows = Workflows::new(process.record.clone());
    let mut stream = process.streams.planner_stream(HITL_RESOLUTION, &process.consumer);
    while !process.shutdown.is_cancelled() {
        if let Err(error) = round(&process, &workflows, &mut stream).await {
            tracing::warn!(%error, "decisions could not be resumed; tried again");
            process.idle(PAUSE).await;
        }
    }
}

async fn round(
    process: &Process,
    workflows: &Workflows,
    stream: &mut PlannerStream,
) -> Result<(), RoundError> {
    let mut failed = None;
    for delivery in stream.read(READ).await? {
        match wake(process, workflows, stream, &delivery).await {
            Ok(()) => stream.acknowledge(&delivery.id).await?,
            // It stays pending and is read again later; the others do not wait for it.
            Err(error) => failed = Some(error),
        }
    }
    failed.map_or(Ok(()), Err)
}

fn decided(fields: &EntryFields) -> Option<Uuid> {
    let (_, value) = fields.iter().find(|(name, _)| name == b"escalation")?;
    Uuid::parse_str(std::str::from_utf8(value).ok()?).ok()
}

async fn wake(
    process: &Process,
    workflows: &Workflows,
    stream: &PlannerStream,
    delivery: &Delivery,
) -> Result<(), RoundError> {
    let Some(escalation) = decided(&delivery.fields) else {
        return bury(process, stream, delivery, "it names no escalation").await;
    };
    let Some(decided) = process.record.resolved(escalation).await? else {
        return bury(process, stream, delivery, "it names an escalation that nobody resolved").await;
    };
    let present = process.record.present_jobs(&[decided.run]).await?;
    let Some(first) = present.first() else { return Ok(()) };
    let workflow = workflows.get(&first.pipeline_version).await?;
    for job in set_going_by(decided, &workflow, &present) {
        fleet::add_job(&process.streams, &workflow, job).await?;
        tracing::info!(run_id = %decided.run, branch = job.job.key.branch, step = job.job.step, "resumed after a decision");
    }
    Ok(())
}

/// Of the present jobs of a run those that a decision on one of its branches set going: its own; where the decision ended the
/// branch, the run's; where the run went on to a fork, those of its branches.
fn set_going_by<'j>(
    decided: BranchKey,
    workflow: &Workflow,
    present: &'j [OutstandingRun],
) -> Vec<&'j OutstandingRun> {
    let at_worker = |job: &&OutstandingRun| workflow.step(&job.job.step).is_some();
    let of = |branch: i32| present.iter().find(|job| job.job.key.branch == branch).filter(at_worker);
    match of(decided.branch).or_else(|| of(0)) {
        Some(job) => vec![job],
        None if decided.branch == 0 => present.iter().filter(at_worker).collect(),
        None => vec![],
    }
}
