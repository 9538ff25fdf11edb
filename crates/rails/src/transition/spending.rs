//! Budgets: what a try spent, what is set aside for the next, and the question when nothing is left.

use std::collections::BTreeMap;

use model::{RetryClass, RunState, Usage};
use serde_json::json;

use super::change::Said;
use super::enter::{Arrival, Mode};
use super::heading::{Course, Heading};
use super::journey::{Journey, Place};
use super::{Escalation, Signal, Standing, Transition};
use crate::workflow::{Step, Workflow};
use crate::{Allowance, Budget, Facts, Memory};

/// The issue type of an escalation over a budget that is used up.
pub(crate) const BUDGET_OVERRUN: &str = "budget_overrun";

impl Memory {
    /// What the step's next try may spend: what is left of its own budget and of the run's, without what is set aside for
    /// other steps under way.
    #[must_use]
    pub fn left(&self, workflow: &Workflow, step: &Step) -> Budget {
        self.left_to_step(step).both(&self.left_to_run(workflow, Some(&step.id)))
    }

    fn left_to_step(&self, step: &Step) -> Budget {
        let of = |spent: &BTreeMap<String, Usage>| -> Allowance {
            spent.get(&step.id).copied().unwrap_or_default().into()
        };
        let granted = self.granted_to.get(&step.id).copied().unwrap_or_default();
        step.budget.left(granted + of(&self.spent_before), of(&self.spent))
    }

    /// A visit of the step begins: its own budget is whole again, and what was granted to an earlier visit is gone with that.
    /// Where nothing was spent since the last one began, what was granted then is for this one.
    pub(super) fn begin_visit(&mut self, step: &str) {
        let Some(spent) = self.spent.get(step) else { return };
        if self.spent_before.insert(step.to_owned(), *spent) != Some(*spent) {
            self.granted_to.remove(step);
        }
    }

    /// The first of what a step needs that this does not suffice for.
    fn short(&self, step: &Step, left: Budget) -> Option<&'static str> {
        left.short(self.wanted.get(&step.id).copied().unwrap_or_default())
    }

    fn left_to_run(&self, workflow: &Workflow, step: Option<&str>) -> Budget {
        let others = self.reserved.iter().filter(|(id, _)| Some(id.as_str()) != step);
        let gone = others.fold(Allowance::from(self.used), |gone, (_, allowance)| gone + *allowance);
        workflow.budget().left(self.granted, gone)
    }

    /// Sets aside what the step's next try may spend, of what its own budget counts.
    fn reserve(&mut self, step: &Step, left: Budget) {
        if !step.budget.is_unbounded() {
            self.reserved.insert(step.id.clone(), left.of_what(&step.budget).into());
        }
    }

    /// Sets aside what the first step may spend.
    pub(crate) fn reserve_first(&mut self, workflow: &Workflow) {
        if let Some(step) = workflow.step(workflow.first_step()) {
            let left = self.left(workflow, step);
            self.reserve(step, left);
        }
    }
}

impl Journey<'_> {
    /// Adds what the try spent, a failed one as well.
    pub(super) fn spend(&mut self, step: &Step, signal: &Signal<'_>, usage: Usage) {
        let spent = match signal {
            Signal::Failed { failure } if usage == Usage::default() => failure.usage,
            _ => usage,
        };
        if spent == Usage::default() {
            return;
        }
        let memory = self.memory();
        memory.used = memory.used + spent;
        let of_step = memory.spent.entry(step.id.clone()).or_default();
        *of_step = *of_step + spent;
    }

    /// A try ended for want of this much: no other begins before there is as much. `None` where there is, or where the run is
    /// being undone, which asks nobody.
    pub(super) fn lacks(&mut self, step: &Step, signal: &Signal<'_>) -> Option<Course> {
        let Signal::Failed { failure } = signal else { return None };
        let RetryClass::OverBudget(wanted) = failure.class else { return None };
        self.memory().wanted.insert(step.id.clone(), wanted.into());
        let memory = &self.beyond.memory;
        memory.short(step, memory.left(self.workflow, step)).filter(|_| !self.is_ending())?;
        Some(Course::stay(Transition::stay(&self.at, RunState::Running, failure.reason.clone())))
    }

    /// Nothing more is set aside for the step.
    pub(super) fn release(&mut self, step: &str) {
        self.memory().reserved.remove(step);
    }

    /// Sets aside what the step may spend; fails closed.
    pub(super) fn reserve(&mut self, lane: i32, step: &Step) -> Result<(), Box<Escalation>> {
        let left = self.beyond.memory.left(self.workflow, step);
        let spends = step.role.is_some() || !step.budget.is_unbounded();
        let permitted = self.beyond.memory.finishing && !spends;
        if let Some(what) = self.beyond.memory.short(step, left).filter(|_| !permitted) {
            self.release(&step.id);
            return Err(Box::new(self.overrun(step, what)));
        }
        self.memory().reserve(step, left);
        let held = self.reserve_beyond(lane, step, permitted);
        if held.is_err() {
            self.release(&step.id);
        }
        held
    }

    /// The step is tried again, or later; after a failure or a refused patch only while there is something left to spend.
    pub(super) fn again(mut self, step: &Step, retry: Transition, failed: bool) -> Transition {
        let lane = self.at.branch;
        let refused = if self.is_ending() {
            None
        } else if failed {
            self.reserve(lane, step).err()
        } else {
            self.reserve_beyond(lane, step, true).err()
        };
        let Some(overrun) = refused else {
            let (delay, attempt) = (retry.delay, retry.attempt);
            let place = Place { reason: Some(retry.reason.clone()), ..Place::running(&step.id) };
            let transition = self.stand(retry, Arrival::Stands(place));
            return Transition { delay, attempt, ..transition };
        };
        let place = Place {
            state: RunState::Parked,
            step: step.id.clone(),
            reason: Some(format!("{}: {}", overrun.issue_type, retry.reason)),
            escalation: Some(*overrun),
        };
        let attempt = retry.attempt;
        Transition { attempt, ..self.stand(retry, Arrival::Stands(place)) }
    }

    /// A person grants more, as much again where nothing is said: to what is used up, be it the step's budget or the run's.
    /// Branches that could not be opened together lack of the run's.
    pub(crate) fn granted(mut self, more: Option<Budget>, cheaper: bool) -> Self {
        let workflow = self.workflow;
        let fork = workflow.fork(self.at.step);
        let waiting: Vec<&str> = match fork {
            Some(fork) => fork.branches.iter().map(|(_, first)| first.as_str()).collect(),
            None => vec![self.at.step],
        };
        let memory = self.memory();
        memory.cheaper |= cheaper;
        let of_run = memory.left_to_run(workflow, None);
        let lacks = |id: &&str| workflow.step(id).is_some_and(|step| memory.short(step, of_run).is_some());
        if fork.is_some() || waiting.iter().any(lacks) {
            memory.granted = memory.granted + Allowance::from(more.unwrap_or(*workflow.budget()));
        }
        for step in waiting.iter().filter_map(|id| workflow.step(id)) {
            if memory.short(step, memory.left_to_step(step)).is_some() {
                let granted = memory.granted_to.entry(step.id.clone()).or_default();
                *granted = *granted + Allowance::from(more.unwrap_or(step.budget));
            }
        }
        self.grant_beyond(&waiting, more);
        self
    }

    /// The run goes on without the step before which a budget was used up: with its fallback, where it has one. Of a fork it
    /// goes on as if its branches had been joined.
    pub(crate) fn without(mut self, at: &Standing<'_>, words: &str) -> Transition {
        let workflow = self.workflow;
        let base = Transition::stay(at, RunState::Running, words);
        self.memory().degraded.insert(at.step.to_owned());
        self.memory().finishing = true;
        let Some(step) = workflow.step(at.step) else {
            let on_success = workflow.fork(at.step).map(|fork| fork.on_success.clone());
            let arrival = match on_success {
                Some(target) => self.arrive(at.branch, &target, Mode::Usual),
                None => Arrival::Died(format!("`{}` is no step", at.step)),
            };
            return self.stand(base, arrival);
        };
        if !step.fallback.is_null() {
            let facts = Facts::default();
            let read = step.condition_inputs.iter().cloned();
            let Some(artifacts) = self.handed(read, &BTreeMap::new()) else {
                return self.stays(base);
            };
            let said = Said { output: &step.fallback, patch: None, artifacts: &artifacts, facts: &facts };
            if let Err(why) = self.change(step, step.capability.as_ref(), &said) {
                let reason = format!("its fallback is refused: {why}");
                return self.over(Transition::die(at, reason));
            }
            self.beyond.output = Some(step.fallback.clone());
        }
        self.go(
            step,
            Heading { reason: Some(words.to_owned()), failed: true, ..Heading::to(&step.on_success) },
        )
    }

    fn overrun(&self, step: &Step, what: &str) -> Escalation {
        let memory = &self.beyond.memory;
        let spent = memory.spent.get(&step.id).copied().unwrap_or_default();
        let whose = if memory.short(step, memory.left_to_step(step)).is_some() { "step" } else { "run" };
        Escalation {
            issue_type: BUDGET_OVERRUN.to_owned(),
            question: format!(
                "Before `{}` the budget of {what} of the {whose} does not suffice any more. Shall it be topped up, go on \
                 topped up with a cheaper model, finish with what is there, or stop?",
                step.id
            ),
            rule: Some(format!("budget of the {whose}")),
            values: json!({
                "used": memory.used,
                "spent_by_step": spent,
                "reserved": memory.reserved,
                "wanted": memory.wanted.get(&step.id),
            }),
            threshold: Some(json!({ "run": limits(self.workflow.budget()), "step": limits(&step.budget) })),
            due: step.escalation_due,
        }
    }
}

pub(super) fn limits(budget: &Budget) -> serde_json::Value {
    json!({
        "tokens": budget.tokens,
        "cost_micros": budget.cost_micros,
        "millis": budget.time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
    })
}
