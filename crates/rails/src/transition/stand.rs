//! Where a lane comes to stand, and what that says of the run.

use model::{Lifecycle, RunId, RunState};

use super::enter::{Arrival, Mode};
use super::heading::Heading;
use super::journey::{Journey, Place};
use super::{Delay, Standing, Transition};
use crate::workflow::Step;

impl Journey<'_> {
    /// Leaves the step for a target.
    pub(crate) fn go(mut self, step: &Step, mut heading: Heading) -> Transition {
        self.release(&step.id);
        self.memory().wanted.remove(&step.id);
        self.memory().waits_since.remove(&step.id);
        // What went out is out, whatever its gates say; leave to publish is only given past them.
        if heading.lifecycle == Some(Lifecycle::Published) {
            self.reach(Lifecycle::Published);
        }
        self.duplicate_of = heading.duplicate_of;
        let mut gates = std::mem::take(&mut heading.gates);
        gates.append(&mut self.gates);
        self.gates = gates;
        let held = self.pass_behind(step, &heading);
        let said = heading.reason.unwrap_or_else(|| format!("{} done", step.id));
        let base = Transition::stay(&self.at, RunState::Running, said.clone());
        if let Some(arrival) = held {
            return self.stand(base, arrival);
        }
        self.approving = heading.approval.is_some();
        if let Some(lifecycle) = heading.lifecycle {
            self.reach(lifecycle);
        }
        if heading.approval.is_some() {
            self.remember_approval();
        }
        let base = Transition { approval: heading.approval, ..base };
        if self.is_ending() && self.at.branch == 0 {
            return self.undone(base, heading.failed);
        }
        let arrival = match self.arrive(self.at.branch, &heading.to, Mode::Usual) {
            Arrival::Ended { state, reason } => Arrival::Ended { state, reason: reason.or(Some(said)) },
            other => other,
        };
        self.stand(base, arrival)
    }

    /// What was published is the content as it was approved: where it has changed since, it is to be judged anew.
    pub(super) fn reach(&mut self, lifecycle: Lifecycle) {
        if lifecycle != Lifecycle::Published || self.is_approved() {
            self.lifecycle = lifecycle;
        }
    }

    /// The lane comes to stand where it arrived; of a branch, that may decide the run.
    pub(crate) fn stand(mut self, base: Transition, arrival: Arrival) -> Transition {
        let (lane, stood) = (self.at.branch, self.at.step);
        if lane != 0 {
            return self.stand_branch(base, arrival);
        }
        let place = self.settle(arrival, stood);
        let transition = placed(base, place, self.duplicate_of);
        self.finish(transition)
    }

    fn stand_branch(mut self, base: Transition, arrival: Arrival) -> Transition {
        let stood = self.at.step;
        let (place, end) = match arrival {
            Arrival::Stands(place) => (place, None),
            Arrival::Joined => (Place::ended(RunState::Done, stood, base.reason.clone()), None),
            Arrival::Died(reason) => (Place::ended(RunState::Dead, stood, reason), None),
            Arrival::Ended { state, reason } => {
                let said = reason.unwrap_or_else(|| base.reason.clone());
                (Place::ended(RunState::Done, stood, said.clone()), Some((state, said)))
            }
        };
        self.note_branch(self.at.branch, &place);
        let trunk = match end {
            Some((state, reason)) => {
                let fork = self.fork_of(self.at.branch);
                Some(self.end(state, &fork, reason))
            }
            None if place.state.is_open() => None,
            None => self.join(self.at.branch),
        };
        if let Some(place) = trunk {
            let fork = self.fork_of(self.at.branch);
            let at = Standing { branch: 0, state: RunState::Running, step: &fork, attempt: 0, ..self.at };
            let base = Transition::stay(&at, RunState::Running, format!("branch {} ended", self.at.branch));
            self.beyond.trunk = Some(placed(base, place, self.duplicate_of));
        }
        let transition = placed(base, place, None);
        self.finish(transition)
    }

    /// The lane stays at its step, with a job.
    pub(crate) fn stays(self, transition: Transition) -> Transition {
        let place = Place::running(self.at.step);
        self.stand(transition, Arrival::Stands(place))
    }

    /// A transition that is whole as it is: the lane waits, or ends where it stands.
    pub(crate) fn over(mut self, transition: Transition) -> Transition {
        self.release(&transition.step);
        let reason = transition.reason.clone();
        if self.is_ending() && self.at.branch == 0 && !transition.state.is_open() {
            let failed = transition.state != RunState::Done;
            return self.undone(transition, failed);
        }
        let arrival = match transition.state {
            RunState::Dead => Arrival::Died(reason),
            // A dry run of a branch goes on to its join: what its siblings would have sent is shown as well.
            RunState::Done if self.at.branch != 0 => Arrival::Joined,
            state if state.is_open() => Arrival::Stands(Place {
                state,
                step: transition.step.clone(),
                escalation: transition.escalation.clone(),
                reason: Some(reason),
            }),
            state => Arrival::Ended { state, reason: Some(reason) },
        };
        let attempt = transition.attempt;
        let stands = matches!(arrival, Arrival::Stands(_));
        let mut transition = self.stand(transition, arrival);
        if stands || !transition.state.is_open() {
            transition.attempt = attempt;
        }
        transition
    }

    /// Hands out what was worked out.
    pub(super) fn finish(mut self, mut transition: Transition) -> Transition {
        transition.lifecycle = self.lifecycle;
        transition.approval = self.approval.take().or(transition.approval);
        transition.incident = self.incident.take().or(transition.incident);
        transition.gates.append(&mut self.gates);
        if let Some(trunk) = &mut self.beyond.trunk {
            trunk.lifecycle = self.lifecycle;
        }
        self.wind(&transition);
        transition.beyond = Some(Box::new(self.beyond));
        transition
    }
}

/// The transition to a place; what else `base` says stays.
pub(super) fn placed(base: Transition, place: Place, duplicate_of: Option<RunId>) -> Transition {
    let reason = place.reason.unwrap_or(base.reason);
    Transition {
        state: place.state,
        step: place.step,
        attempt: 0,
        delay: Delay::Now,
        escalation: place.escalation,
        death: (place.state == RunState::Dead).then(|| reason.clone()),
        duplicate_of: duplicate_of.filter(|_| place.state == RunState::Duplicate),
        reason,
        ..base
    }
}
