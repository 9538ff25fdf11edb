//! Jobs that do not come by a hand-over: of runs that begin, that a person set going, or that were found without one.

use std::collections::HashMap;

use model::{Job, JobKey, RunId};
use rails::Workflow;
use record::{Admission, OutstandingRun, Record};
use streams::Streams;

/// Adds the first jobs of runs that were committed. Redis being away is no reason to refuse: what is committed is
/// accepted, and the reconciler adds the jobs later.
pub async fn add_first_jobs<'a>(streams: &Streams, runs: impl Iterator<Item = (&'a Admission, &'a str)>) {
    let mut jobs: HashMap<(&str, u16), Vec<Job>> = HashMap::new();
    for (admission, worker) in runs {
        jobs.entry((worker, admission.new.partition)).or_default().push(Job {
            key: JobKey { run: admission.run, branch: 0, seq: 0 },
            step: admission.new.first_step.clone(),
            attempt: 0,
            traceparent: admission.new.traceparent.clone(),
            enriched_trend_id: None,
        });
    }
    for ((worker, partition), jobs) in jobs {
        if let Err(error) = streams.add(worker, partition, &jobs).await {
            tracing::warn!(%error, jobs = jobs.len(), "jobs could not be added; the reconciler adds them");
        }
    }
}

/// Adds the job of a run to its stream or, where it is not due yet, to the retry set. A step that the workflow does not
/// have gets none.
///
/// # Errors
/// Unavailable.
pub async fn add_job(
    streams: &Streams,
    workflow: &Workflow,
    run: &OutstandingRun,
) -> Result<(), streams::Error> {
    let Some(step) = workflow.step(&run.job.step) else { return Ok(()) };
    let worker = step.worker.as_str();
    if run.due_in.is_zero() {
        streams.add(worker, run.partition, std::slice::from_ref(&run.job)).await
    } else {
        streams.add_retry(worker, run.partition, &run.job, run.due_in).await
    }
}

/// Adds the present job of a run that a person set going, without waiting for the planner's turn. Where Redis is away
/// the reconciler adds it.
///
/// # Errors
/// [`record::Error::Sql`].
pub async fn resume(
    record: &Record,
    streams: &Streams,
    workflow: &Workflow,
    run: RunId,
) -> Result<(), record::Error> {
    if let Some(outstanding) = record.present_job(run).await?
        && let Err(error) = add_job(streams, workflow, &outstanding).await
    {
        tracing::warn!(%error, run_id = %run, "the job could not be added; the reconciler adds it");
    }
    Ok(())
}
