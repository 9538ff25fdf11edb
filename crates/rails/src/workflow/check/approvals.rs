//! Side effects that a run could come to without an approval.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Checker;
use crate::workflow::document::GateDocument;
use crate::workflow::flow::{Edge, Flow, Kind, To};

/// The name of the gate policy that always asks a person, where the policies are not known.
const ASKS: &str = "hitl";

impl Checker<'_> {
    /// Every path to a side effect crosses an approval: leaving a step that approves by `on_success`, a gate that asks a
    /// person, or an escalation, after which only a person's yes leads on.
    pub(super) fn approvals(&mut self) {
        let found = Unapproved::of(self.flow, |at, before| self.asks(at, before));
        for (at, path) in found.effects {
            let shown = path.shown(self.flow);
            self.step_fault(at, "", format!("a path leads to this side effect without an approval: {shown}"));
        }
    }

    fn asks(&self, at: usize, before: bool) -> bool {
        let gates = self.flow.step(at).gates.iter();
        let gates = gates.flat_map(|gates| if before { &gates.before } else { &gates.after });
        gates.filter_map(GateDocument::required).any(|name| match self.catalog.gates {
            Some(known) => known.iter().any(|gate| gate.name == name && gate.asks),
            None => name == ASKS,
        })
    }
}

/// What is come to without an approval, and by which path.
pub(super) struct Unapproved {
    pub(super) effects: BTreeMap<usize, Path>,
}

/// Steps, each with the way by which it was come to.
#[derive(Debug, Clone)]
pub(super) struct Path(Vec<(usize, Option<Kind>)>);

impl Path {
    fn to(&self, at: usize, by: Kind) -> Self {
        let mut path = self.0.clone();
        path.push((at, Some(by)));
        Self(path)
    }

    /// The path, and which of its ways are not plain success.
    fn shown(&self, flow: &Flow<'_>) -> String {
        let steps: Vec<usize> = self.0.iter().map(|(at, _)| *at).collect();
        let by = self.0.windows(2).filter_map(|pair| match (pair[0].0, pair[1].1) {
            (_, None | Some(Kind::Success | Kind::Opens(_))) => None,
            (from, Some(kind)) => Some(format!("{}.{}", flow.id(from), kind.key().replace('/', "."))),
        });
        let by: Vec<String> = by.collect();
        let over = if by.is_empty() { String::new() } else { format!(" (over {})", by.join(", ")) };
        format!("{}{over}", flow.shown(&steps))
    }
}

struct Walk<'a, 'd, A> {
    flow: &'a Flow<'d>,
    asks: A,
    came: BTreeMap<usize, Path>,
    open: VecDeque<usize>,
    /// Branches that end without an approval, by fork.
    ended: BTreeMap<usize, BTreeSet<usize>>,
    effects: BTreeMap<usize, Path>,
}

impl Unapproved {
    pub(super) fn of(flow: &Flow<'_>, asks: impl Fn(usize, bool) -> bool) -> Self {
        let mut walk = Walk {
            flow,
            asks,
            came: BTreeMap::new(),
            open: VecDeque::new(),
            ended: BTreeMap::new(),
            effects: BTreeMap::new(),
        };
        if flow.len() > 0 {
            walk.arrive(0, Path(vec![(0, None)]));
        }
        while let Some(at) = walk.open.pop_front() {
            walk.leave(at);
        }
        Self { effects: walk.effects }
    }
}

impl<A: Fn(usize, bool) -> bool> Walk<'_, '_, A> {
    fn arrive(&mut self, at: usize, path: Path) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.came.entry(at) {
            entry.insert(path);
            self.open.push_back(at);
        }
    }

    fn leave(&mut self, at: usize) {
        let path = self.came[&at].clone();
        let asked = (self.asks)(at, true);
        if !asked {
            self.enter(at, &path);
        }
        for edge in self.flow.edges(at) {
            // What times out may have waited for the gate's answer.
            let before_the_gate = edge.kind.on_arrival() || edge.kind == Kind::Timeout;
            if (!asked || before_the_gate) && !self.approves(at, edge) {
                self.follow(at, edge, &path);
            }
        }
    }

    fn enter(&mut self, at: usize, path: &Path) {
        if self.flow.step(at).side_effect {
            self.effects.entry(at).or_insert_with(|| path.clone());
        }
        if let Some(undo) = self.flow.compensation(at)
            && self.flow.step(undo).side_effect
            && !(self.asks)(undo, true)
        {
            self.effects.entry(undo).or_insert_with(|| path.to(undo, Kind::Compensation));
        }
    }

    fn approves(&self, at: usize, edge: &Edge) -> bool {
        let leaves_well = edge.kind == Kind::Success;
        leaves_well && (self.flow.step(at).approve.is_some() || (self.asks)(at, false))
    }

    fn follow(&mut self, at: usize, edge: &Edge, path: &Path) {
        // A fork succeeds by its branches.
        if edge.kind == Kind::Compensation || (self.flow.is_fork(at) && edge.kind == Kind::Success) {
            return;
        }
        match edge.to {
            To::Step(to) => self.arrive(to, path.to(to, edge.kind)),
            To::Join => self.join(at, path),
            _ => {}
        }
    }

    /// A join is passed without an approval where as many branches as it needs can end without one.
    fn join(&mut self, at: usize, path: &Path) {
        let flow = self.flow;
        for branch in flow.branches.iter().filter(|branch| branch.steps.contains(&at)) {
            let ended = self.ended.entry(branch.fork).or_default();
            ended.insert(branch.number);
            if ended.len() < flow.needed(branch.fork) {
                continue;
            }
            for edge in flow.edges(branch.fork).iter().filter(|edge| edge.kind == Kind::Success) {
                if let To::Step(to) = edge.to {
                    self.arrive(to, path.to(to, Kind::Success));
                }
            }
        }
    }
}
