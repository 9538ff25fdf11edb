//! Arriving somewhere: counting visits, passing what is there already, and what must hold before a step is entered.

use model::{Lifecycle, RunState};
use serde_json::json;

use super::journey::{Journey, Place};
use super::{Escalation, GateDecision};
use crate::workflow::{Step, Target};

/// The issue type of an escalation over content that changed after its approval, or never had one.
pub(crate) const APPROVAL_LOST: &str = "approval_lost";

/// How many steps may be passed in one transition. What passes more goes in a circle.
const MOST_PASSED: usize = 1000;

/// How somebody comes to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// From the step before.
    Usual,
    /// By a person's order: it is not passed, whatever is there already.
    Ordered,
    /// The run begins there: its visit is counted already.
    Begun,
    /// It was come to before, and something stood in the way: the visit is counted already.
    Again,
}

/// What came of going to a target.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Arrival {
    /// The lane stands there: running, or held before it is entered.
    Stands(Place),
    /// The branch is done.
    Joined,
    /// The run ends.
    Ended {
        /// How.
        state: RunState,
        /// Why, where that is more than the target.
        reason: Option<String>,
    },
    /// The lane dies of this.
    Died(String),
}

/// What came of arriving at one step or fork.
pub(super) enum Passage {
    Stop(Arrival),
    On(Target),
}

impl Journey<'_> {
    pub(crate) fn arrive(&mut self, lane: i32, target: &Target, mode: Mode) -> Arrival {
        let (mut target, mut mode) = (target.clone(), mode);
        for _ in 0..MOST_PASSED {
            let passage = match &target {
                Target::Step(id) => self.come_to(lane, id, mode),
                Target::End(state) => return Arrival::Ended { state: self.at.end(*state), reason: None },
                Target::Join if lane != 0 => return Arrival::Joined,
                Target::Join | Target::Continue => {
                    return Arrival::Died("there is no such way out".to_owned());
                }
                Target::Reject { incident } => {
                    return Arrival::Ended { state: RunState::Rejected, reason: Some(incident.clone()) };
                }
                Target::Escalate { issue_type, .. } => {
                    return Arrival::Died(format!("{issue_type}: only a condition can ask a person"));
                }
            };
            match passage {
                Passage::Stop(arrival) => return arrival,
                Passage::On(next) => (target, mode) = (next, Mode::Usual),
            }
        }
        Arrival::Died(format!("it passed {MOST_PASSED} steps and entered none: it goes in a circle"))
    }

    fn come_to(&mut self, lane: i32, id: &str, mode: Mode) -> Passage {
        self.memory().leaving.remove(&lane);
        let workflow = self.workflow;
        if let Some(fork) = workflow.fork(id) {
            if lane != 0 {
                return Passage::Stop(Arrival::Died(format!("`{id}` opens branches inside of a branch")));
            }
            return match self.bounded(id, fork.max_visits, fork.on_exhausted.as_ref(), &fork.on_success, mode)
            {
                Some(passage) => passage,
                None => self.open(fork),
            };
        }
        let Some(step) = workflow.step(id) else {
            return Passage::Stop(Arrival::Died(format!("`{id}` is no step")));
        };
        let exhausted = self.bounded(id, step.max_visits, step.on_exhausted.as_ref(), &step.on_success, mode);
        if let Some(passage) = exhausted {
            return passage;
        }
        if matches!(mode, Mode::Usual | Mode::Begun) && self.is_there(step) {
            return Passage::On(step.on_success.clone());
        }
        Passage::Stop(self.enter(lane, step))
    }

    /// Counts a visit. One more than may be goes to `on_exhausted`, or is the end.
    pub(super) fn bounded(
        &mut self,
        id: &str,
        most: Option<u32>,
        on_exhausted: Option<&Target>,
        on_success: &Target,
        mode: Mode,
    ) -> Option<Passage> {
        if matches!(mode, Mode::Again | Mode::Begun) {
            return None;
        }
        let visits = self.memory().visits.entry(id.to_owned()).or_default();
        *visits = visits.saturating_add(1);
        let visits = *visits;
        self.memory().begin_visit(id);
        if let Some(so_far) = self.memory().orchestrations.get_mut(id) {
            so_far.begin_visit();
        }
        let most = most.filter(|most| visits > *most)?;
        self.gates.push(GateDecision {
            rule: format!("max_visits of {id}"),
            held: Some(true),
            values: json!({ "visits": visits, "max_visits": most }),
        });
        Some(match on_exhausted {
            Some(Target::Continue) => {
                self.memory().degraded.insert(id.to_owned());
                Passage::On(on_success.clone())
            }
            Some(target) => Passage::On(target.clone()),
            None => {
                let reason = format!("`{id}` was come to {visits} times, and its max_visits is {most}");
                Passage::Stop(Arrival::Died(reason))
            }
        })
    }

    /// Whether what the step would make is there already. Passing it so approves nothing.
    fn is_there(&mut self, step: &Step) -> bool {
        let Some(name) = &step.skip_if_exists else { return false };
        let memory = &self.beyond.memory;
        let there = if name.starts_with('/') {
            memory.board.pointer(name).is_some_and(|value| !value.is_null())
        } else {
            memory.artifacts.contains(name) || (name == "content" && self.at.content.is_some())
        };
        if there {
            self.gates.push(GateDecision {
                rule: format!("skip_if_exists of {}", step.id),
                held: Some(true),
                values: json!({ name.as_str(): true }),
            });
        }
        there
    }

    /// Stands at the step: with a job, or held before it by a gate, a lost approval, taint or a budget.
    pub(crate) fn enter(&mut self, lane: i32, step: &Step) -> Arrival {
        if let Some(arrival) = self.pass(step, &step.gates_before) {
            return arrival;
        }
        Arrival::Stands(self.admit(lane, step))
    }

    /// Stands at the step, past its gates.
    fn admit(&mut self, lane: i32, step: &Step) -> Place {
        self.cover_call(step);
        if step.side_effect && (!self.is_approved() || self.holds_a_call()) {
            return self.approval_lost(step);
        }
        if step.side_effect && !self.at.dry_run {
            let tainted = self.acts_on(step);
            if !tainted.is_empty() {
                return self.tainted(step, &tainted);
            }
        }
        if step.approves && self.lifecycle == Lifecycle::Draft {
            self.lifecycle = Lifecycle::Qa;
        }
        if !self.is_ending()
            && let Err(overrun) = self.reserve(lane, step)
        {
            return Place {
                state: RunState::Parked,
                step: step.id.clone(),
                reason: Some(format!("{}: {}", overrun.issue_type, overrun.question)),
                escalation: Some(*overrun),
            };
        }
        // Time in which a person was asked, or another life, is none of waiting for what is out.
        self.memory().waits_since.remove(&step.id);
        Place::running(&step.id)
    }

    pub(super) fn is_approved(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Approved | Lifecycle::Published)
    }

    /// Whether what would be published is the call of a tool, since the blackboard makes no content.
    fn holds_a_call(&self) -> bool {
        let content = self.beyond.content.as_ref().map(|content| content.sha256).or(self.at.content);
        content.is_some() && content == self.beyond.memory.called
    }

    fn approval_lost(&self, step: &Step) -> Place {
        let question = format!(
            "`{}` acts on the world outside, and the content as it is now has no approval. May it go out as it is?",
            step.id
        );
        Place {
            state: RunState::Waiting,
            step: step.id.clone(),
            reason: Some(format!("{APPROVAL_LOST}: {question}")),
            escalation: Some(Escalation {
                issue_type: APPROVAL_LOST.to_owned(),
                question,
                rule: Some(format!("{} has a side effect", step.id)),
                values: json!({ "lifecycle": self.lifecycle, "content": self.content_digest() }),
                threshold: None,
                due: step.escalation_due,
            }),
        }
    }
}
