//! Loops without a bound.

use std::collections::BTreeSet;

use super::Checker;
use crate::workflow::flow::{Flow, Kind, To};

impl Checker<'_> {
    /// Each loop in which no step counts its visits, or only steps whose way out when exhausted is part of the loop.
    pub(super) fn loops(&mut self) {
        let mut told = BTreeSet::new();
        for at in 0..self.flow.len() {
            if told.contains(&at) {
                continue;
            }
            if let Some(path) = self.flow.path(at, at, |at| self.flow.uncounted(at)) {
                told.extend(path.iter().copied());
                let shown = self.flow.shown(&path);
                self.step_fault(
                    at,
                    "",
                    format!("a loop without a bound: {shown}; give one of its steps max_visits"),
                );
            }
        }
    }
}

impl Flow<'_> {
    /// Where a run can go from here without spending a visit of a bounded step or a round of quality assurance.
    pub(crate) fn uncounted(&self, at: usize) -> Vec<usize> {
        let bounded = self.step(at).max_visits.is_some();
        let edges = self.edges(at).iter().filter(|edge| !bounded || edge.kind.on_arrival());
        let free =
            edges.filter(|edge| !matches!(edge.kind, Kind::Quality | Kind::Opens(_) | Kind::Compensation));
        free.filter_map(|edge| if let To::Step(to) = edge.to { Some(to) } else { None }).collect()
    }
}
