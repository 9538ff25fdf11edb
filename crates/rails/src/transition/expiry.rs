//! Time that is over, and the clocks of what comes next.

use std::collections::BTreeMap;

use super::heading::{Course, Heading};
use super::journey::Journey;
use super::{Impossible, Transition};
use crate::clocks::{Overdue, Standings};
use crate::workflow::Step;

impl Journey<'_> {
    /// The step's time is over: it goes the way of `on_timeout`, or the run dies of it.
    pub(super) fn expired(&self, step: &Step) -> Result<Course, Impossible> {
        let lane = self.at.branch;
        self.overdue(Overdue::Step(lane))?;
        let clock = self.beyond.memory.clocks.steps.get(&lane).filter(|clock| clock.step == step.id);
        let clock = clock.ok_or_else(not_over)?;
        let reason = match (clock.taken, step.ttl.waiting, step.ttl.running) {
            (false, Some(bound), _) => format!("no worker took `{}` within {bound:?}", step.id),
            (_, _, Some(bound)) => format!("`{}` was not done within {bound:?}", step.id),
            _ => return Err(not_over()),
        };
        Ok(match &step.on_timeout {
            Some(target) => Course::Go(Heading { reason: Some(reason), failed: true, ..Heading::to(target) }),
            None => Course::stay(Transition::die(&self.at, reason)),
        })
    }

    /// The content stayed at its stage for too long: the run dies of it.
    pub(super) fn outdated(self) -> Result<Transition, Impossible> {
        self.overdue(Overdue::Stage)?;
        let stage = self.lifecycle;
        let bound = self.workflow.ttl().of(stage).ok_or_else(not_over)?;
        let reason = format!("its content stayed {} for longer than {bound:?}", stage.as_str());
        let death = Transition::die(&self.at, reason);
        Ok(self.over(death))
    }

    fn overdue(&self, what: Overdue) -> Result<(), Impossible> {
        let memory = &self.beyond.memory;
        let over = memory.now.is_some_and(|now| memory.clocks.overdue(now).contains(&what));
        if over { Ok(()) } else { Err(not_over()) }
    }

    /// Winds the clocks for where the run and its branches stand after this.
    pub(super) fn wind(&mut self, transition: &Transition) {
        let Some(now) = self.beyond.memory.now else { return };
        let trunk = if self.at.branch == 0 { Some(transition) } else { self.beyond.trunk.as_ref() };
        let trunk = trunk.map(|trunk| (trunk.state, trunk.step.clone()));
        let memory = &mut self.beyond.memory;
        let (branches, visits) = (&memory.branches, &memory.visits);
        let mut lanes: BTreeMap<i32, _> =
            branches.iter().map(|(number, branch)| (*number, (branch.state, branch.step.as_str()))).collect();
        let open = trunk.as_ref().is_none_or(|(state, _)| state.is_open());
        if let Some((state, step)) = &trunk {
            lanes.insert(0, (*state, step.as_str()));
        }
        let standings = Standings { lanes, visits, lifecycle: self.lifecycle, open };
        memory.clocks.wind(self.workflow, &standings, now);
        if memory.ending.is_some() {
            // What is undone takes the time that it needs.
            memory.clocks.stage = None;
        }
    }
}

fn not_over() -> Impossible {
    Impossible("its time is not over".to_owned())
}
