//! Runs that take the event of an earlier one through once more, under another version of the workflow or the same.

use std::collections::BTreeMap;
use std::time::Duration;

use model::{Actor, RunId, RunState, Sha256Digest};
use rails::{Carried, Facts, Memory, Signal, Workflow};
use record::{
    Advance, BranchKey, DoneStep, Error, Item, LoadedRun, Manifest, Migrated, NewSuccessor, OlderRuns,
    OpenActivation, Record, Routed, RunOptions,
};
use serde_json::Value;
use streams::Streams;

use crate::{Fault, Workflows, jobs};

/// The worker type whose output comes with a trend and the fingerprint of its text.
const ENRICHES: &str = "etl";
/// The worker type whose vector belongs to one run alone: its step is always done anew.
const EMBEDS: &str = "embedding";

/// A run that was asked for once more.
#[derive(Debug, Clone, Copy)]
pub struct Rerun<'a> {
    /// The version; the earlier run's own where none is named.
    pub version: Option<&'a str>,
    /// The step to do anew: what the steps before it made is carried as far as it fits.
    pub from: Option<&'a str>,
    /// What it is asked for with.
    pub options: &'a RunOptions,
}

/// Begins such runs.
#[derive(Debug, Clone)]
pub struct Successors {
    record: Record,
    streams: Streams,
    workflows: Workflows,
    actor: Actor,
}

impl Successors {
    /// Begins them in somebody's name.
    #[must_use]
    pub fn new(record: Record, streams: Streams, actor: Actor) -> Self {
        Self { workflows: Workflows::new(record.clone()), record, streams, actor }
    }

    /// Takes the event of an ended run through once more.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where the run is open, or the version has no such step.
    pub async fn rerun(&self, of: &LoadedRun, wanted: &Rerun<'_>) -> Result<LoadedRun, Fault> {
        if of.state.is_open() {
            let state = of.state;
            return Err(Fault::usage(format!("run {} is {state}: cancel it, or wait for its end", of.run)));
        }
        let to = self.workflows.get(wanted.version.unwrap_or(&of.pipeline_version)).await?;
        let done = match wanted.from {
            Some(step) => self.before(of, &to, step).await?,
            None => vec![],
        };
        let new = NewSuccessor {
            of,
            pipeline_version: to.version(),
            first_step: to.first_step(),
            memory: self.first_memory(of, &to, &done).await?,
            done: &done,
            dry_run: wanted.options.dry_run,
            actor: &self.actor,
            reason: &format!("takes the event of run {} through once more", of.run),
        };
        let carry = |run: &LoadedRun, done: &DoneStep, facts: &Facts| {
            if Some(run.step.as_str()) == wanted.from { None } else { self.carry(&to, run, done, facts) }
        };
        let run = self.record.rerun(&new, wanted.options, &carry).await?;
        self.set_going(&to, &run).await;
        Ok(run)
    }

    /// Ends an open run of another version, and where the activation migrates goes on with its event.
    ///
    /// # Errors
    /// [`record::Error`].
    pub async fn deal_with(&self, activation: &OpenActivation, run: RunId) -> Result<Migrated, Error> {
        let Some(mut of) = self.record.load_one(run, &[]).await? else { return Ok(Migrated::Stale) };
        let from = self.workflows.get(&of.pipeline_version).await?;
        crate::remember(&self.record, &mut of, &from).await?;
        if of.memory.as_deref().is_some_and(|memory| memory.ending.is_some()) {
            // It undoes what it did, and ends by itself.
            return Ok(Migrated::Stale);
        }
        let to = self.workflows.get(&activation.pipeline_version).await?;
        let (verb, by) = (activation.runs.as_str(), &activation.activated_by);
        let why = format!("{} was activated by {by} ({verb} runs on other versions)", to.version());
        let signal = Signal::Cancel { reason: &why };
        let item = Item::of(of);
        let of = &item.run;
        let route = |run: &LoadedRun, facts: &Facts| {
            let transition = rails::advance(&from, &run.standing(), &signal, &BTreeMap::new(), facts)?;
            let advance = Advance::by(self.actor.clone(), "cancelled");
            Ok::<_, NotMigrated>(Routed { transition, delay: Duration::ZERO, advance })
        };
        let done = match activation.runs {
            OlderRuns::Migrate => self.fitting(of, &from, &to).await?,
            _ => vec![],
        };
        let new = NewSuccessor {
            of,
            pipeline_version: to.version(),
            first_step: to.first_step(),
            memory: self.first_memory(of, &to, &done).await?,
            done: &done,
            dry_run: of.dry_run,
            actor: &self.actor,
            reason: &format!("takes the event of run {run} through {}", to.version()),
        };
        let carry = |run: &LoadedRun, done: &DoneStep, facts: &Facts| self.carry(&to, run, done, facts);
        let successor = Some((&new, &carry as &record::Carry<'_>));
        let successor = successor.filter(|_| activation.runs == OlderRuns::Migrate);
        let cancel = (&item, route);
        let migrated = match self.record.migrate_run(activation.activation_id, by, cancel, successor).await {
            Err(NotMigrated::Moved(_)) => Migrated::Stale,
            Err(NotMigrated::Record(error)) => return Err(error),
            Ok(migrated) => migrated,
        };
        if let Migrated::Done { next, undoing } = &migrated {
            crate::failpoint::reach("migrated");
            if let Some(won) = undoing {
                jobs::set_going(&self.streams, &from, of, won).await;
            }
            if let Some(next) = next {
                self.set_going(&to, next).await;
            }
        }
        Ok(migrated)
    }

    /// Adds a new run's job; where Redis is away, or the run stands at a fork, the planner sets it going.
    async fn set_going(&self, workflow: &Workflow, run: &LoadedRun) {
        if run.state == RunState::Running
            && let Err(error) = jobs::add_job(&self.streams, workflow, &run.outstanding()).await
        {
            tracing::warn!(%error, run_id = %run.run, "the job could not be added; the reconciler adds it");
        }
    }

    /// What the manifest of the new run begins with, where there is something to carry into it.
    async fn first_memory(
        &self,
        of: &LoadedRun,
        to: &Workflow,
        done: &[DoneStep],
    ) -> Result<Option<Box<Memory>>, Error> {
        if done.is_empty() || !to.keeps_manifest() {
            return Ok(None);
        }
        let loaded = self.record.load(&[BranchKey::trunk(of.run)], true, &[]).await?.pop();
        let payload = loaded.map(|(_, run)| run).transpose()?.and_then(|run| run.payload).unwrap_or_default();
        Ok(Some(crate::memory(to, chrono::Utc::now(), Manifest::ToBegin { payload })))
    }

    /// What may be carried from one version to another, in the order of the way.
    async fn fitting(&self, of: &LoadedRun, from: &Workflow, to: &Workflow) -> Result<Vec<DoneStep>, Error> {
        let mut done = self.record.done_steps(of.run).await?;
        done.retain(|step| rails::fits(from, to, &step.step));
        // A fallback is nobody's output.
        if let Some(memory) = of.memory.as_deref() {
            done.retain(|step| !memory.degraded.contains(&step.step));
        }
        if from.projects() || to.projects() {
            done.iter_mut().for_each(|step| step.content = None);
        }
        let worker = |step: &DoneStep| to.step(&step.step).map(|step| step.worker.to_string());
        done.retain(|step| worker(step).as_deref() != Some(EMBEDS));
        for step in done.iter_mut().filter(|step| worker(step).as_deref() == Some(ENRICHES)) {
            step.trend = self.record.trend_of(of.run).await?;
            step.claims.fingerprint = fingerprint(&step.output);
        }
        // Without its fingerprint a text would not be known when it comes again.
        done.retain(|step| worker(step).as_deref() != Some(ENRICHES) || step.claims.fingerprint.is_some());
        Ok(done)
    }

    /// What the steps before one made, as far as it fits.
    async fn before(&self, of: &LoadedRun, to: &Workflow, step: &str) -> Result<Vec<DoneStep>, Fault> {
        if to.step(step).is_none() {
            let known: Vec<&str> = to.steps().map(|step| step.id.as_str()).collect();
            let version = to.version();
            return Err(Fault::usage(format!("{version} has no step `{step}`; it has {}", known.join(", "))));
        }
        let from = self.workflows.get(&of.pipeline_version).await?;
        Ok(self.fitting(of, &from, to).await?)
    }

    fn carry(&self, to: &Workflow, run: &LoadedRun, done: &DoneStep, facts: &Facts) -> Option<Routed> {
        let output: Value = serde_json::from_str(&done.output).ok()?;
        let artifacts = to
            .condition_inputs(&run.step)
            .iter()
            .filter_map(|name| Some((name.clone(), serde_json::from_str(run.artifact(name)?).ok()?)))
            .collect();
        let left = Carried { output: &output, patch: done.patch.as_ref() };
        let transition = rails::carried(to, &run.standing(), left, &artifacts, facts)?;
        let advance = Advance {
            output: Some(done.output.clone()),
            content: done.content.clone(),
            trend: done.trend.clone(),
            ..Advance::by(self.actor.clone(), "carried")
        };
        Some(Routed { transition, delay: Duration::ZERO, advance })
    }
}

/// Why a run could not be ended for an activation.
#[derive(Debug, thiserror::Error)]
enum NotMigrated {
    #[error(transparent)]
    Moved(#[from] rails::Impossible),
    #[error(transparent)]
    Record(#[from] record::Error),
}

fn fingerprint(output: &str) -> Option<Sha256Digest> {
    let output: Value = serde_json::from_str(output).ok()?;
    serde_json::from_value(output["fingerprint"].clone()).ok()
}
