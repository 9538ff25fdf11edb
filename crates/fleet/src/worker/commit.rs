//! The commit lane: while one commit is in flight the next group gathers.

use std::sync::Arc;
use std::time::Duration;

use model::{Failure, JobKey, Outcome, RunState, Sha256Digest, Usage};
use rails::{Transition, Workflow};
use record::{Advance, Item, LoadedRun, Routed, Verdict, Won};
use streams::Destination;
use tokio::sync::mpsc;

use super::execute::Work;
use super::hand_over::Leaving;
use super::held::Entry;
use super::{Engine, branches, breaker, feeds, intake, route};
use crate::Handler;

/// What happened to a job.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Its handler reported.
    Outcome(Outcome),
    /// It was delivered too often without an outcome.
    Poisoned {
        /// How often.
        deliveries: i64,
    },
    /// An effect was not carried out yet, and shall be tried again in a while, counting no attempt.
    Postponed {
        /// Why.
        reason: String,
        /// After how long.
        after: std::time::Duration,
    },
    /// The run begins: its first step is entered before anything is done there.
    Begins,
    /// A dry run.
    DryRun {
        /// What would have been sent.
        report: model::Report,
        /// Whether it is a post, and no call.
        posts: bool,
    },
}

/// A job on its way to the record.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) entry: Entry,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) happening: Happening,
    pub(crate) item: Item,
    pub(crate) input_sha256: Option<Sha256Digest>,
    pub(crate) at: chrono::DateTime<chrono::Utc>,
}

impl Finished {
    pub(crate) fn new(work: Work, happening: Happening) -> Self {
        let happening = match happening {
            Happening::Outcome(outcome) => Happening::Outcome(outcome.storable()),
            other => other,
        };
        let claims = match &happening {
            Happening::Outcome(Outcome::Done(report) | Outcome::Escalate(report, _)) => report.claims.clone(),
            _ => model::Claims::default(),
        };
        let usage = work.spent(reported(&happening));
        Self {
            entry: work.entry,
            workflow: work.workflow,
            happening,
            item: Item { run: work.run, admission: work.admission, claims, usage },
            input_sha256: work.input_sha256,
            at: chrono::Utc::now(),
        }
    }
}

fn reported(happening: &Happening) -> Usage {
    match happening {
        Happening::Outcome(
            Outcome::Done(r) | Outcome::Escalate(r, _) | Outcome::Reject(r, _) | Outcome::Plan(r, _),
        )
        | Happening::DryRun { report: r, .. } => r.usage,
        Happening::Outcome(Outcome::Failed(failure)) => failure.usage,
        Happening::Poisoned { .. } | Happening::Postponed { .. } | Happening::Begins => Usage::default(),
    }
}

/// How long a commit waits for jobs that are being handled: what one read brought is often done within this, and a
/// commit costs the same for one job as for many.
const GATHERING: Duration = Duration::from_millis(1);

/// Commits until every sender is gone or the process gives up.
pub(crate) async fn run<H: Handler>(engine: Arc<Engine<H>>, mut finished: mpsc::UnboundedReceiver<Finished>) {
    let limit = engine.config().group;
    let mut group = Vec::with_capacity(limit);
    while finished.recv_many(&mut group, limit).await > 0 {
        let until = tokio::time::Instant::now() + GATHERING;
        while group.len() < limit && engine.handling.any() {
            let room = limit - group.len();
            if tokio::time::timeout_at(until, finished.recv_many(&mut group, room)).await.is_err() {
                break;
            }
        }
        commit(&engine, std::mem::take(&mut group)).await;
    }
}

async fn commit<H: Handler>(engine: &Arc<Engine<H>>, group: Vec<Finished>) {
    crate::failpoint::reach("commit");
    let (items, jobs): (Vec<Item>, Vec<Pending>) = group.into_iter().map(Pending::split).unzip();
    let Some(verdicts) = persist_commit(engine, &items, &jobs).await else { return };
    crate::failpoint::reach("committed");
    engine.process.metrics.commit_group.get_or_create(&engine.labels()).observe(jobs.len() as f64);
    let (mut winners, mut losers, mut refusals) = (Vec::with_capacity(jobs.len()), Vec::new(), Vec::new());
    for ((item, job), verdict) in items.into_iter().zip(jobs).zip(verdicts) {
        match verdict {
            Verdict::Won(done) if !done.jobs.is_empty() => {
                let (workflow, jobs) = (Arc::clone(&job.workflow), done.jobs.clone());
                let leaving = won(engine, item, job, done);
                let engine = Arc::clone(engine);
                tokio::spawn(async move {
                    branches::add_then_leave(&engine, &workflow, &jobs, vec![leaving]).await;
                });
            }
            Verdict::Won(done) => winners.push(won(engine, item, job, done)),
            Verdict::Lost => losers.push((item, job)),
            // Its own commit had succeeded, and the reply was lost.
            Verdict::Known(run) if run == item.run.run => losers.push((item, job)),
            Verdict::Known(run) => {
                tracing::debug!(run_id = %run, "an upstream entry that came before");
                intake::delete(engine, job.entry, "known");
            }
            Verdict::Refused(reason) => refusals.push((item, job, reason)),
        }
    }
    engine.leave_all(winners);
    if !losers.is_empty() {
        lost(engine, losers).await;
    }
    for (item, job, reason) in refusals {
        refused(engine, item, job, reason).await;
    }
}

/// A job in the lane, apart from what the record is given.
pub(crate) struct Pending {
    pub(crate) entry: Entry,
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) happening: Happening,
    pub(crate) input_sha256: Option<Sha256Digest>,
    pub(crate) at: chrono::DateTime<chrono::Utc>,
}

impl Pending {
    fn split(finished: Finished) -> (Item, Self) {
        let Finished { entry, workflow, happening, item, input_sha256, at } = finished;
        (item, Self { entry, workflow, happening, input_sha256, at })
    }
}

/// Commits, waiting out the record's absence. `None` where the process gives up.
async fn persist_commit<H: Handler>(
    engine: &Engine<H>,
    items: &[Item],
    jobs: &[Pending],
) -> Option<Vec<Verdict>> {
    let stream = |entry: &Entry| engine.lanes[entry.lane].key().to_owned();
    let routes = |index: usize, run: &LoadedRun, facts: &rails::Facts| {
        let (job, usage) = (&jobs[index], items[index].usage);
        let route =
            route::route(&*engine.handler, &engine.process.actor, run, job, facts, stream(&job.entry));
        Routed { advance: Advance { usage, ..route.advance }, ..route }
    };
    let mut pace = breaker::pace();
    loop {
        let error = match engine.process.record.commit(items, &routes).await {
            Ok(verdicts) => return Some(verdicts),
            Err(error) => error,
        };
        if error.handling() == record::Handling::RetryGroup {
            engine.breaker.trip(&error);
        } else {
            tracing::error!(%error, jobs = items.len(), "a commit failed in a way that should not be; it is tried again");
        }
        tokio::select! {
            () = engine.give_up.cancelled() => return None,
            () = tokio::time::sleep(breaker::next(&mut pace)) => {}
        }
    }
}

/// Where a winner's entry goes: where the transition says.
pub(crate) fn won<H: Handler>(engine: &Arc<Engine<H>>, item: Item, job: Pending, done: Won) -> Leaving {
    let Won { seq, routed, .. } = done;
    engine.count(routed.advance.what);
    feeds::tell(engine, &item, seq, &routed);
    count_overrun(engine, &routed.transition);
    let Pending { entry, workflow, .. } = job;
    let transition = &routed.transition;
    let to = match (transition.state, workflow.step(&transition.step)) {
        (RunState::Running, Some(step)) => {
            let job = model::Job {
                key: JobKey { run: item.run.run, branch: item.run.branch, seq },
                step: transition.step.clone(),
                attempt: transition.attempt,
                traceparent: item.run.traceparent.clone(),
                enriched_trend_id: routed
                    .advance
                    .trend
                    .as_ref()
                    .map(|_| model::enriched_trend_id(item.run.run))
                    .or(item.run.enriched_trend_id),
            };
            intake::destination::<H>(step.worker.as_str(), item.run.partition, job, routed.delay)
        }
        (RunState::Dead, _) => {
            engine.process.metrics.dead_letters.get_or_create(&engine.labels()).inc();
            let stream = engine.lanes[entry.lane].key();
            Destination::DeadLetter {
                fields: streams::letter_fields(&entry.fields, stream, &entry.id, &transition.reason),
            }
        }
        _ => Destination::Nowhere,
    };
    Leaving::new(entry, to)
}

/// Counts a run or branch that a budget parked, and the run itself where a branch's end led it there.
fn count_overrun<H: Handler>(engine: &Engine<H>, transition: &Transition) {
    let trunk = transition.beyond.as_deref().and_then(|beyond| beyond.trunk.as_ref());
    let parked = [Some(transition), trunk].into_iter().flatten().filter(|one| one.is_overrun()).count();
    engine.process.metrics.budget_overruns.inc_by(parked as u64);
}

/// Losers of the compare-and-set: one ahead means that their own commit had succeeded and its reply was lost, so the
/// run's present job is handed over; anything else belongs to someone else.
pub(crate) async fn lost<H: Handler>(engine: &Arc<Engine<H>>, losers: Vec<(Item, Pending)>) {
    let keys: Vec<_> = losers.iter().map(|(item, _)| item.run.key()).collect();
    let Ok(loaded) = intake::load(engine, &keys).await else { return };
    for (item, job) in losers {
        match loaded.get(&item.run.key()).and_then(|found| found.as_ref().ok()) {
            Some((run, workflow)) if run.seq == item.run.seq + 1 => {
                engine.count("lost_by_one");
                intake::hand_over_present(engine, job.entry, run, workflow);
            }
            // The chain grew without a transition (a ledger result), or another branch changed the content: the job is still
            // to be done.
            Some((run, workflow)) if run.seq == item.run.seq && run.state == RunState::Running => {
                engine.count("lost_to_the_ledger");
                intake::hand_over_own(engine, job.entry, run, workflow);
            }
            _ => intake::delete(engine, job.entry, "lost"),
        }
    }
}

/// PostgreSQL refuses what the job wrote: the job alone fails, for good. Where even the failure is refused, the entry
/// becomes a dead letter that touches no run.
async fn refused<H: Handler>(engine: &Engine<H>, item: Item, job: Pending, reason: String) {
    tracing::warn!(run_id = %item.run.run, reason, "the record refuses what the job wrote");
    let reason = model::storable(&format!("the record refuses its output: {reason}"));
    if matches!(job.happening, Happening::Outcome(Outcome::Failed(_))) {
        return intake::bury(engine, job.entry, reason).await;
    }
    let finished = Finished {
        entry: job.entry,
        workflow: job.workflow,
        happening: Happening::Outcome(Outcome::Failed(Failure::permanent(reason))),
        item: Item { claims: model::Claims::default(), ..item },
        input_sha256: job.input_sha256,
        at: job.at,
    };
    drop(engine.finished.send(finished));
}
