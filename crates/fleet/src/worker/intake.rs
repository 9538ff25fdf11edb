//! Intake: entries are decoded, compared with the record, and handled, handed over, deleted or buried.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::{Job, JobKey, UpstreamEntry};
use rails::Workflow;
use record::{BranchKey, LoadedRun, NewDeadLetter};
use streams::Destination;

use super::decide::{Disposition, decide};
use super::hand_over::Leaving;
use super::held::Entry;
use super::{Engine, adopt, branches, breaker, execute};
use crate::Handler;

/// Takes in what one read brought.
pub(crate) async fn take_in<H: Handler>(engine: &Arc<Engine<H>>, entries: Vec<Entry>) {
    let mut jobs = Vec::with_capacity(entries.len());
    let mut upstream = Vec::new();
    for entry in entries {
        if UpstreamEntry::recognises(&entry.fields) && adopt::adopts(H::WORKER) {
            upstream.push(entry);
            continue;
        }
        match Job::decode(&entry.fields) {
            Ok(job) => jobs.push((entry, job)),
            Err(error) => bury(engine, entry, format!("cannot be decoded: {error}")).await,
        }
    }
    if !upstream.is_empty() {
        jobs.extend(adopt::adopt(engine, upstream).await);
    }
    if !jobs.is_empty() {
        compare(engine, jobs).await;
    }
}

/// Compares decoded jobs with their runs.
async fn compare<H: Handler>(engine: &Arc<Engine<H>>, jobs: Vec<(Entry, Job)>) {
    let keys: Vec<BranchKey> =
        jobs.iter().map(|(_, job)| job.key.into()).collect::<HashSet<_>>().into_iter().collect();
    let Ok(mut loaded) = load(engine, &keys).await else { return };
    let mut taken: HashSet<BranchKey> = HashSet::new();
    for (entry, job) in jobs {
        let key = BranchKey::from(job.key);
        let found = match loaded.get(&key) {
            Some(Err(why)) => {
                bury(engine, entry, why.clone()).await;
                continue;
            }
            Some(Ok(found)) => Some(found),
            // Another entry of this read has the run's present job.
            None if taken.contains(&key) => {
                delete(engine, entry, "twin");
                continue;
            }
            None => None,
        };
        let serves = found.is_some_and(|(run, workflow)| serves::<H>(workflow, &run.step));
        match (decide(&job, entry.deliveries(), found.map(|(run, _)| run), serves), found) {
            (Disposition::Handle, _) => {
                let Some(Ok((mut run, workflow))) = loaded.remove(&key) else { continue };
                taken.insert(key);
                // The entry names the span that made the job, the run the one it began with.
                run.traceparent = job.traceparent.or(run.traceparent);
                execute::start(engine, entry, run, workflow, None);
            }
            (Disposition::HandOver, Some((run, workflow))) => {
                engine.count("handed_over_only");
                hand_over_present(engine, entry, run, workflow);
            }
            (Disposition::Delete(why), _) => delete(engine, entry, why),
            (Disposition::Bury(why), _) => bury(engine, entry, why.to_owned()).await,
            (Disposition::HandOver, None) => delete(engine, entry, "unknown"),
        }
    }
}

fn serves<H: Handler>(workflow: &Workflow, step: &str) -> bool {
    workflow.step(step).is_some_and(|step| step.worker.as_str() == H::WORKER)
}

/// Runs and branches with their workflows; why not, where this build cannot read one of them.
pub(crate) type Loaded = HashMap<BranchKey, Result<(LoadedRun, Arc<Workflow>), String>>;

/// Loads runs and their workflows, waiting out the record's absence.
pub(crate) async fn load<H: Handler>(engine: &Engine<H>, keys: &[BranchKey]) -> Result<Loaded, Stopped> {
    let mut wanted: Vec<String> = H::NEEDS.artifacts.iter().map(|name| (*name).to_owned()).collect();
    loop {
        let rows = persist(engine, || engine.process.record.load(keys, H::NEEDS.payload, &wanted)).await?;
        let before = wanted.len();
        let mut loaded = Loaded::with_capacity(rows.len());
        for (id, row) in rows {
            let found = with_workflow(engine, row).await?;
            if let Ok((run, workflow)) = &found {
                let inputs = workflow.condition_inputs(&run.step);
                let new: Vec<_> = inputs.iter().filter(|name| !wanted.contains(name)).cloned().collect();
                wanted.extend(new);
                if let Some(step) = workflow.step(&run.step).filter(|_| workflow.keeps_manifest()) {
                    let new = step.input_artifacts().into_iter().filter(|name| !wanted.contains(name));
                    wanted.extend(new.collect::<Vec<_>>());
                }
            }
            loaded.insert(id, found);
        }
        if wanted.len() == before {
            remember(engine, &mut loaded).await?;
            return Ok(loaded);
        }
    }
}

/// Fills in what manifests keep; no statement where no workflow keeps one.
async fn remember<H: Handler>(engine: &Engine<H>, loaded: &mut Loaded) -> Result<(), Stopped> {
    let keeps = |found: &Result<(LoadedRun, Arc<Workflow>), String>| {
        let kept = found.as_ref().ok().filter(|(_, workflow)| workflow.keeps_manifest());
        kept.map(|(run, _)| run.run)
    };
    let runs: Vec<_> = loaded.values().filter_map(keeps).collect();
    if runs.is_empty() {
        return Ok(());
    }
    let mut manifests = HashMap::new();
    for (run, manifest) in persist(engine, || engine.process.record.manifests(&runs)).await? {
        manifests.insert(run, manifest.map_err(|error| error.to_string()));
    }
    for found in loaded.values_mut().filter(|found| keeps(found).is_some()) {
        let Ok((run, workflow)) = found else { continue };
        match manifests.get(&run.run).cloned() {
            Some(Ok(manifest)) => run.memory = Some(crate::memory(workflow, run.received_at, manifest)),
            Some(Err(why)) => *found = Err(why),
            None => *found = Err("its run is unknown".to_owned()),
        }
    }
    Ok(())
}

async fn with_workflow<H: Handler>(
    engine: &Engine<H>,
    row: Result<LoadedRun, record::Error>,
) -> Result<Result<(LoadedRun, Arc<Workflow>), String>, Stopped> {
    let run = match row {
        Ok(run) => run,
        Err(error) => return Ok(Err(error.to_string())),
    };
    match persist(engine, || engine.workflows.get(&run.pipeline_version)).await {
        Ok(workflow) => Ok(Ok((run, workflow))),
        Err(Stopped::Refused(error)) => Ok(Err(error.to_string())),
        Err(Stopped::GivingUp) => Err(Stopped::GivingUp),
    }
}

/// Why the record was not waited for. The entries stay pending: another process takes them over, or this one does.
#[derive(Debug)]
pub(crate) enum Stopped {
    /// The process gives up.
    GivingUp,
    /// It refuses what was asked, and will refuse it again.
    Refused(record::Error),
}

/// Asks the record until it answers.
pub(crate) async fn persist<H, T, F>(engine: &Engine<H>, mut ask: impl FnMut() -> F) -> Result<T, Stopped>
where
    H: Handler,
    F: Future<Output = Result<T, record::Error>>,
{
    let mut pace = breaker::pace();
    loop {
        let error = match ask().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        match error.handling() {
            record::Handling::RetryGroup => engine.breaker.trip(&error),
            record::Handling::Culprit => {
                tracing::error!(%error, "the record refuses what was asked");
                return Err(Stopped::Refused(error));
            }
            record::Handling::Bug => {
                tracing::error!(%error, "the record does not fit this build; asked again")
            }
        }
        tokio::select! {
            () = engine.give_up.cancelled() => return Err(Stopped::GivingUp),
            () = tokio::time::sleep(breaker::next(&mut pace)) => {}
        }
        engine.breaker.closed().await;
    }
}

/// Sends an entry away whose transition was committed: with the job its run stands at, or with nothing where the run has none.
/// A run that forks may have several.
pub(crate) fn hand_over_present<H: Handler>(
    engine: &Arc<Engine<H>>,
    entry: Entry,
    run: &LoadedRun,
    workflow: &Arc<Workflow>,
) {
    if run.memory.is_some() {
        let (engine, workflow, runs) = (Arc::clone(engine), Arc::clone(workflow), [run.run]);
        tokio::spawn(async move {
            let present = persist(&engine, || engine.process.record.present_jobs(&runs)).await;
            if let Ok(jobs) = present {
                let leaving = vec![Leaving::new(entry, Destination::Nowhere)];
                branches::add_then_leave(&engine, &workflow, &jobs, leaving).await;
            }
        });
        return;
    }
    hand_over_own(engine, entry, run, workflow);
}

/// Sends an entry away with the job that its run or branch stands at.
pub(crate) fn hand_over_own<H: Handler>(
    engine: &Engine<H>,
    entry: Entry,
    run: &LoadedRun,
    workflow: &Workflow,
) {
    let to = if run.state == model::RunState::Running {
        let job = present_job(run);
        match workflow.step(&run.step) {
            None => Destination::Nowhere,
            Some(step) => destination::<H>(step.worker.as_str(), run.partition, job, run.due_in),
        }
    } else {
        Destination::Nowhere
    };
    engine.leave(entry, to);
}

/// Where a job goes that is due after a while: to be tried again by the same worker type, or on at once.
pub(crate) fn destination<H: Handler>(
    worker: &str,
    partition: u16,
    job: Job,
    due_in: Duration,
) -> Destination {
    if worker == H::WORKER && !due_in.is_zero() {
        Destination::Retry { job, after: due_in }
    } else {
        Destination::Next { worker: worker.to_owned(), partition, job }
    }
}

fn present_job(run: &LoadedRun) -> Job {
    Job {
        key: JobKey { run: run.run, branch: run.branch, seq: run.seq },
        step: run.step.clone(),
        attempt: run.attempt,
        traceparent: run.traceparent.clone(),
        enriched_trend_id: run.enriched_trend_id,
    }
}

pub(crate) fn delete<H: Handler>(engine: &Engine<H>, entry: Entry, why: &'static str) {
    tracing::debug!(entry = %entry.id, why, "deleted an entry that asks for nothing");
    engine.count(why);
    engine.leave(entry, Destination::Nowhere);
}

/// Stores an entry that is no job as a dead letter, then takes it off its stream.
pub(crate) async fn bury<H: Handler>(engine: &Engine<H>, entry: Entry, reason: String) {
    let letter = NewDeadLetter {
        stream: engine.lanes[entry.lane].key().to_owned(),
        entry_id: entry.id.to_string(),
        reason,
        fields: entry.fields.clone(),
    };
    if persist(engine, || engine.process.bury(&letter)).await.is_err() {
        return;
    }
    engine.count("buried");
    let fields = streams::letter_fields(&entry.fields, &letter.stream, &entry.id, &letter.reason);
    engine.leave(entry, Destination::DeadLetter { fields });
}

impl<H: Handler> Engine<H> {
    pub(crate) fn leave(&self, entry: Entry, to: Destination) {
        self.leave_all(vec![Leaving::new(entry, to)]);
    }

    /// Sends entries to the hand-over lane, in one message, so that they are moved in one call.
    pub(crate) fn leave_all(&self, leaving: Vec<Leaving>) {
        // The lane ends after every sender, so a failure means that the process is ending: the entries stay pending.
        drop(self.leaving.send(leaving));
    }
}
