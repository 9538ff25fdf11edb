//! The reconciler: runs whose job has been due for too long get it back if, and only if, it is in no stream.
//!
//! Counts are compared first: as many entries as running runs means that nothing is missing, most likely, and the paged
//! read is postponed, five times at most, since stale entries can mask a missing job. The record is read before the
//! stream, so a job that moves meanwhile is found where it went, or its re-added copy is behind and deleted unseen.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use fleet::{Process, Replayer, StepLabels, Workflows};
use model::{Job, JobKey, RunId};
use rails::Workflow;
use record::{Handling, Lease, NewDeadLetter};
use streams::PageEntry;
use tokio::time::Instant;

use crate::config::Section;
use crate::error::RoundError;
use crate::standstill::{Standstill, tell_unattended};

/// Runs and entries read at once.
const PAGE: usize = 1000;
/// How often equal counts may postpone the paged read.
const POSTPONED: u32 = 5;

/// One stream, as the reconciler sees it: a worker type's partition.
type Place = (String, u16);

/// Reconciles until the process stops.
pub(crate) async fn run(process: Process, config: Section) {
    let mut reconciler = Reconciler {
        workflows: Workflows::new(process.record.clone()),
        replayer: Replayer::of(&process),
        lease: Lease { name: "reconciler", holder: process.consumer.clone() },
        after: config.reconcile_after,
        high_water: process.settings.shared.worker.high_water,
        postponed: HashMap::new(),
        standstill: Standstill::default(),
        process,
    };
    let every = (config.reconcile_after / 4).clamp(Duration::from_millis(200), Duration::from_secs(30));
    loop {
        reconciler.process.idle(every).await;
        if reconciler.process.shutdown.is_cancelled() {
            break;
        }
        let began = Instant::now();
        if let Err(error) = reconciler.round(every * 3).await {
            tracing::warn!(%error, "a round of reconciling failed; the next one tries again");
        }
        tracing::debug!(took_ms = began.elapsed().as_millis(), "a round of reconciling");
    }
    if let Err(error) = reconciler.process.record.release(&reconciler.lease).await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Reconciler {
    process: Process,
    workflows: Workflows,
    replayer: Replayer,
    lease: Lease,
    after: Duration,
    high_water: u64,
    postponed: HashMap<Place, u32>,
    standstill: Standstill,
}

/// What should be in the streams, and what the runs stand at.
#[derive(Default)]
struct Running {
    places: HashMap<Place, Expected>,
    /// The forks that runs stand at, by version and step.
    forks: Vec<(String, String)>,
    /// For how long one has not moved on, at most.
    longest: HashMap<StepLabels, Duration>,
}

/// The running runs of one place.
#[derive(Default)]
struct Expected {
    running: u64,
    overdue: u64,
    steps: Vec<(String, String)>,
}

impl Reconciler {
    async fn round(&mut self, lease: Duration) -> Result<(), RoundError> {
        if !self.process.record.lease(&self.lease, lease.max(Duration::from_secs(5))).await? {
            self.standstill.leave(&self.process.metrics);
            return Ok(());
        }
        let record = &self.process.record;
        let raised = record.raise_overdue_escalations().await?;
        if raised > 0 {
            self.process.metrics.escalations_overdue.inc_by(raised);
            tracing::warn!(raised, "escalations are past their due time");
        }
        let unknown = record.give_up_overdue_publications(&self.process.actor).await?;
        if unknown > 0 {
            tracing::warn!(
                unknown,
                "publications whose sender is gone are unknown: a person must settle them"
            );
        }
        let Running { places, forks, longest } = self.running().await?;
        self.standstill.tell(&self.process.metrics, longest);
        let mut overdue: BTreeMap<&str, u64> = BTreeMap::new();
        for ((worker, _), expected) in &places {
            *overdue.entry(worker).or_default() += expected.overdue;
        }
        tell_unattended(&self.process, &overdue).await?;
        self.open_forks(&forks).await?;
        for (place, expected) in places {
            if expected.overdue > 0 && self.is_suspicious(&place, &expected).await? {
                self.restore(&place, &expected).await?;
            }
        }
        self.clear_stranded().await
    }

    /// An entry that was delivered, and that nobody holds, becomes the oldest of its stream in the end.
    async fn clear_stranded(&self) -> Result<(), RoundError> {
        let streams = &self.process.streams;
        for stream in streams::WORK_STREAMS {
            for partition in 0..streams.partitions() {
                let oldest = streams.page(stream.worker, partition, None, 1).await?.entries;
                if oldest.first().is_some_and(|entry| entry.unheld) {
                    let place = (stream.worker.to_owned(), partition);
                    self.strike_off_present(&place, &mut HashSet::new()).await?;
                }
            }
        }
        Ok(())
    }

    /// Opens the branches of runs that begin with a fork: no job does it.
    async fn open_forks(&self, forks: &[(String, String)]) -> Result<(), RoundError> {
        if forks.is_empty() {
            return Ok(());
        }
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        for run in self.process.record.unopened_forks(forks, limit).await? {
            if let Err(fault) = self.replayer.begin(run).await {
                tracing::warn!(%run, error = fault.message, "the branches of a run could not be opened; tried again");
            }
        }
        Ok(())
    }

    /// Begins the clocks of runs that no worker has taken yet within the time that they have.
    async fn begin_clocks(&self, workflow: &Workflow) -> Result<(), RoundError> {
        let Some(bound) = workflow.first_bound() else { return Ok(()) };
        let record = &self.process.record;
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        for run in record.unclocked_runs(workflow.version(), workflow.first_step(), bound, limit).await? {
            match self.begin_clock(run, workflow).await {
                Err(error) if error.handling() == Handling::Culprit => {
                    tracing::error!(run_id = %run, %error, "the clocks of a run cannot be begun");
                }
                begun => begun?,
            }
        }
        Ok(())
    }

    async fn begin_clock(&self, run: RunId, workflow: &Workflow) -> Result<(), record::Error> {
        let record = &self.process.record;
        let Some(mut run) = record.load_one(run, &[]).await? else { return Ok(()) };
        fleet::remember(record, &mut run, workflow).await?;
        record.begin_manifest(&run).await
    }

    async fn running(&self) -> Result<Running, RoundError> {
        let mut running = Running::default();
        let mut clocked = BTreeSet::new();
        for count in self.process.record.running_counts(self.after).await? {
            let workflow = self.workflows.get(&count.pipeline_version).await?;
            if workflow.first_step() == count.step && clocked.insert(count.pipeline_version.clone()) {
                self.begin_clocks(&workflow).await?;
            }
            let Some(step) = workflow.step(&count.step) else {
                // A run that stands at a fork has no job of its own: its branches have.
                running.forks.push((count.pipeline_version, count.step));
                continue;
            };
            let at = StepLabels { workflow: workflow.name().to_owned(), step: count.step.clone() };
            let longest = running.longest.entry(at).or_default();
            *longest = count.longest.max(*longest);
            let expected = running.places.entry((step.worker.to_string(), count.partition)).or_default();
            expected.running += count.count;
            expected.overdue += count.overdue;
            expected.steps.push((count.pipeline_version, count.step));
        }
        Ok(running)
    }

    /// Whether the counts differ, or have been equal for so long that they are no longer believed.
    async fn is_suspicious(&mut self, place: &Place, expected: &Expected) -> Result<bool, RoundError> {
        let survey = self.process.streams.survey(&place.0, place.1).await?;
        let postponed = self.postponed.entry(place.clone()).or_default();
        if survey.stream + survey.retry == expected.running && *postponed < POSTPONED {
            *postponed += 1;
            return Ok(false);
        }
        *postponed = 0;
        Ok(true)
    }

    /// Reads the overdue jobs, then retry set and stream, and adds what is in neither.
    async fn restore(&self, place: &Place, expected: &Expected) -> Result<(), RoundError> {
        let mut missing = self.overdue(place, expected).await?;
        self.strike_off_present(place, &mut missing).await?;
        let (process, streams) = (&self.process, &self.process.streams);
        let mut room = self.high_water.saturating_sub(streams.survey(&place.0, place.1).await?.stream);
        let mut added = 0;
        let runs: BTreeSet<RunId> = missing.iter().map(|key| key.run).collect();
        let runs: Vec<RunId> = runs.into_iter().collect();
        'all: for page in runs.chunks(PAGE) {
            // A run that moved on meanwhile has its job elsewhere.
            let outstanding = process.record.present_jobs(page).await?;
            for run in outstanding.iter().filter(|run| missing.contains(&run.job.key)) {
                if room == 0 {
                    tracing::warn!(worker = place.0, "the stream is full: the rest is added later");
                    break 'all;
                }
                let workflow = self.workflows.get(&run.pipeline_version).await?;
                fleet::add_job(streams, &workflow, run).await?;
                room -= 1;
                added += 1;
            }
        }
        if added > 0 {
            process.metrics.reconciled.inc_by(added);
            tracing::warn!(worker = place.0, added, "jobs that no stream had were added again");
        }
        Ok(())
    }

    async fn overdue(&self, place: &Place, expected: &Expected) -> Result<HashSet<JobKey>, RoundError> {
        let record = &self.process.record;
        let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
        let (mut found, mut cursor) = (HashSet::new(), None);
        loop {
            let page = record.overdue_jobs(self.after, place.1, &expected.steps, cursor, limit).await?;
            let Some(last) = page.last() else { return Ok(found) };
            cursor = Some((*last).into());
            found.extend(page);
        }
    }

    /// Strikes off the jobs that retry set and stream hold. Entries that were delivered, and that nobody holds, are
    /// deleted: they will never be delivered again.
    async fn strike_off_present(
        &self,
        place: &Place,
        missing: &mut HashSet<JobKey>,
    ) -> Result<(), RoundError> {
        let streams = &self.process.streams;
        // A retry may be promoted meanwhile; what goes the other way has moved on, and is no longer what is missed.
        let mut cursor = 0;
        loop {
            let page = streams.waiting_retries(&place.0, place.1, cursor, PAGE).await?;
            for job in page.jobs {
                missing.remove(&job.key);
            }
            cursor = page.next;
            if cursor == 0 {
                break;
            }
        }
        let mut cursor = None;
        loop {
            let page = streams.page(&place.0, place.1, cursor, PAGE).await?;
            let (unheld, present): (Vec<_>, Vec<_>) =
                page.entries.into_iter().partition(|entry| entry.unheld);
            for entry in present {
                if let Ok(job) = Job::decode(&entry.fields) {
                    missing.remove(&job.key);
                }
            }
            if !unheld.is_empty() {
                self.clear_away(place, unheld).await?;
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// Deletes entries that nobody holds. The record knows what a job's run stands at; anything else is known to nobody,
    /// and becomes a dead letter first.
    async fn clear_away(&self, place: &Place, unheld: Vec<PageEntry>) -> Result<(), RoundError> {
        let streams = &self.process.streams;
        let stream = streams.lane(&place.0, place.1, &self.process.consumer)?.key().to_owned();
        let ids: Vec<_> = unheld.iter().map(|entry| entry.id.clone()).collect();
        for entry in unheld {
            if Job::decode(&entry.fields).is_err() {
                let letter = NewDeadLetter {
                    stream: stream.clone(),
                    entry_id: entry.id.to_string(),
                    reason: "it was delivered, and nobody holds it any more".to_owned(),
                    fields: entry.fields,
                };
                self.process.bury(&letter).await?;
            }
        }
        let deleted = streams.delete_unheld(&place.0, place.1, &ids).await?;
        tracing::warn!(worker = place.0, deleted, "entries that nobody holds were deleted");
        Ok(())
    }
}
