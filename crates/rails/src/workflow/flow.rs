//! The graph that a document draws. The checks, the worst case and the drawings all walk this one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::RunState;

use super::document::{Document, StepDocument, TargetDocument};
use super::{JoinRule, Target};

/// The steps of a document by their place in it, and the ways between them.
#[derive(Debug)]
pub(crate) struct Flow<'a> {
    pub(crate) document: &'a Document,
    index: BTreeMap<&'a str, usize>,
    edges: Vec<Vec<Edge>>,
    /// The branches of all forks.
    pub(crate) branches: Vec<ForkBranch>,
}

/// A way out of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) kind: Kind,
    pub(crate) to: To,
}

/// When a way is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The condition of this number holds.
    Condition(usize),
    Success,
    Failure,
    Timeout,
    /// It was entered as often as it may be.
    Exhausted,
    /// What it makes is there.
    Skipped,
    /// A fork opens its branch of this number.
    Opens(usize),
    /// An orchestrator asks for quality assurance.
    Quality,
    /// The run fails later.
    Compensation,
}

/// Where a way leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    Step(usize),
    /// What it names is no step.
    Nowhere(String),
    Join,
    End(RunState),
    Reject(String),
    Escalate(String),
}

/// A branch of a fork, with the steps that it can come to before it joins.
#[derive(Debug)]
pub(crate) struct ForkBranch {
    pub(crate) fork: usize,
    pub(crate) number: usize,
    pub(crate) steps: BTreeSet<usize>,
}

impl Kind {
    /// The key of the document that says so.
    pub(crate) fn key(self) -> String {
        match self {
            Self::Condition(number) => format!("branches/{number}"),
            Self::Success => "on_success".to_owned(),
            Self::Failure => "on_failure".to_owned(),
            Self::Timeout => "on_timeout".to_owned(),
            Self::Exhausted => "on_exhausted".to_owned(),
            Self::Skipped => "skip_if_exists".to_owned(),
            Self::Opens(number) => format!("parallel/branches/{number}"),
            Self::Quality => "orchestrate/qa".to_owned(),
            Self::Compensation => "compensate_with".to_owned(),
        }
    }

    /// Whether it is taken on arriving, before the step's gates and without counting a visit.
    pub(crate) fn on_arrival(self) -> bool {
        matches!(self, Self::Exhausted | Self::Skipped)
    }
}

impl<'a> Flow<'a> {
    pub(crate) fn of(document: &'a Document) -> Self {
        let mut index = BTreeMap::new();
        for (number, step) in document.steps.iter().enumerate() {
            index.entry(step.id.as_str()).or_insert(number);
        }
        let edges = document.steps.iter().map(|step| edges(step, &index)).collect();
        let mut flow = Self { document, index, edges, branches: vec![] };
        flow.branches = flow.find_branches();
        flow
    }

    fn find_branches(&self) -> Vec<ForkBranch> {
        let mut found = Vec::new();
        for fork in 0..self.len() {
            for edge in &self.edges[fork] {
                if let (Kind::Opens(number), To::Step(first)) = (edge.kind, &edge.to) {
                    let steps = self.reached([*first], |at| self.within(at));
                    found.push(ForkBranch { fork, number, steps });
                }
            }
        }
        found
    }

    pub(crate) fn len(&self) -> usize {
        self.edges.len()
    }

    pub(crate) fn step(&self, at: usize) -> &'a StepDocument {
        &self.document.steps[at]
    }

    pub(crate) fn id(&self, at: usize) -> &'a str {
        &self.document.steps[at].id
    }

    pub(crate) fn at(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    pub(crate) fn edges(&self, at: usize) -> &[Edge] {
        &self.edges[at]
    }

    pub(crate) fn is_fork(&self, at: usize) -> bool {
        self.step(at).parallel.is_some()
    }

    /// How many branches of a fork must succeed.
    pub(crate) fn needed(&self, fork: usize) -> usize {
        let Some(parallel) = &self.step(fork).parallel else { return 0 };
        match parallel.join {
            JoinRule::All => parallel.branches.len(),
            JoinRule::Any => 1,
            JoinRule::AtLeast(count) => usize::try_from(count).unwrap_or(usize::MAX),
        }
    }

    /// The steps that a run at one goes to without opening branches or joining.
    pub(crate) fn within(&self, at: usize) -> impl Iterator<Item = usize> {
        self.edges[at].iter().filter_map(|edge| match (edge.kind, &edge.to) {
            (Kind::Opens(_) | Kind::Compensation, _) => None,
            (_, To::Step(to)) => Some(*to),
            _ => None,
        })
    }

    /// The steps that come after one: within, into the branches of a fork, and from the ends of branches on.
    pub(crate) fn after(&self, at: usize) -> BTreeSet<usize> {
        let mut next: BTreeSet<usize> = self.within(at).collect();
        next.extend(self.edges[at].iter().filter_map(|edge| match (edge.kind, &edge.to) {
            (Kind::Opens(_), To::Step(to)) => Some(*to),
            _ => None,
        }));
        next.extend(self.joined(at).flat_map(|fork| self.within(fork)));
        next
    }

    /// The forks whose join a step comes to.
    pub(crate) fn joined(&self, at: usize) -> impl Iterator<Item = usize> {
        let joins = self.joins(at);
        let branches = self.branches.iter().filter(move |branch| joins && branch.steps.contains(&at));
        branches.map(|branch| branch.fork)
    }

    pub(crate) fn joins(&self, at: usize) -> bool {
        self.edges[at].iter().any(|edge| edge.to == To::Join)
    }

    /// What is reached from some steps on, those among them.
    pub(crate) fn reached<I: IntoIterator<Item = usize>>(
        &self,
        from: impl IntoIterator<Item = usize>,
        next: impl Fn(usize) -> I,
    ) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut open: Vec<usize> = from.into_iter().collect();
        while let Some(at) = open.pop() {
            if seen.insert(at) {
                open.extend(next(at));
            }
        }
        seen
    }

    /// What a run can come to, compensations with it.
    pub(crate) fn reachable(&self) -> BTreeSet<usize> {
        let mut seen = self.reached((self.len() > 0).then_some(0), |at| self.after(at));
        let undone: Vec<usize> = seen.iter().filter_map(|at| self.compensation(*at)).collect();
        seen.extend(undone);
        seen
    }

    pub(crate) fn compensation(&self, at: usize) -> Option<usize> {
        self.step(at).compensate_with.as_deref().and_then(|id| self.at(id))
    }

    /// The steps of the trunk: what a run comes to outside of branches.
    pub(crate) fn trunk(&self) -> BTreeSet<usize> {
        self.reached((self.len() > 0).then_some(0), |at| self.within(at))
    }

    /// The steps from which a path of at least one way leads to a step.
    pub(crate) fn before(&self, at: usize) -> BTreeSet<usize> {
        let leads = |to: usize| (0..self.len()).filter(move |from| self.after(*from).contains(&to));
        self.reached(leads(at), leads)
    }

    /// A shortest path, its ends with it.
    pub(crate) fn path(
        &self,
        from: usize,
        to: usize,
        next: impl Fn(usize) -> Vec<usize>,
    ) -> Option<Vec<usize>> {
        let mut came = BTreeMap::new();
        let mut open = VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            for step in next(at) {
                if came.contains_key(&step) {
                    continue;
                }
                came.insert(step, at);
                if step == to {
                    let mut path = vec![to];
                    let mut last = at;
                    while last != from {
                        path.push(last);
                        last = came[&last];
                    }
                    path.push(from);
                    path.reverse();
                    return Some(path);
                }
                open.push_back(step);
            }
        }
        None
    }

    /// A path in words.
    pub(crate) fn shown(&self, path: &[usize]) -> String {
        path.iter().map(|at| self.id(*at)).collect::<Vec<_>>().join(" → ")
    }
}

fn edges(step: &StepDocument, index: &BTreeMap<&str, usize>) -> Vec<Edge> {
    let to_step = |id: &str| index.get(id).map_or_else(|| To::Nowhere(id.to_owned()), |at| To::Step(*at));
    let go = |target: Target| match target {
        Target::Step(id) => to_step(&id),
        Target::Join => To::Join,
        Target::Continue => To::Nowhere(super::document::CONTINUE.to_owned()),
        Target::End(state) => To::End(state),
        Target::Reject { incident } => To::Reject(incident),
        Target::Escalate { issue_type, .. } => To::Escalate(issue_type),
    };
    let success = go(step.on_success.target());
    // Going on with the fallback leads where success does.
    let or_on = |target: &TargetDocument| match target.target() {
        Target::Continue => success.clone(),
        other => go(other),
    };
    let mut found = Vec::new();
    let mut add = |kind, to| found.push(Edge { kind, to });
    for (number, branch) in step.branches.iter().enumerate() {
        // One without exactly one target is a fault of its own.
        if let Ok(target) = branch.target() {
            add(Kind::Condition(number), go(target));
        }
    }
    if let Some(parallel) = &step.parallel {
        for (number, id) in parallel.branches.iter().enumerate() {
            add(Kind::Opens(number), to_step(id));
        }
    }
    if let Some(id) = step.orchestrate.as_ref().and_then(|it| it.qa.as_deref()) {
        add(Kind::Quality, to_step(id));
    }
    add(Kind::Success, success.clone());
    if let Some(target) = &step.on_failure {
        add(Kind::Failure, or_on(target));
    }
    if let Some(target) = &step.on_timeout {
        add(Kind::Timeout, or_on(target));
    }
    if let Some(target) = &step.on_exhausted {
        add(Kind::Exhausted, go(target.target()));
    }
    if step.skip_if_exists.is_some() {
        add(Kind::Skipped, success.clone());
    }
    if let Some(id) = &step.compensate_with {
        add(Kind::Compensation, to_step(id));
    }
    found
}
