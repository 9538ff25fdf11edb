//! Steps and content whose time is over, as their workflow bounds it.
//!
//! The record says of which runs a clock has run out; the rails look at the clock again under the run's lock. So any number of
//! planners may look at once, and a run that moved on meanwhile stays as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet::{Process, Workflows};
use model::RunId;
use rails::{Facts, Overdue, Signal};
use record::{Advance, BranchKey, ExpiredRun, Handling, Item, LoadedRun, Routed};

use crate::error::RoundError;

/// Pause between looks.
const LOOK: Duration = Duration::from_secs(1);
/// Runs looked at together.
const PAGE: i64 = 200;

/// Ends what takes too long until the process stops.
pub(crate) async fn run(process: Process) {
    let mut watch = Watch { workflows: Workflows::new(process.record.clone()), process, after: None };
    while !watch.process.shutdown.is_cancelled() {
        if let Err(error) = watch.round().await {
            tracing::warn!(%error, "clocks of runs could not be looked at; tried again");
        }
        watch.process.idle(LOOK).await;
    }
}

struct Watch {
    process: Process,
    workflows: Workflows,
    /// The run that was looked at last in a round that has not come to its end.
    after: Option<ExpiredRun>,
}

/// Why a clock was left alone.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("{0}")]
    Moved(#[from] rails::Impossible),
    #[error("{0}")]
    Record(#[from] record::Error),
}

impl Watch {
    /// Looks at each run once. Where an error ends the round, the next one goes on behind the run that it came from.
    async fn round(&mut self) -> Result<(), RoundError> {
        while !self.process.shutdown.is_cancelled() {
            let page = self.process.record.expired_runs(self.after, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for expired in page {
                self.after = Some(expired);
                match Box::pin(self.look(expired.run)).await {
                    Err(RoundError::Record(error)) if error.handling() != Handling::RetryGroup => {
                        tracing::error!(run_id = %expired.run, %error, "the clocks of a run cannot be looked at");
                    }
                    looked => looked?,
                }
            }
        }
        self.after = None;
        Ok(())
    }

    async fn look(&self, run: RunId) -> Result<(), RoundError> {
        let record = &self.process.record;
        let Some(mut trunk) = record.load_one(run, &[]).await? else { return Ok(()) };
        let workflow = self.workflows.get(&trunk.pipeline_version).await?;
        fleet::remember(record, &mut trunk, &workflow).await?;
        let Some(memory) = trunk.memory.as_deref() else { return Ok(()) };
        for overdue in memory.clocks.overdue(record.server().await?.now) {
            let (branch, signal) = match overdue {
                Overdue::Step(branch) => (branch, Signal::Expired),
                Overdue::Stage => (0, Signal::Outdated),
            };
            let key = BranchKey { run, branch };
            let Some(of) = record.load_branch(key, &[]).await? else { continue };
            let names = workflow.condition_inputs(&of.step).to_vec();
            let Some(mut of) = record.load_branch(key, &names).await? else { continue };
            fleet::remember(record, &mut of, &workflow).await?;
            self.end(&workflow, Item::of(of), &signal).await?;
        }
        Ok(())
    }

    async fn end(
        &self,
        workflow: &rails::Workflow,
        item: Item,
        signal: &Signal<'_>,
    ) -> Result<(), record::Error> {
        let route = |run: &LoadedRun, facts: &Facts| {
            let artifact =
                |name: &String| Some((name.clone(), serde_json::from_str(run.artifact(name)?).ok()?));
            let artifacts: BTreeMap<_, _> =
                workflow.condition_inputs(&run.step).iter().filter_map(artifact).collect();
            let transition = rails::advance(workflow, &run.standing(), signal, &artifacts, facts)?;
            let what = if transition.death.is_some() { "died" } else { "timed_out" };
            let advance = Advance::by(self.process.actor.clone(), what);
            Ok::<_, Left>(Routed { transition, delay: Duration::ZERO, advance })
        };
        match self.process.record.expire(&item, route).await {
            Ok(Some(won)) => {
                tracing::warn!(run_id = %item.run.run, reason = won.routed.transition.reason, "time is over");
                fleet::set_going(&self.process.streams, workflow, &item.run, &won).await;
                Ok(())
            }
            Ok(None) | Err(Left::Moved(_)) => Ok(()),
            Err(Left::Record(error)) => Err(error),
        }
    }
}
