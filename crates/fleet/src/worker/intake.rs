//! Intake: entries are decoded, compared with the record, and handled, handed over, deleted or buried.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use model::{Job, JobKey, RunId, UpstreamEntry};
use rails::Workflow;
use record::{LoadedRun, NewDeadLetter};
use streams::Destination;

use super::decide::{Disposition, decide};
use super::hand_over::Leaving;
use super::held::Entry;
use super::{Engine, adopt, breaker, execute};
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
    let runs: Vec<RunId> =
        jobs.iter().map(|(_, job)| job.key.run).collect::<HashSet<_>>().into_iter().collect();
    let Some(mut loaded) = load(engine, &runs).await else { return };
    let mut taken: HashSet<JobKey> = HashSet::new();
    for (entry, job) in jobs {
        let run = loaded.get(&job.key.run);
        let workflow = match run {
            Some(run) => engine.workflows.get(&run.pipeline_version).await.ok(),
            None => None,
        };
        let serves =
            run.zip(workflow.as_deref()).is_some_and(|(run, workflow)| serves::<H>(workflow, &run.step));
        match decide(&job, entry.deliveries(), run, serves) {
            Disposition::Handle if !taken.insert(job.key) => delete(engine, entry, "twin"),
            Disposition::Handle => {
                let (Some(mut run), Some(workflow)) = (loaded.remove(&job.key.run), workflow) else {
                    continue;
                };
                // The entry names the span that made the job, the run the one it began with.
                run.traceparent = job.traceparent.or(run.traceparent);
                execute::start(engine, entry, run, workflow, None);
            }
            Disposition::HandOver => {
                let (Some(run), Some(workflow)) = (run, workflow) else { continue };
                engine.count("handed_over_only");
                hand_over_present(engine, entry, run, &workflow);
            }
            Disposition::Delete(why) => delete(engine, entry, why),
            Disposition::Bury(why) => bury(engine, entry, why.to_owned()).await,
        }
    }
}

fn serves<H: Handler>(workflow: &Workflow, step: &str) -> bool {
    workflow.step(step).is_some_and(|step| step.worker.as_str() == H::WORKER)
}

/// Loads runs and their workflows, waiting out the record's absence. `None` where the process gives up.
pub(crate) async fn load<H: Handler>(
    engine: &Engine<H>,
    runs: &[RunId],
) -> Option<HashMap<RunId, LoadedRun>> {
    let mut wanted: Vec<String> = H::NEEDS.artifacts.iter().map(|name| (*name).to_owned()).collect();
    loop {
        let loaded = persist(engine, || engine.process.record.load(runs, H::NEEDS.payload, &wanted)).await?;
        let before = wanted.len();
        for run in &loaded {
            let workflow = persist(engine, || engine.workflows.get(&run.pipeline_version)).await?;
            for name in workflow.condition_inputs(&run.step) {
                if !wanted.contains(name) {
                    wanted.push(name.clone());
                }
            }
        }
        if wanted.len() == before {
            return Some(loaded.into_iter().map(|run| (run.run, run)).collect());
        }
    }
}

/// Repeats a read of the record until it answers. `None` where the process gives up first.
pub(crate) async fn persist<H, T, F>(engine: &Engine<H>, mut read: impl FnMut() -> F) -> Option<T>
where
    H: Handler,
    F: Future<Output = Result<T, record::Error>>,
{
    let mut pace = breaker::pace();
    loop {
        let error = match read().await {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        if error.handling() == record::Handling::RetryGroup {
            engine.breaker.trip(&error);
        } else {
            tracing::error!(%error, "the record gave an answer that this build cannot use");
        }
        tokio::select! {
            () = engine.give_up.cancelled() => return None,
            () = tokio::time::sleep(breaker::next(&mut pace)) => {}
        }
        engine.breaker.closed().await;
    }
}

/// Sends an entry away with the job its run stands at, or with nothing where the run has none.
pub(crate) fn hand_over_present<H: Handler>(
    engine: &Engine<H>,
    entry: Entry,
    run: &LoadedRun,
    workflow: &Workflow,
) {
    let to = if run.state == model::RunState::Running {
        let job = present_job(run);
        workflow.step(&run.step).map_or(Destination::Nowhere, |step| Destination::Next {
            worker: step.worker.to_string(),
            partition: run.partition,
            job,
        })
    } else {
        Destination::Nowhere
    };
    engine.leave(entry, to);
}

fn present_job(run: &LoadedRun) -> Job {
    Job {
        key: JobKey { run: run.run, branch: 0, seq: run.seq },
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
    if persist(engine, || engine.process.record.bury(&letter)).await.is_none() {
        return;
    }
    tracing::warn!(entry = letter.entry_id, stream = letter.stream, reason = letter.reason, "dead letter");
    engine.process.metrics.dead_letters.get_or_create(&engine.labels()).inc();
    engine.count("buried");
    let fields = dead_letter_fields(&entry, &letter.stream, &letter.reason);
    engine.leave(entry, Destination::DeadLetter { fields });
}

/// What the dead-letter feed carries: the entry's own fields, its origin and the reason.
pub(crate) fn dead_letter_fields(entry: &Entry, stream: &str, reason: &str) -> model::EntryFields {
    let note = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    let mut fields = entry.fields.clone();
    fields.push(note("dead_stream", stream));
    fields.push(note("dead_entry", &entry.id.to_string()));
    fields.push(note("dead_reason", reason));
    fields
}

impl<H: Handler> Engine<H> {
    pub(crate) fn leave(&self, entry: Entry, to: Destination) {
        self.leave_all(vec![Leaving { entry, to }]);
    }

    /// Sends entries to the hand-over lane, in one message, so that they are moved in one call.
    pub(crate) fn leave_all(&self, leaving: Vec<Leaving>) {
        // The lane ends after every sender, so a failure means that the process is ending: the entries stay pending.
        drop(self.leaving.send(leaving));
    }
}
