//! How long a run may take: the clocks of its steps, and that of the stage its content is at. They are wound by the time of the
//! transaction that commits a transition, and stand still while a gate or a person is awaited.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use model::{Lifecycle, RunState};
use serde::{Deserialize, Serialize};

use crate::workflow::{LifecycleTtl, Workflow};

/// The clocks of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Clocks {
    /// Those of steps, by the number of the branch; 0 is the run itself.
    pub steps: BTreeMap<i32, StepClock>,
    /// That of the content's stage.
    pub stage: Option<StageClock>,
}

/// The clock of one visit of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepClock {
    /// The step.
    pub step: String,
    /// Which visit of it.
    pub visit: u32,
    /// Whether a worker has had the job.
    pub taken: bool,
    /// Runs out, where the step is bounded in what it does now.
    pub clock: Option<Clock>,
}

/// The clock of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageClock {
    /// The stage.
    pub stage: Lifecycle,
    /// Runs out.
    pub clock: Clock,
}

/// A clock that runs, or stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// It runs out then.
    Until(DateTime<Utc>),
    /// So much is left, in milliseconds.
    Left(u64),
}

/// Whose time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Overdue {
    /// The step at which this branch stands; 0 is the run itself.
    Step(i32),
    /// The content's stage.
    Stage,
}

/// Where a run and its branches stand after a transition.
pub(crate) struct Standings<'a> {
    /// By the number of the branch; the run itself only where it moved.
    pub(crate) lanes: BTreeMap<i32, (RunState, &'a str)>,
    pub(crate) visits: &'a BTreeMap<String, u32>,
    pub(crate) lifecycle: Lifecycle,
    /// Whether the run goes on.
    pub(crate) open: bool,
}

impl Clock {
    fn of(duration: Duration, now: DateTime<Utc>) -> Self {
        let until =
            chrono::Duration::from_std(duration).ok().and_then(|duration| now.checked_add_signed(duration));
        Self::Until(until.unwrap_or(DateTime::<Utc>::MAX_UTC))
    }

    fn stopped(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::Until(until) => Self::Left(u64::try_from((until - now).num_milliseconds()).unwrap_or(0)),
            Self::Left(_) => self,
        }
    }

    fn going(self, now: DateTime<Utc>) -> Self {
        match self {
            Self::Until(_) => self,
            Self::Left(left) => Self::of(Duration::from_millis(left), now),
        }
    }

    fn wound(self, runs: bool, now: DateTime<Utc>) -> Self {
        if runs { self.going(now) } else { self.stopped(now) }
    }

    fn until(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Until(until) => Some(until),
            Self::Left(_) => None,
        }
    }
}

impl Clocks {
    /// When the first of them runs out.
    #[must_use]
    pub fn next(&self) -> Option<DateTime<Utc>> {
        let steps = self.steps.values().filter_map(|step| step.clock);
        steps.chain(self.stage.as_ref().map(|stage| stage.clock)).filter_map(Clock::until).min()
    }

    /// Those that ran out.
    #[must_use]
    pub fn overdue(&self, now: DateTime<Utc>) -> Vec<Overdue> {
        let over = |clock: Clock| clock.until().is_some_and(|until| until <= now);
        let steps = self.steps.iter().filter(|(_, step)| step.clock.is_some_and(over));
        let stage = self.stage.as_ref().filter(|stage| over(stage.clock));
        steps.map(|(lane, _)| Overdue::Step(*lane)).chain(stage.map(|_| Overdue::Stage)).collect()
    }

    /// A worker has the job of this visit: it no longer waits for one. `false` where that is known, or is another visit.
    pub fn take(&mut self, lane: i32, visit: u32, running: Option<Duration>, now: DateTime<Utc>) -> bool {
        let waits = |step: &&mut StepClock| step.visit == visit && !step.taken;
        let Some(step) = self.steps.get_mut(&lane).filter(waits) else { return false };
        step.taken = true;
        step.clock = running.map(|running| Clock::of(running, now));
        true
    }

    /// Winds them for where the run stands now.
    pub(crate) fn wind(&mut self, workflow: &Workflow, at: &Standings<'_>, now: DateTime<Utc>) {
        if !at.open {
            *self = Self::default();
            return;
        }
        for (lane, (state, step)) in &at.lanes {
            self.wind_step(workflow, *lane, (*state, step), at.visits.get(*step).copied().unwrap_or(1), now);
        }
        let waits = |state: &RunState| matches!(state, RunState::Waiting | RunState::Parked);
        let awaited = at.lanes.values().any(|(state, _)| waits(state));
        self.wind_stage(workflow.ttl(), at.lifecycle, !awaited, now);
    }

    fn wind_step(
        &mut self,
        workflow: &Workflow,
        lane: i32,
        (state, id): (RunState, &str),
        visit: u32,
        now: DateTime<Utc>,
    ) {
        let ttl = workflow.step(id).map(|step| step.ttl).filter(|ttl| state.is_open() && ttl.is_bounded());
        let Some(ttl) = ttl else {
            self.steps.remove(&lane);
            return;
        };
        let fresh = || StepClock {
            step: id.to_owned(),
            visit,
            taken: false,
            clock: ttl.waiting.map(|waiting| Clock::of(waiting, now)),
        };
        let step = self.steps.entry(lane).or_insert_with(fresh);
        if step.step != id || step.visit != visit {
            *step = fresh();
        }
        step.clock = step.clock.map(|clock| clock.wound(state == RunState::Running, now));
    }

    fn wind_stage(&mut self, ttl: &LifecycleTtl, stage: Lifecycle, runs: bool, now: DateTime<Utc>) {
        let Some(bound) = ttl.of(stage) else {
            self.stage = None;
            return;
        };
        let known = self.stage.take().filter(|known| known.stage == stage).map(|known| known.clock);
        let clock = known.unwrap_or_else(|| Clock::of(bound, now)).wound(runs, now);
        self.stage = Some(StageClock { stage, clock });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Memory;

    const TIMED: &str = "
name: timed
version: 1
ttl: { draft: 1h, qa: 2h }
steps:
  - id: a
    worker: agent
    role: r
    ttl: { waiting: 5m, running: 10m }
    on_success: b
  - { id: b, worker: agent, role: r, on_success: { end: done } }
";

    fn at(minutes: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + chrono::Duration::minutes(minutes)
    }

    fn begun() -> (Workflow, Memory) {
        let workflow = Workflow::unchecked(TIMED);
        let memory = Memory::begin(&workflow, serde_json::Value::Null).since(&workflow, at(0));
        (workflow, memory)
    }

    fn stand(workflow: &Workflow, memory: &mut Memory, state: RunState, step: &str, now: i64) {
        let visits = memory.visits.clone();
        let lanes = BTreeMap::from([(0, (state, step))]);
        let standings =
            Standings { lanes, visits: &visits, lifecycle: Lifecycle::Draft, open: state.is_open() };
        memory.clocks.wind(workflow, &standings, at(now));
    }

    #[test]
    fn a_job_waits_for_a_worker_and_then_its_step_may_take_so_long_with_all_tries() {
        let (workflow, mut memory) = begun();
        assert_eq!(memory.clocks.next(), Some(at(5)));
        assert_eq!(memory.clocks.overdue(at(5)), [Overdue::Step(0)]);
        assert!(memory.clocks.overdue(at(4)).is_empty());
        let running = workflow.step("a").unwrap().ttl.running;
        assert!(!memory.clocks.take(0, 2, running, at(4)), "of another visit");
        assert!(memory.clocks.take(0, 1, running, at(4)));
        assert!(!memory.clocks.take(0, 1, running, at(8)), "another try winds nothing up");
        stand(&workflow, &mut memory, RunState::Running, "a", 9);
        assert_eq!(memory.clocks.next(), Some(at(14)));
    }

    #[test]
    fn clocks_stand_still_while_a_person_is_awaited() {
        let (workflow, mut memory) = begun();
        memory.clocks.take(0, 1, workflow.step("a").unwrap().ttl.running, at(0));
        stand(&workflow, &mut memory, RunState::Waiting, "a", 4);
        assert_eq!(memory.clocks.next(), None);
        assert!(memory.clocks.overdue(at(10_000)).is_empty());
        stand(&workflow, &mut memory, RunState::Running, "a", 1004);
        assert_eq!(memory.clocks.overdue(at(1010)), [Overdue::Step(0)]);
        assert_eq!(memory.clocks.stage.as_ref().unwrap().clock, Clock::Until(at(1060)));
    }

    #[test]
    fn another_visit_has_a_clock_of_its_own_and_an_ended_run_none() {
        let (workflow, mut memory) = begun();
        memory.clocks.take(0, 1, None, at(0));
        memory.visits.insert("a".to_owned(), 2);
        stand(&workflow, &mut memory, RunState::Running, "a", 20);
        assert_eq!(memory.clocks.steps[&0].clock, Some(Clock::Until(at(25))));
        stand(&workflow, &mut memory, RunState::Running, "b", 21);
        assert!(memory.clocks.steps.is_empty());
        stand(&workflow, &mut memory, RunState::Done, "b", 22);
        assert_eq!(memory.clocks, Clocks::default());
    }
}
