//! Forks and their joins.

use std::collections::BTreeSet;

use super::Checker;
use crate::workflow::JoinRule;
use crate::workflow::flow::{ForkBranch, Kind, To};

impl Checker<'_> {
    pub(super) fn joins(&mut self) {
        for at in 0..self.flow.len() {
            if let Some(parallel) = &self.flow.step(at).parallel {
                let count = parallel.branches.len();
                if count == 0 {
                    self.step_fault(
                        at,
                        "parallel/branches",
                        "it has no branches, so its join can never fire",
                    );
                }
                if let JoinRule::AtLeast(needed) = parallel.join {
                    self.at_least(at, needed, count);
                }
            }
        }
        let trunk = self.flow.trunk();
        for branch in &self.flow.branches {
            self.branch(branch, &trunk);
        }
        for (number, branch) in self.flow.branches.iter().enumerate() {
            for other in &self.flow.branches[..number] {
                self.apart(branch, other);
            }
        }
        self.outside(&trunk);
    }

    fn at_least(&mut self, at: usize, needed: u32, count: usize) {
        let key = "parallel/join";
        if needed == 0 {
            self.step_fault(at, key, "at_least 0 would go on before any branch is done");
        } else if usize::try_from(needed).is_ok_and(|needed| needed > count) {
            let message = format!("at_least {needed} of {count} branches: this join can never fire");
            self.step_fault(at, key, message);
        }
    }

    fn branch(&mut self, branch: &ForkBranch, trunk: &BTreeSet<usize>) {
        let flow = self.flow;
        let key = Kind::Opens(branch.number).key();
        let Some(first) = flow.first(branch) else { return };
        let within = |at: usize| flow.within(at).collect::<Vec<_>>();
        if let Some(fork) = branch.steps.iter().find(|at| flow.is_fork(**at)) {
            let path = flow.path(first, *fork, within).unwrap_or_else(|| vec![first]);
            let shown = flow.shown(&path);
            self.step_fault(
                branch.fork,
                &key,
                format!("a branch contains a fork: {shown}; branches do not fork again"),
            );
        }
        if let Some(outside) = branch.steps.iter().find(|at| trunk.contains(at)) {
            let path = flow.path(first, *outside, within).unwrap_or_else(|| vec![first]);
            let shown = flow.shown(&path);
            self.step_fault(
                branch.fork,
                &key,
                format!("the branch leaves its fork without `join`: {shown}, which the run comes to outside of branches"),
            );
        }
        if !branch.steps.iter().any(|at| flow.joins(*at)) {
            let shown = flow.shown(&[first]);
            self.step_fault(
                branch.fork,
                &key,
                format!(
                    "no path of the branch that begins with `{shown}` reaches `join`, so it can never count"
                ),
            );
        }
    }

    fn apart(&mut self, branch: &ForkBranch, other: &ForkBranch) {
        if let Some(shared) = branch.steps.iter().find(|at| other.steps.contains(at)) {
            let shared = self.flow.id(*shared);
            let theirs = self.flow.first(other).map_or("", |at| self.flow.id(at));
            let fork = self.flow.id(other.fork);
            self.step_fault(
                branch.fork,
                &Kind::Opens(branch.number).key(),
                format!("the step `{shared}` is also in the branch `{theirs}` of `{fork}`; branches share no steps"),
            );
        }
    }

    /// `join` is the way out of a branch alone.
    fn outside(&mut self, trunk: &BTreeSet<usize>) {
        let flow = self.flow;
        let inside: BTreeSet<usize> =
            flow.branches.iter().flat_map(|branch| &branch.steps).copied().collect();
        for at in (0..flow.len()).filter(|at| trunk.contains(at) || !inside.contains(at)) {
            for edge in flow.edges(at).iter().filter(|edge| edge.to == To::Join && edge.kind != Kind::Skipped)
            {
                self.step_fault(
                    at,
                    &edge.kind.key(),
                    "`join` is the way out of a branch, and this step is in none",
                );
            }
        }
    }
}

impl crate::workflow::flow::Flow<'_> {
    /// The first step of a branch.
    fn first(&self, branch: &ForkBranch) -> Option<usize> {
        self.edges(branch.fork).iter().find_map(|edge| match edge.to {
            To::Step(to) if edge.kind == Kind::Opens(branch.number) => Some(to),
            _ => None,
        })
    }

    /// Whether it is only there to undo another.
    pub(super) fn is_undoing(&self, at: usize) -> bool {
        (0..self.len()).any(|step| self.compensation(step) == Some(at))
    }
}
