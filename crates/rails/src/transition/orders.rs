//! What people order of a run with a manifest: cancel it, give it another life, send it through again.

use std::collections::BTreeMap;

use model::{Lifecycle, RunState};

use super::enter::{Arrival, Mode, Passage};
use super::forks::Tally;
use super::journey::{Journey, Place};
use super::stand::placed;
use super::{Impossible, Signal, Standing, Transition, lacks, plain};
use crate::workflow::{Target, Workflow};
use crate::{Facts, Memory};

/// `None` where the signal is no order.
pub(super) fn advance(
    workflow: &Workflow,
    at: &Standing<'_>,
    signal: &Signal<'_>,
    memory: &Memory,
    facts: &Facts,
) -> Option<Result<Transition, Impossible>> {
    let impossible = || Err(Impossible(format!("the run is {}", at.state)));
    let journey = || Journey::new(workflow, at, memory, facts);
    Some(match signal {
        Signal::Cancel { .. } | Signal::Park { .. } | Signal::Unpark | Signal::Rerun { .. }
            if at.branch != 0 =>
        {
            Err(Impossible("this is ordered of a run, not of its branch".to_owned()))
        }
        Signal::Cancel { reason } if at.state.is_open() => Ok(journey().cancel(reason)),
        Signal::Outdated if at.state == RunState::Running && at.branch == 0 => journey().outdated(),
        Signal::Park { reason } if at.state == RunState::Running => Ok(journey().hold(reason)),
        Signal::Unpark if at.state == RunState::Parked && memory.paused.is_some() => Ok(journey().let_go()),
        Signal::Unpark if at.state == RunState::Parked => {
            Ok(journey().resume(Transition::stay(at, RunState::Running, "resumed")))
        }
        Signal::Replay if at.state == RunState::Dead && at.branch == 0 => journey().replay(),
        Signal::Replay if at.state == RunState::Dead => journey().replay_branch(),
        Signal::Replay if begins_with_fork(workflow, at, memory) => Ok(journey().begin()),
        Signal::Rerun { step } if !at.state.is_open() => journey().rerun(step),
        Signal::Begin
            if at.state == RunState::Running && at.branch == 0 && at.step == workflow.first_step() =>
        {
            Ok(journey().begin())
        }
        Signal::Begin
        | Signal::Cancel { .. }
        | Signal::Outdated
        | Signal::Park { .. }
        | Signal::Unpark
        | Signal::Replay
        | Signal::Rerun { .. } => impossible(),
        _ => return None,
    })
}

/// Whether the run came in at a fork, and nothing opened its branches yet.
fn begins_with_fork(workflow: &Workflow, at: &Standing<'_>, memory: &Memory) -> bool {
    at.state == RunState::Running
        && at.branch == 0
        && at.step == workflow.first_step()
        && workflow.fork(at.step).is_some()
        && memory.branches.is_empty()
}

impl Journey<'_> {
    /// The run is held back where it stands; at a fork with its branches that are running.
    fn hold(mut self, reason: &str) -> Transition {
        if self.workflow.fork(self.at.step).is_some() {
            let branches = &mut self.memory().branches;
            let running = branches.iter_mut().filter(|(_, branch)| branch.state == RunState::Running);
            let held = running.map(|(number, branch)| {
                branch.state = RunState::Parked;
                *number
            });
            let held = held.collect();
            self.memory().paused = Some(held);
        }
        let base = Transition::stay(&self.at, RunState::Parked, reason);
        self.finish(base)
    }

    /// A run that was held back at a fork goes on with the branches that were held with it.
    fn let_go(mut self) -> Transition {
        let held = self.memory().paused.take().unwrap_or_default();
        self.memory().waits_since.clear();
        for (_, branch) in self.memory().branches.iter_mut().filter(|(number, _)| held.contains(number)) {
            branch.state = RunState::Running;
        }
        let base = Transition::stay(&self.at, RunState::Running, "resumed");
        self.finish(base)
    }

    /// The run ends, once what it did is undone. Ordered a second time, it ends at once.
    fn cancel(mut self, reason: &str) -> Transition {
        let stood = self.at.step;
        self.memory().paused = None;
        let left = std::mem::take(&mut self.memory().undoable);
        let reason = match self.memory().ending.take() {
            Some(_) if !left.is_empty() => {
                format!("{reason} (cancelled while undoing at `{stood}`; not undone: {})", left.join(", "))
            }
            Some(_) => format!("{reason} (cancelled while undoing at `{stood}`)"),
            None => {
                self.memory().undoable = left;
                reason.to_owned()
            }
        };
        let base = Transition::stay(&self.at, RunState::Cancelled, reason.clone());
        let place = self.end(RunState::Cancelled, stood, reason);
        let attempt = if place.state.is_open() { 0 } else { self.at.attempt };
        let transition = placed(base, place, None);
        self.finish(Transition { attempt, ..transition })
    }

    /// The run comes to its first step by its gates and budgets, before anything is done there; a fork opens its branches.
    fn begin(mut self) -> Transition {
        self.release(self.at.step);
        let arrival = self.arrive(0, &Target::Step(self.at.step.to_owned()), Mode::Begun);
        let base = Transition::stay(&self.at, RunState::Running, "begun");
        self.stand(base, arrival)
    }

    /// Another life begins with its counts of visits anew, else what died of them could not live.
    fn begin_anew(&mut self) {
        let memory = self.memory();
        memory.visits = BTreeMap::new();
        memory.orchestrations.clear();
        memory.ending = None;
        memory.reserved.clear();
        memory.wanted.clear();
        memory.waits_since.clear();
        memory.refusals.clear();
        memory.leaving.clear();
    }

    /// A dead run goes on where it died; from a fork with the branches that did not succeed.
    fn replay(mut self) -> Result<Transition, Impossible> {
        let workflow = self.workflow;
        self.begin_anew();
        let stood = self.at.step.to_owned();
        self.memory().visits.insert(stood, 1);
        let arrival = match (workflow.step(self.at.step), workflow.fork(self.at.step)) {
            (Some(step), _) => self.enter(0, step),
            (None, Some(fork)) => match self.reopen(fork) {
                Passage::Stop(arrival) => arrival,
                Passage::On(target) => self.arrive(0, &target, Mode::Usual),
            },
            (None, None) => return Err(lacks(workflow, self.at.step)),
        };
        let base = Transition::stay(&self.at, RunState::Running, "replayed");
        Ok(self.stand(base, arrival))
    }

    /// A dead branch goes on where it died, while its join is open.
    fn replay_branch(mut self) -> Result<Transition, Impossible> {
        let workflow = self.workflow;
        let fork =
            workflow.fork(&self.fork_of(self.at.branch)).ok_or_else(|| lacks(workflow, self.at.step))?;
        let step = workflow.step(self.at.step).ok_or_else(|| lacks(workflow, self.at.step))?;
        if self.is_ending() || Tally::of(fork, &self.beyond.memory).verdict(fork.join).is_some() {
            return Err(Impossible(format!("the join of `{}` is decided: replay the run", fork.id)));
        }
        let lane = self.at.branch;
        let arrival = self.enter(lane, step);
        let base = Transition::stay(&self.at, RunState::Running, "replayed");
        Ok(self.stand(base, arrival))
    }

    /// An ended run goes on from a step. From another one than it ended at its content is a draft again.
    fn rerun(mut self, id: &str) -> Result<Transition, Impossible> {
        let workflow = self.workflow;
        if workflow.step(id).is_none() && workflow.fork(id).is_none() {
            return Err(plain::unknown_step(workflow, id));
        }
        if workflow.lane(id) != 0 {
            return Err(Impossible(format!(
                "`{id}` belongs to a branch: send the run through from its fork"
            )));
        }
        self.begin_anew();
        if id != self.at.step {
            self.lifecycle = Lifecycle::Draft;
            self.memory().approved = None;
        }
        let arrival = self.arrive(0, &Target::Step(id.to_owned()), Mode::Ordered);
        let base = Transition::stay(&self.at, RunState::Running, format!("sent through again from {id}"));
        Ok(self.stand(base, arrival))
    }

    /// Holds nothing back: the run stands at a step again that it was held before.
    pub(crate) fn resume(mut self, base: Transition) -> Transition {
        let target = Target::Step(self.at.step.to_owned());
        let arrival = if self.is_ending() && self.at.branch == 0 {
            match self.workflow.step(self.at.step) {
                Some(step) => self.enter(0, step),
                None => Arrival::Stands(Place::running(self.at.step)),
            }
        } else {
            self.arrive(self.at.branch, &target, Mode::Again)
        };
        self.stand(base, arrival)
    }
}
