//! Where ways lead, and whether every step is come to.

use model::RunState;

use super::Checker;
use crate::issue;
use crate::workflow::document::CONTINUE;
use crate::workflow::flow::{Kind, To};

impl Checker<'_> {
    pub(super) fn targets(&mut self) {
        for at in 0..self.flow.len() {
            let step = self.flow.step(at);
            for branch in step.branches.iter().enumerate() {
                if let (number, Err(message)) = (branch.0, branch.1.target()) {
                    self.step_fault(at, &format!("branches/{number}"), message);
                }
                if let Some(reserved) = branch.1.escalate.as_deref().and_then(issue::reserved) {
                    self.step_fault(at, &format!("branches/{}/escalate", branch.0), reserved);
                }
            }
            for edge in self.flow.edges(at) {
                let key = match edge.kind {
                    // It leads where success does, and that is named there.
                    Kind::Skipped => continue,
                    kind => kind.key(),
                };
                match &edge.to {
                    To::Nowhere(id) if id == CONTINUE => {
                        self.step_fault(at, &key, "`continue` is for on_failure and on_timeout alone");
                    }
                    To::Nowhere(id) => {
                        self.step_fault(at, &key, format!("it leads to `{id}`, which is no step"));
                    }
                    To::End(state) if state.is_open() => {
                        self.step_fault(at, &key, format!("`{state}` is no end"));
                    }
                    To::End(RunState::Published) if !step.side_effect => {
                        self.step_fault(at, &key, "only a step with side_effect can end a run as published");
                    }
                    _ => {}
                }
            }
            self.undoing(at);
        }
    }

    fn undoing(&mut self, at: usize) {
        match self.flow.compensation(at) {
            Some(undoes) if undoes == at => {
                self.step_fault(at, "compensate_with", "a step cannot undo itself");
            }
            Some(undoes) if self.flow.is_fork(undoes) => {
                self.step_fault(at, "compensate_with", "a parallel step undoes nothing");
            }
            _ => {}
        }
    }

    pub(super) fn reachable(&mut self) {
        let reachable = self.flow.reachable();
        for at in (0..self.flow.len()).filter(|at| !reachable.contains(at)) {
            self.step_fault(at, "", "no path leads here");
        }
        // A way that leads nowhere may have been meant to end.
        let leaves = |at: usize| {
            let mut edges = self.flow.edges(at).iter();
            edges.any(|edge| matches!(edge.to, To::End(_) | To::Reject(_) | To::Nowhere(_)))
        };
        let ends = |at: &usize| leaves(*at) || self.flow.joined(*at).any(leaves);
        if !reachable.iter().any(ends) {
            self.fault("steps", "no path ends: the workflow has no terminal state");
            return;
        }
        for at in reachable.iter().filter(|at| !self.flow.is_undoing(**at)) {
            let on = self.flow.reached([*at], |at| self.flow.after(at));
            if !on.iter().any(ends) {
                self.step_fault(*at, "", "no path from here ends");
            }
        }
    }
}
