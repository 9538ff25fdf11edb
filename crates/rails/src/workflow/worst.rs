//! The worst case of a workflow: what a run can come to cost.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Workflow;
use super::compile::{budget, duration, retries, step_ttl};
use super::document::{Document, StepDocument};
use super::flow::{Flow, Kind, To};
use crate::transition::MOST_REFUSED;
use crate::{Backoff, Budget};

/// What a run takes at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorstCase {
    /// Visits of steps, and calls of orchestrators.
    pub steps: u64,
    /// Tokens in and out; `None` where nothing bounds them.
    pub tokens: Option<u64>,
    /// Millionths of the configured currency; `None` where nothing bounds it.
    pub cost_micros: Option<u64>,
    /// Seconds of working and of pausing between tries. Waiting for a free worker, for a gate and for people is not in it.
    pub seconds: u64,
    /// The steps whose tokens or cost no budget bounds; of interest where the run's own budget does not either.
    pub unbounded: Vec<String>,
}

impl Workflow {
    /// An upper bound of what a run takes: the longest path with every bound used up.
    ///
    /// Longest paths in graphs with loops have no fast exact algorithm (Karp, "Reducibility among Combinatorial Problems",
    /// 1972, of which Hamiltonian paths are a case), so loops are bounded from above. The graph is taken apart into its strongly
    /// connected parts, which form a graph without loops, whose longest path is found by relaxing them in topological order (Cormen et al.,
    /// _Introduction to Algorithms_, 4th ed., section 22.2). A part that is one step without a loop weighs what the step weighs. In a
    /// larger part every visit of a bounded step, of which there are `max_visits`, and every round of quality
    /// assurance, of which there are `max_loops`, may be followed by the longest path over steps that count no visits; since every loop
    /// has a bound those form no loop. A fork weighs the sum of its branches, in time the longest of them. Exact where nothing loops.
    ///
    /// A step weighs its budget once a visit, and in time `max_attempts` deadlines and the longest pauses between them, at most
    /// `ttl.running`; an orchestrator has two jobs for each call, one that leaves it, and one for each refusal before a person is asked. Only steps of the worker `agent` and orchestrators spend tokens and money.
    ///
    /// # Errors
    /// [`super::Faults`] where a build of another version wrote the document.
    pub fn worst_case(&self) -> Result<WorstCase, super::Faults> {
        let document = Document::stored(&self.document)?;
        let flow = Flow::of(&document);
        // What is done may have to be undone, as often as it was done.
        let undone = |at| flow.compensation(at).map_or_else(Weight::default, |undo| visit(flow.step(undo)));
        let weights: Vec<Weight> = (0..flow.len()).map(|at| visit(flow.step(at)).and(&undone(at))).collect();
        let total = Worst { flow: &flow, weights: &weights }.from(0, &flow.trunk());
        let whole = budget(document.budget.as_ref()).unwrap_or_default();
        let least = |own: Option<u64>, bound: Option<u64>| own.into_iter().chain(bound).min();
        let loose = flow
            .reachable()
            .into_iter()
            .filter(|at| weights[*at].tokens.is_none() || weights[*at].cost.is_none());
        Ok(WorstCase {
            steps: total.steps,
            tokens: least(total.tokens, whole.tokens),
            cost_micros: least(total.cost, whole.cost_micros),
            seconds: least(Some(total.time), whole.time.map(millis)).unwrap_or_default().div_ceil(1000),
            unbounded: loose.map(|at| flow.id(at).to_owned()).collect(),
        })
    }
}

/// What a visit or a path takes; `None` is unbounded. Time in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Weight {
    steps: u64,
    tokens: Option<u64>,
    cost: Option<u64>,
    time: u64,
}

impl Default for Weight {
    fn default() -> Self {
        Self { steps: 0, tokens: Some(0), cost: Some(0), time: 0 }
    }
}

impl Weight {
    fn and(&self, other: &Self) -> Self {
        let sum = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        Self {
            steps: self.steps.saturating_add(other.steps),
            tokens: sum(self.tokens, other.tokens),
            cost: sum(self.cost, other.cost),
            time: self.time.saturating_add(other.time),
        }
    }

    /// The greater in each respect: each is a bound of its own.
    fn or(&self, other: &Self) -> Self {
        let most = |a: Option<u64>, b: Option<u64>| Some(a?.max(b?));
        Self {
            steps: self.steps.max(other.steps),
            tokens: most(self.tokens, other.tokens),
            cost: most(self.cost, other.cost),
            time: self.time.max(other.time),
        }
    }

    /// Beside each other: what is spent adds up, and the longest is waited for.
    fn beside(&self, other: &Self) -> Self {
        Self { time: self.time.max(other.time), ..self.and(other) }
    }

    fn times(&self, count: u64) -> Self {
        let scale =
            |value: Option<u64>| if count == 0 { Some(0) } else { Some(value?.saturating_mul(count)) };
        Self {
            steps: self.steps.saturating_mul(count),
            tokens: scale(self.tokens),
            cost: scale(self.cost),
            time: self.time.saturating_mul(count),
        }
    }
}

fn visit(step: &StepDocument) -> Weight {
    if step.parallel.is_some() {
        return Weight::default();
    }
    let own: Budget = budget(step.budget.as_ref()).unwrap_or_default();
    let calls = step.orchestrate.as_ref().map_or(0, |it| u64::from(it.max_calls));
    let spent = |bound: Option<u64>| if step.spends() { bound } else { Some(0) };
    // A call is said by one job and performed by another; what is refused is said alone, as is what ends the visit.
    let jobs = if step.orchestrate.is_some() { 2 * calls + 1 + u64::from(MOST_REFUSED) } else { 1 };
    let tries = tried(step).saturating_mul(jobs);
    let ttl = step_ttl(step.ttl.as_ref()).unwrap_or_default();
    let bounds = ttl.running.into_iter().chain(own.time).map(millis);
    Weight {
        steps: 1 + calls,
        tokens: spent(own.tokens),
        cost: spent(own.cost_micros),
        time: bounds.fold(tries, u64::min),
    }
}

/// Every try to its deadline, and the longest pause after each but the last.
fn tried(step: &StepDocument) -> u64 {
    let deadline = duration("deadline", &step.deadline).map_or(0, millis);
    let Ok(retries) = retries(&step.retries) else { return deadline };
    let pauses = pauses(retries.backoff, retries.max_attempts);
    let attempts = u64::try_from(retries.max_attempts).unwrap_or(1);
    deadline.saturating_mul(attempts).saturating_add(pauses)
}

fn pauses(backoff: Backoff, max_attempts: i32) -> u64 {
    // From the thirtieth doubling on every pause is the same.
    let single = (1..max_attempts.min(32)).map(|attempt| millis(backoff.delay(attempt, 1.0)));
    let rest = u64::try_from(max_attempts.saturating_sub(32)).unwrap_or(0);
    single.fold(0, u64::saturating_add).saturating_add(rest.saturating_mul(millis(backoff.max)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

struct Worst<'a> {
    flow: &'a Flow<'a>,
    weights: &'a [Weight],
}

impl Worst<'_> {
    /// The longest path from a step on, over these steps.
    fn from(&self, first: usize, within: &BTreeSet<usize>) -> Weight {
        if !within.contains(&first) {
            return Weight::default();
        }
        let parts = self.parts(within);
        // Parts come last first, so what a part leads to is known.
        let mut longest: Vec<(BTreeSet<usize>, Weight)> = Vec::new();
        for part in parts {
            let next = longest.iter().filter(|(other, _)| {
                part.iter().any(|at| self.flow.within(*at).any(|to| other.contains(&to)))
            });
            let rest = next.fold(Weight::default(), |most, (_, weight)| most.or(weight));
            let weight = self.part(&part).and(&rest);
            longest.push((part, weight));
        }
        let found = longest.into_iter().find(|(part, _)| part.contains(&first));
        found.map_or_else(Weight::default, |(_, weight)| weight)
    }

    /// The strongly connected parts, those that lead on to others after them.
    fn parts(&self, within: &BTreeSet<usize>) -> Vec<BTreeSet<usize>> {
        let on = |at: usize| {
            self.flow
                .reached([at], |at| self.flow.within(at).filter(|to| within.contains(to)).collect::<Vec<_>>())
        };
        let mut parts: Vec<(usize, BTreeSet<usize>)> = Vec::new();
        for at in within {
            if !parts.iter().any(|(_, part)| part.contains(at)) {
                let ahead = on(*at);
                let part = ahead.iter().copied().filter(|to| on(*to).contains(at)).collect();
                parts.push((ahead.len(), part));
            }
        }
        // Who leads to another reaches all that this one does, and itself.
        parts.sort_by_key(|(ahead, _)| *ahead);
        parts.into_iter().map(|(_, part)| part).collect()
    }

    fn part(&self, part: &BTreeSet<usize>) -> Weight {
        let flow = self.flow;
        let loops = |at: usize| flow.within(at).any(|to| part.contains(&to));
        if let [only] = part.iter().copied().collect::<Vec<_>>()[..]
            && !loops(only)
        {
            return self.weight(only);
        }
        let free = Free::of(self, part);
        let entered = part.iter().fold(Weight::default(), |most, at| most.or(&free.from(*at)));
        part.iter().fold(entered, |sum, at| {
            let onward = |edges: &dyn Fn(Kind) -> bool| {
                let edges = flow.edges(*at).iter().filter(|edge| edges(edge.kind));
                edges.fold(Weight::default(), |most, edge| match edge.to {
                    To::Step(to) if part.contains(&to) => most.or(&free.from(to)),
                    _ => most,
                })
            };
            let visits = flow.step(*at).max_visits.map_or(0, u64::from);
            let rounds = flow.step(*at).orchestrate.as_ref().map_or(0, |it| u64::from(it.max_loops));
            let visited =
                self.weight(*at).and(&onward(&|kind| !matches!(kind, Kind::Opens(_) | Kind::Compensation)));
            sum.and(&visited.times(visits)).and(&onward(&|kind| kind == Kind::Quality).times(rounds))
        })
    }

    /// A visit of a step, of a fork with all its branches.
    fn weight(&self, at: usize) -> Weight {
        let branches = self.flow.branches.iter().filter(|branch| branch.fork == at);
        branches.fold(self.weights[at].clone(), |sum, branch| {
            let first = self.flow.edges(at).iter().find_map(|edge| match edge.to {
                To::Step(to) if edge.kind == Kind::Opens(branch.number) => Some(to),
                _ => None,
            });
            // A fork within would be refused; its steps are not gone into again.
            let steps = branch.steps.iter().copied().filter(|step| !self.flow.is_fork(*step)).collect();
            sum.beside(&first.map_or_else(Weight::default, |first| self.from(first, &steps)))
        })
    }
}

/// The longest paths within a part that count no visits, by where they begin.
struct Free {
    longest: BTreeMap<usize, Weight>,
}

impl Free {
    fn of(worst: &Worst<'_>, part: &BTreeSet<usize>) -> Self {
        let mut free = Self { longest: BTreeMap::new() };
        part.iter().for_each(|at| {
            free.walk(worst, part, *at);
        });
        free
    }

    /// Of a bounded step only its ways on arrival count, and it weighs nothing here.
    fn walk(&mut self, worst: &Worst<'_>, part: &BTreeSet<usize>, at: usize) -> Weight {
        if let Some(known) = self.longest.get(&at) {
            return known.clone();
        }
        // Ends a loop that a stored document might have and that would be refused today.
        self.longest.insert(at, Weight::default());
        let flow = worst.flow;
        let own = if flow.step(at).max_visits.is_some() { Weight::default() } else { worst.weight(at) };
        let next = flow.uncounted(at).into_iter().filter(|to| part.contains(to));
        let rest = next.fold(Weight::default(), |most, to| most.or(&self.walk(worst, part, to)));
        let weight = own.and(&rest);
        self.longest.insert(at, weight.clone());
        weight
    }

    fn from(&self, at: usize) -> Weight {
        self.longest.get(&at).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn worst(head: &str, steps: &str) -> WorstCase {
        let text = format!("name: t\nversion: 1\n{head}\nsteps:\n{steps}");
        let catalog = Catalog { workers: &["etl", "agent"], ..Catalog::default() };
        Workflow::register(&text, &BTreeMap::new(), &catalog).unwrap().worst_case().unwrap()
    }

    #[test]
    fn a_line_weighs_its_steps_and_a_choice_its_heavier_side() {
        let line = "
  - { id: a, worker: etl, deadline: 10s, retries: { max_attempts: 2, backoff: { initial: 3s, max: 60s } }, on_success: b, on_failure: { end: done } }
  - { id: b, worker: agent, budget: { tokens: 100, cost: 0.5 }, deadline: 1m, ttl: { running: 90s }, on_success: { end: done } }";
        let found = worst("", line);
        let expected = WorstCase {
            steps: 2,
            tokens: Some(100),
            cost_micros: Some(500_000),
            seconds: 23 + 90,
            unbounded: vec![],
        };
        assert_eq!(found, expected);
        let loose = worst("", "  - { id: a, worker: agent, budget: { cost: 1 }, on_success: { end: done } }");
        assert_eq!(
            (loose.tokens, loose.cost_micros, loose.unbounded),
            (None, Some(1_000_000), vec!["a".to_owned()])
        );
        let bounded = worst(
            "budget: { tokens: 7, time: 1s }",
            "  - { id: a, worker: agent, on_success: { end: done } }",
        );
        assert_eq!((bounded.tokens, bounded.cost_micros, bounded.seconds), (Some(7), None, 1));
    }

    #[test]
    fn an_orchestrator_takes_a_job_to_say_and_one_to_do_each_call_and_those_that_are_refused() {
        let clusters = "clusters: { desk: { allowed_writes: [/x] } }";
        let step = "  - { id: a, orchestrate: { clusters: [desk], max_calls: 4 }, deadline: 10s, retries: { max_attempts: 1 }, on_success: { end: done } }";
        let found = worst(clusters, step);
        assert_eq!((found.steps, found.seconds), (5, 10 * (2 * 4 + 1 + 3)));
    }

    #[test]
    fn a_loop_is_walked_as_often_as_it_may_and_branches_add_up() {
        // Code, review, and back, thrice in all: 3 visits each; then one step.
        let review = "
  - { id: code, worker: etl, on_success: review }
  - { id: review, worker: etl, max_visits: 3, on_failure: code, on_exhausted: { end: dead }, on_success: last }
  - { id: last, worker: etl, on_success: { end: done } }";
        // Three visits of review with the code after each, and the code before the first: what the algorithm counts.
        assert_eq!(worst("", review).steps, 1 + 3 * 2 + 1);
        let fork = "
  - { id: f, parallel: { branches: [a, b] }, on_success: last }
  - { id: a, worker: etl, deadline: 1s, retries: { max_attempts: 1 }, on_success: a2 }
  - { id: a2, worker: etl, deadline: 1s, retries: { max_attempts: 1 }, on_success: join }
  - { id: b, worker: etl, deadline: 5s, retries: { max_attempts: 1 }, on_success: join }
  - { id: last, worker: etl, deadline: 2s, retries: { max_attempts: 1 }, on_success: { end: done } }";
        let found = worst("", fork);
        assert_eq!((found.steps, found.seconds), (4, 7));
    }
}
