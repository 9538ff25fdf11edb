//! Execution: each job alone, with its own deadline.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use model::{Failure, Outcome, RetryClass, Sha256Digest, Usage};
use rails::Workflow;
use record::{Admission, LoadedRun};
use streams::SHARED_DELIVERIES;
use tracing::Instrument;

use super::commit::{Finished, Happening};
use super::held::Entry;
use super::{Engine, effects, intake, task};
use crate::{Handler, JobContext, brain, spans};

/// How long a job may take whose step is not known.
const WITHOUT_STEP: Duration = Duration::from_secs(60);

/// A job that is to be handled.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) entry: Entry,
    pub(crate) run: LoadedRun,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) admission: Option<Admission>,
    /// Digest of what the workflow asks of it, where that keeps a manifest.
    pub(crate) input_sha256: Option<Sha256Digest>,
    /// How long its handler took, and what it did outside.
    pub(crate) took: Duration,
    _handling: Handling,
}

impl Work {
    /// What the try spent: what its worker reports, and the time that passed where it reports none.
    pub(crate) fn spent(&self, reported: Usage) -> Usage {
        let took = || u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX);
        Usage { millis: if reported.millis == 0 { took() } else { reported.millis }, ..reported }
    }
}

/// How many jobs are on their way from intake to the commit lane.
#[derive(Debug, Default, Clone)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

/// One job on its way; dropped where it ends, or just before it is sent to the lane.
#[derive(Debug)]
struct Handling(UnderWay);

impl UnderWay {
    fn begin(&self) -> Handling {
        self.0.fetch_add(1, Ordering::Relaxed);
        Handling(self.clone())
    }

    pub(crate) fn any(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        (self.0).0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts a job on a task of its own.
pub(crate) fn start<H: Handler>(
    engine: &Arc<Engine<H>>,
    entry: Entry,
    mut run: LoadedRun,
    workflow: Arc<Workflow>,
    admission: Option<Admission>,
) {
    let about = spans::About {
        name: H::WORKER,
        run_id: Some(run.run),
        step: &run.step,
        attempt: run.attempt,
        planner_intent: &run.planner_intent,
    };
    let (span, own) = spans::begin(&about, run.traceparent.as_deref());
    run.traceparent = own;
    let work = Work {
        entry,
        run,
        workflow,
        admission,
        input_sha256: None,
        took: Duration::ZERO,
        _handling: engine.handling.begin(),
    };
    tokio::spawn(self::run(Arc::clone(engine), work).instrument(span));
}

async fn run<H: Handler>(engine: Arc<Engine<H>>, work: Work) {
    let deliveries = work.entry.deliveries();
    if deliveries > engine.config().max_deliveries {
        return engine.finish(work, Happening::Poisoned { deliveries });
    }
    if deliveries > SHARED_DELIVERIES {
        let _alone = engine.solitude.write().await;
        tracing::warn!(run_id = %work.run.run, deliveries, "handled alone: it was delivered often without an outcome");
        return Box::pin(handle(&engine, work)).await;
    }
    let _company = engine.solitude.read().await;
    Box::pin(handle(&engine, work)).await;
}

/// Whether the rails have a say before the first step of a run: its gates, what is there already, budgets beyond the run. Later steps were entered
/// by the transition that led to them.
fn is_to_begin<H: Handler>(engine: &Engine<H>, work: &Work) -> bool {
    let (run, workflow) = (&work.run, &work.workflow);
    let first = run.seq == 0 && run.memory.is_some() && run.step == workflow.first_step();
    first && (workflow.looks_before_it_begins() || engine.process.gates.counts_spending(&run.tenant))
}

async fn handle<H: Handler>(engine: &Arc<Engine<H>>, mut work: Work) {
    if is_to_begin(engine, &work) {
        return engine.finish(work, Happening::Begins);
    }
    let job = match context(&work) {
        Ok(job) => job,
        Err(reason) if work.admission.is_some() => {
            return Box::pin(intake::bury(engine, work.entry, reason)).await;
        }
        Err(reason) => {
            return engine.finish(work, Happening::Outcome(Outcome::Failed(Failure::permanent(reason))));
        }
    };
    work.input_sha256 = job.task.as_deref().map(task::digest);
    if let Some(task) = job.task.as_deref()
        && take(engine, &work, task.visit).await.is_err()
    {
        return;
    }
    let deadline = job.deadline;
    let started = Instant::now();
    let handled = tokio::select! {
        () = work.entry.lost.cancelled() => {
            engine.count("abandoned");
            return;
        }
        handled = tokio::time::timeout(deadline, AssertUnwindSafe(brain::ask(&*engine.handler, &job)).catch_unwind()) => handled,
    };
    crate::failpoint::reach("handled");
    let took = started.elapsed();
    work.took = took;
    engine.process.metrics.handling.get_or_create(&engine.labels()).observe(took.as_secs_f64());
    let outcome = match handled {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => {
            Outcome::Failed(Failure::transient(format!("the handler panicked: {}", words(&*panic))))
        }
        Err(_) => Outcome::Failed(Failure::transient(format!("the handler did not end within {deadline:?}"))),
    };
    if let Outcome::Failed(failure) = &outcome
        && failure.class == RetryClass::Outage
    {
        engine.needed.trip(failure);
    }
    match outcome {
        Outcome::Plan(report, effect) => {
            Box::pin(effects::carry_out(engine, work, job, report, effect)).await;
        }
        outcome => engine.finish(work, Happening::Outcome(outcome)),
    }
}

/// Tells the clock of a step that it no longer waits for a worker; nothing to do where the step has none.
async fn take<H: Handler>(engine: &Engine<H>, work: &Work, visit: u32) -> Result<(), intake::Stopped> {
    let clock = work.run.memory.as_deref().and_then(|memory| memory.clocks.steps.get(&work.run.branch));
    let Some((_, step)) = clock.filter(|clock| !clock.taken).zip(work.workflow.step(&work.run.step)) else {
        return Ok(());
    };
    intake::persist(engine, || engine.process.record.take_job(&work.run, visit, step.ttl.running)).await
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

fn context(work: &Work) -> Result<JobContext, String> {
    let run = &work.run;
    let payload = match &run.payload {
        Some(bytes) => {
            Some(std::str::from_utf8(bytes).map_err(|e| format!("the payload is not UTF-8: {e}"))?)
        }
        None => None,
    };
    Ok(JobContext {
        run: run.run,
        event_id: run.event_id,
        branch: run.branch,
        seq: run.seq,
        tenant: run.tenant.clone(),
        source: run.source.clone(),
        received_at: run.received_at,
        step: run.step.clone(),
        with: work.workflow.step(&run.step).map(|step| Arc::clone(&step.with)).unwrap_or_default(),
        task: task::of(run, &work.workflow)?.map(Arc::new),
        deadline: work.workflow.step(&run.step).map_or(WITHOUT_STEP, |step| step.deadline),
        dry_run: run.dry_run,
        attempt: run.attempt,
        planner_intent: run.planner_intent.clone(),
        payload: payload.map(Arc::from),
        content_sha256: run.content_sha256,
        artifacts: run.artifacts.clone(),
        cancelled: work.entry.lost.clone(),
    })
}

impl<H: Handler> Engine<H> {
    /// Sends a job to the commit lane.
    pub(crate) fn finish(&self, work: Work, happening: Happening) {
        // The lane ends after every sender, so a failure means that the process is ending: the entry stays pending.
        drop(self.finished.send(Finished::new(work, happening)));
    }
}
