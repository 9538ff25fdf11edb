//! Jobs that do not come by a hand-over: of runs that begin, that a person set going, or that were found without one.

use std::collections::HashMap;

use model::{Job, JobKey, RunState};
use rails::Workflow;
use record::{Admission, LoadedRun, OutstandingRun, Won};
use streams::Streams;

/// Adds the first jobs of runs that were committed. Redis being away is no reason to refuse: what is committed is
/// accepted, and the reconciler adds the jobs later.
pub async fn add_first_jobs<'a>(streams: &Streams, runs: impl Iterator<Item = (&'a Admission, &'a str)>) {
    let mut jobs: HashMap<(&str, u16), Vec<Job>> = HashMap::new();
    // A workflow that begins with a fork has no first job: the planner opens its branches.
    for (admission, worker) in runs.filter(|(_, worker)| !worker.is_empty()) {
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

/// Adds the jobs that are due after a person's act, without waiting for the planner's turn. Where Redis is away the
/// reconciler adds them.
pub async fn set_going(streams: &Streams, workflow: &Workflow, run: &LoadedRun, won: &Won) {
    for job in next_job(run, won).iter().chain(&won.jobs) {
        if let Err(error) = add_job(streams, workflow, job).await {
            tracing::warn!(%error, run_id = %run.run, "the job could not be added; the reconciler adds it");
        }
    }
}

/// The job that a run or branch stands at after a transition, where it is running.
fn next_job(run: &LoadedRun, won: &Won) -> Option<OutstandingRun> {
    let transition = &won.routed.transition;
    (transition.state == RunState::Running).then(|| {
        let mut next = run.outstanding();
        next.job.key.seq = won.seq;
        next.job.step = transition.step.clone();
        next.job.attempt = transition.attempt;
        OutstandingRun { due_in: won.routed.delay, ..next }
    })
}
