//! Branches: opening them, and what becomes of the run when they end.

use model::RunState;
use serde_json::json;

use super::GateDecision;
use super::enter::{Arrival, Mode, Passage};
use super::journey::{Journey, Place};
use crate::workflow::{Fork, JoinRule, Target};
use crate::{BranchState, Memory};

/// How many branches of a fork stand how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) done: usize,
    pub(super) open: usize,
    pub(super) all: usize,
}

impl Tally {
    pub(super) fn of(fork: &Fork, memory: &Memory) -> Self {
        let states = || fork.branches.iter().filter_map(|(number, _)| memory.branches.get(number));
        Self {
            done: states().filter(|branch| branch.state == RunState::Done).count(),
            open: states().filter(|branch| branch.state.is_open()).count(),
            all: fork.branches.len(),
        }
    }

    /// Whether the rule is satisfied, or can be no more; `None` while that depends on the open branches.
    pub(super) fn verdict(self, rule: JoinRule) -> Option<bool> {
        let needed = needed(rule, self.all);
        if self.done >= needed {
            return Some(true);
        }
        (self.done + self.open < needed).then_some(false)
    }
}

fn needed(rule: JoinRule, all: usize) -> usize {
    match rule {
        JoinRule::All => all,
        JoinRule::Any => 1,
        JoinRule::AtLeast(least) => usize::try_from(least).unwrap_or(usize::MAX),
    }
}

impl Journey<'_> {
    /// Opens every branch. Where one cannot be entered (an approval, a budget), none is, and the run is held at the fork.
    pub(super) fn open(&mut self, fork: &Fork) -> Passage {
        let firsts: Vec<(i32, String)> = fork.branches.clone();
        self.open_these(fork, &firsts, Mode::Usual)
    }

    /// Opens again the branches that did not succeed, each where it stood.
    pub(super) fn reopen(&mut self, fork: &Fork) -> Passage {
        let branches = &self.beyond.memory.branches;
        let stood = fork.branches.iter().map(|(number, first)| {
            let branch = branches.get(number);
            let done = branch.is_some_and(|branch| branch.state == RunState::Done);
            let step = branch.map_or(first, |branch| &branch.step);
            (!done).then(|| (*number, step.clone()))
        });
        let stood: Vec<_> = stood.flatten().collect();
        self.open_these(fork, &stood, Mode::Again)
    }

    fn open_these(&mut self, fork: &Fork, these: &[(i32, String)], mode: Mode) -> Passage {
        let before = self.beyond.clone();
        for (number, first) in these {
            let arrival = self.arrive(*number, &Target::Step(first.clone()), mode);
            let place = match arrival {
                Arrival::Stands(place) if place.state == RunState::Running => place,
                Arrival::Stands(place) => {
                    let held = std::mem::replace(&mut self.beyond, before);
                    // It is to their visits which begin now that a person grants more.
                    self.beyond.memory.spent_before = held.memory.spent_before;
                    self.beyond.memory.granted_to = held.memory.granted_to;
                    self.beyond.wants.add(held.wants);
                    self.beyond.answer = held.answer;
                    self.beyond.shut = held.shut;
                    return Passage::Stop(Arrival::Stands(Place { step: fork.id.clone(), ..place }));
                }
                Arrival::Joined => Place::ended(RunState::Done, first, "there already".to_owned()),
                Arrival::Died(reason) => {
                    self.beyond.letters.push(format!("branch {number} of `{}`: {reason}", fork.id));
                    Place::ended(RunState::Dead, first, reason)
                }
                ended @ Arrival::Ended { .. } => return Passage::Stop(ended),
            };
            if place.state == RunState::Running {
                self.beyond.opens.push((*number, place.step.clone()));
            }
            let branch = BranchState { fork: fork.id.clone(), state: place.state, step: place.step };
            self.memory().branches.insert(*number, branch);
        }
        match self.decided(fork) {
            Some(passage) => passage,
            None => Passage::Stop(Arrival::Stands(Place::running(&fork.id))),
        }
    }

    /// What a branch's end makes of the run; `None` while its join is open.
    pub(super) fn join(&mut self, branch: i32) -> Option<Place> {
        let workflow = self.workflow;
        let fork = workflow.fork(&self.fork_of(branch))?;
        let arrival = match self.decided(fork)? {
            Passage::Stop(arrival) => arrival,
            Passage::On(target) => self.arrive(0, &target, Mode::Usual),
        };
        Some(self.settle(arrival, &fork.id))
    }

    /// Decides a join by its rule, and closes what is open.
    fn decided(&mut self, fork: &Fork) -> Option<Passage> {
        let tally = Tally::of(fork, &self.beyond.memory);
        let satisfied = tally.verdict(fork.join)?;
        self.gates.push(GateDecision {
            rule: format!("join of {}", fork.id),
            held: Some(satisfied),
            values: json!({ "rule": fork.join, "done": tally.done, "open": tally.open, "branches": tally.all }),
        });
        for (number, _) in &fork.branches {
            self.close(*number);
        }
        Some(match &fork.on_failure {
            _ if satisfied => Passage::On(fork.on_success.clone()),
            Some(Target::Continue) => {
                self.memory().degraded.insert(fork.id.clone());
                Passage::On(fork.on_success.clone())
            }
            Some(target) => Passage::On(target.clone()),
            None => {
                let needed = needed(fork.join, tally.all);
                let reason =
                    format!("`{}` needs {needed} branches that succeed, and {} did", fork.id, tally.done);
                Passage::Stop(Arrival::Died(reason))
            }
        })
    }

    /// Ends a branch that is open, without a say.
    fn close(&mut self, number: i32) {
        let Some(branch) = self.beyond.memory.branches.get_mut(&number).filter(|b| b.state.is_open()) else {
            return;
        };
        branch.state = RunState::Cancelled;
        let step = branch.step.clone();
        self.memory().leaving.remove(&number);
        self.release(&step);
        self.memory().waits_since.remove(&step);
        self.memory().wanted.remove(&step);
        let opened = self.beyond.opens.len();
        self.beyond.opens.retain(|(opening, _)| *opening != number);
        if self.beyond.opens.len() == opened {
            self.beyond.closes.push(number);
        }
    }

    /// Every open branch ends with the run.
    pub(super) fn close_all(&mut self) {
        let numbers: Vec<i32> = self.beyond.memory.branches.keys().copied().collect();
        for number in numbers {
            self.close(number);
        }
    }

    pub(super) fn note_branch(&mut self, number: i32, place: &Place) {
        if let Some(branch) = self.memory().branches.get_mut(&number) {
            branch.state = place.state;
            branch.step.clone_from(&place.step);
        }
    }

    pub(super) fn fork_of(&self, branch: i32) -> String {
        self.beyond.memory.branches.get(&branch).map_or_else(String::new, |branch| branch.fork.clone())
    }
}
