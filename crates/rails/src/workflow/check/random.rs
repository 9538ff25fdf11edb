//! Random graphs, with forks, orchestrators, timeouts and compensations: what the checks say against a slow checker that walks
//! every path.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{Catalog, Workflow};

/// Where a way leads; a number too large for the steps beside it is the way out.
type Target = usize;

/// A step as it is drawn up.
#[derive(Debug, Clone)]
struct Random {
    success: Target,
    failure: Option<Target>,
    timeout: Option<Target>,
    max_visits: Option<u32>,
    exhausted: Option<Target>,
    approves: bool,
    asks_before: bool,
    skips: bool,
    side_effect: bool,
    undone: Option<usize>,
    is: Is,
}

/// What a step of the trunk is.
#[derive(Debug, Clone)]
enum Is {
    Work,
    /// Its branches, each with its steps, and how many must succeed.
    Fork(Vec<Vec<Random>>, usize),
    /// Where quality is checked, and how often.
    Orchestrates(Target, u32),
}

/// How many steps there are that undo others.
const UNDOING: usize = 2;
/// Calls of an orchestrator in one visit.
const CALLS: u64 = 2;
/// Targets are drawn below this, and taken modulo what is there.
const ANY: usize = 12;

fn work() -> impl Strategy<Value = Random> {
    let rarely = prop::bool::weighted(0.2);
    let ways = (0..ANY, prop::option::of(0..ANY), prop::option::weighted(0.2, 0..ANY));
    let bounds = (prop::option::of(1_u32..3), prop::option::of(0..ANY));
    let flags = (any::<bool>(), rarely, rarely, prop::bool::weighted(0.3));
    (ways, bounds, flags, prop::option::weighted(0.2, 0..UNDOING)).prop_map(
        |(ways, bounds, flags, undone)| Random {
            success: ways.0,
            failure: ways.1,
            timeout: ways.2,
            max_visits: bounds.0,
            exhausted: bounds.1.filter(|_| bounds.0.is_some()),
            approves: flags.0,
            asks_before: flags.1,
            skips: flags.2,
            side_effect: flags.3,
            undone,
            is: Is::Work,
        },
    )
}

/// It does no work of its own.
fn bare(step: Random, is: Is) -> Random {
    let no = false;
    Random {
        timeout: None,
        approves: no,
        asks_before: no,
        skips: no,
        side_effect: no,
        undone: None,
        is,
        ..step
    }
}

fn trunk() -> impl Strategy<Value = Vec<Random>> {
    let branches = prop::collection::vec(prop::collection::vec(work(), 1..3), 1..4);
    let fork = (work(), branches, 1_usize..5)
        .prop_map(|(step, branches, needed)| bare(step, Is::Fork(branches, needed)));
    let orchestrates = (work(), 0..ANY, 1_u32..3, prop::option::of(0..ANY), any::<bool>()).prop_map(
        |(step, qa, loops, exhausted, asks_before)| {
            let step = bare(step, Is::Orchestrates(qa, loops));
            Random { exhausted, asks_before, ..step }
        },
    );
    let step = prop_oneof![6 => work(), 2 => fork, 1 => orchestrates];
    prop::collection::vec(step, 1..5)
}

/// Steps that undo others: whether each acts outside, and whether a person is asked before it.
fn undoing() -> impl Strategy<Value = Vec<(bool, bool)>> {
    prop::collection::vec((any::<bool>(), any::<bool>()), UNDOING)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum To {
    Step(usize),
    Join,
    End,
}

/// A step in its place among all.
#[derive(Debug)]
struct Node {
    id: String,
    success: To,
    failure: Option<To>,
    timeout: Option<To>,
    exhausted: Option<To>,
    quality: Option<(To, u32)>,
    /// The first steps of its branches, and how many must succeed.
    opens: Option<(Vec<usize>, usize)>,
    undone: Option<usize>,
    random: Random,
}

impl Node {
    fn written(&self, nodes: &[Node]) -> String {
        let target = |to: To| match to {
            To::Step(at) => nodes[at].id.clone(),
            To::Join => "join".to_owned(),
            To::End => "{ end: done }".to_owned(),
        };
        let kind = match (&self.opens, &self.quality) {
            (Some((firsts, needed)), _) => {
                let firsts: Vec<&str> = firsts.iter().map(|at| nodes[*at].id.as_str()).collect();
                let firsts = firsts.join(", ");
                format!("parallel: {{ branches: [{firsts}], join: {{ at_least: {needed} }} }}")
            }
            (None, Some((qa, loops))) => format!(
                "orchestrate: {{ clusters: [desk], qa: {}, max_calls: {CALLS}, max_loops: {loops} }}",
                target(*qa)
            ),
            (None, None) => "worker: etl".to_owned(),
        };
        let step = &self.random;
        let mut keys = vec![format!("id: {}, {kind}, on_success: {}", self.id, target(self.success))];
        keys.extend(self.failure.map(|to| format!("on_failure: {}", target(to))));
        keys.extend(self.timeout.map(|to| format!("ttl: {{ waiting: 1s }}, on_timeout: {}", target(to))));
        keys.extend(step.max_visits.map(|most| format!("max_visits: {most}")));
        keys.extend(self.exhausted.map(|to| format!("on_exhausted: {}", target(to))));
        keys.extend(step.approves.then(|| "approve: by_rule".to_owned()));
        keys.extend(step.asks_before.then(|| "gates: { before: [hitl] }".to_owned()));
        keys.extend(step.skips.then(|| format!("skip_if_exists: {}", self.id)));
        keys.extend(step.side_effect.then(|| "side_effect: true".to_owned()));
        keys.extend(self.undone.map(|at| format!("compensate_with: {}", nodes[at].id)));
        format!("  - {{ {} }}\n", keys.join(", "))
    }

    /// What doing it once weighs, without the branches of a fork.
    fn weight(&self) -> u64 {
        let calls = self.quality.map_or(0, |_| CALLS);
        let own = if self.opens.is_some() { 0 } else { 1 + calls };
        own + u64::from(self.undone.is_some())
    }
}

fn written(nodes: &[Node]) -> String {
    let head = "name: t\nversion: 1\nclusters: { desk: { roles: [r], allowed_writes: [/x] } }\nsteps:\n";
    nodes.iter().fold(head.to_owned(), |text, node| text + &node.written(nodes))
}

/// All steps: the trunk's, those of branches, those that undo others.
fn placed(trunk: &[Random], undoing: &[(bool, bool)]) -> Vec<Node> {
    let lanes: Vec<&[Random]> = std::iter::once(trunk)
        .chain(trunk.iter().flat_map(|step| match &step.is {
            Is::Fork(branches, _) => branches.iter().map(Vec::as_slice).collect::<Vec<_>>(),
            _ => vec![],
        }))
        .collect();
    let mut starts = Vec::new();
    let undo_from = lanes.iter().fold(0, |at, lane| {
        starts.push(at);
        at + lane.len()
    });
    let mut nodes = Vec::new();
    let mut opened = 1;
    for (number, lane) in lanes.iter().enumerate() {
        let start = starts[number];
        let to = |target: Target| match target % (lane.len() + 1 + usize::from(number > 0)) {
            at if at < lane.len() => To::Step(start + at),
            at if at == lane.len() && number > 0 => To::Join,
            _ => To::End,
        };
        for step in *lane {
            let opens = match &step.is {
                Is::Fork(branches, needed) => {
                    let firsts = starts[opened..opened + branches.len()].to_vec();
                    opened += branches.len();
                    Some((firsts, *needed))
                }
                _ => None,
            };
            let quality = match step.is {
                Is::Orchestrates(qa, loops) => Some((To::Step(start + qa % lane.len()), loops)),
                _ => None,
            };
            nodes.push(Node {
                id: format!("s{}", nodes.len()),
                success: to(step.success),
                failure: step.failure.map(to),
                timeout: step.timeout.map(to),
                exhausted: step.exhausted.map(to),
                quality,
                opens,
                undone: step.undone.map(|undo| undo_from + undo),
                random: step.clone(),
            });
        }
    }
    for (side_effect, asks_before) in undoing.iter().copied() {
        let random = Random {
            success: 0,
            failure: None,
            timeout: None,
            max_visits: None,
            exhausted: None,
            approves: false,
            asks_before,
            skips: false,
            side_effect,
            undone: None,
            is: Is::Work,
        };
        nodes.push(Node {
            id: format!("s{}", nodes.len()),
            success: To::End,
            failure: None,
            timeout: None,
            exhausted: None,
            quality: None,
            opens: None,
            undone: None,
            random,
        });
    }
    nodes
}

/// The ways out of a step that is no fork: where they lead, and whether they are an approval. What times out may have waited
/// for the answer of the gate before.
fn ways(node: &Node) -> Vec<(To, bool)> {
    let entered = node.random.asks_before;
    let mut ways = vec![(node.success, entered || node.random.approves)];
    ways.extend(node.failure.map(|to| (to, entered)));
    ways.extend(node.timeout.map(|to| (to, false)));
    ways.extend(node.exhausted.map(|to| (to, false)));
    ways.extend(node.quality.map(|(to, _)| (to, entered)));
    ways.extend(node.random.skips.then_some((node.success, false)));
    ways
}

/// The same of a fork: its branches, and what comes after them. As many branches as it needs may end without an approval.
fn fork_ways(nodes: &[Node], at: usize) -> Vec<(To, bool)> {
    let Some((firsts, needed)) = &nodes[at].opens else { return ways(&nodes[at]) };
    let mut ways: Vec<(To, bool)> = firsts.iter().map(|first| (To::Step(*first), false)).collect();
    let without = firsts.iter().filter(|first| joins(nodes, &mut vec![**first], true)).count();
    ways.push((nodes[at].success, without < *needed));
    ways.extend(nodes[at].failure.map(|to| (to, false)));
    ways.extend(nodes[at].exhausted.map(|to| (to, false)));
    ways
}

/// Whether a path of a branch comes to its join, one without an approval where that is asked for.
fn joins(nodes: &[Node], path: &mut Vec<usize>, unapproved: bool) -> bool {
    ways(&nodes[path[path.len() - 1]]).into_iter().filter(|(_, approves)| !(unapproved && *approves)).any(
        |(to, _)| match to {
            To::Join => true,
            To::Step(to) if !path.contains(&to) => {
                path.push(to);
                let joins = joins(nodes, path, unapproved);
                path.pop();
                joins
            }
            _ => false,
        },
    )
}

/// Every path without a repetition from the first step: its steps, and whether it crosses an approval.
fn paths(nodes: &[Node], path: &mut Vec<usize>, approved: bool, found: &mut BTreeSet<(usize, bool)>) {
    let at = path[path.len() - 1];
    found.insert((at, approved));
    for (to, approves) in fork_ways(nodes, at) {
        if let To::Step(to) = to
            && !path.contains(&to)
        {
            path.push(to);
            paths(nodes, path, approved || approves, found);
            path.pop();
        }
    }
}

/// A step that a run arrives at, with the visits and rounds of quality that it has had.
type Counted = (usize, Vec<u32>, Vec<u32>);

/// Where a run that arrives can arrive next, and what it did by that.
fn next(nodes: &[Node], (at, visits, rounds): &Counted, weight: u64) -> Vec<(To, Vec<u32>, Vec<u32>, u64)> {
    let node = &nodes[*at];
    let mut found = Vec::new();
    if node.random.skips {
        found.push((node.success, visits.clone(), rounds.clone(), 0));
    }
    if node.random.max_visits.is_some_and(|most| visits[*at] >= most) {
        found.extend(node.exhausted.map(|to| (to, visits.clone(), rounds.clone(), 0)));
        return found;
    }
    let mut visits = visits.clone();
    visits[*at] += u32::from(node.random.max_visits.is_some());
    // An orchestrator is exhausted by its calls as well.
    let exhausted = node.exhausted.filter(|_| node.quality.is_some());
    for to in [Some(node.success), node.failure, node.timeout, exhausted].into_iter().flatten() {
        found.push((to, visits.clone(), rounds.clone(), weight));
    }
    if let Some((to, most)) = node.quality
        && rounds[*at] < most
    {
        let mut rounds = rounds.clone();
        rounds[*at] += 1;
        found.push((to, visits, rounds, weight));
    }
    found
}

/// The most that a run does from here until it ends or joins; `None` where it can go on for ever.
fn most(nodes: &[Node], from: &Counted, known: &mut BTreeMap<Counted, Option<u64>>) -> Option<u64> {
    if let Some(known) = known.get(from) {
        return *known;
    }
    // Coming here again before this is known is going round.
    known.insert(from.clone(), None);
    let node = &nodes[from.0];
    let fresh = vec![0; nodes.len()];
    let branches = node.opens.iter().flat_map(|(firsts, _)| firsts);
    let mut branches =
        branches.map(|first| most(nodes, &(*first, fresh.clone(), fresh.clone()), &mut BTreeMap::new()));
    let weight = branches.try_fold(node.weight(), |sum, branch| Some(sum + branch?));
    let longest = weight.and_then(|weight| {
        let exhausted = node.random.max_visits.is_some_and(|most| from.1[from.0] >= most);
        // Doing this step and then dying.
        let dies = if exhausted { 0 } else { weight };
        next(nodes, from, weight).into_iter().try_fold(dies, |longest, (to, visits, rounds, did)| {
            let rest = match to {
                To::Step(to) => most(nodes, &(to, visits, rounds), known)?,
                To::Join | To::End => 0,
            };
            Some(longest.max(did + rest))
        })
    });
    known.insert(from.clone(), longest);
    longest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_checks_agree_with_walking_every_path(trunk in trunk(), undoing in undoing()) {
        let nodes = placed(&trunk, &undoing);
        let text = written(&nodes);
        let catalog = Catalog { workers: &["etl"], ..Catalog::default() };
        let registered = Workflow::register(&text, &BTreeMap::new(), &catalog);
        let faults = registered.as_ref().err().map(|faults| faults.0.clone()).unwrap_or_default();
        let named = |message: &str| -> BTreeSet<String> {
            let told = faults.iter().filter(|fault| fault.message.starts_with(message));
            told.map(|fault| fault.place.clone()).collect()
        };
        let ids = |chosen: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
            (0..nodes.len()).filter(|at| chosen(*at)).map(|at| nodes[at].id.clone()).collect()
        };
        let mut walked = BTreeSet::new();
        paths(&nodes, &mut vec![0], false, &mut walked);
        let reached = |at: usize| walked.contains(&(at, true)) || walked.contains(&(at, false));
        let undoes = |of: usize, at: usize| nodes[of].undone == Some(at);

        let unreached = ids(&|at| !reached(at) && !(0..nodes.len()).any(|of| undoes(of, at) && reached(of)));
        prop_assert_eq!(named("no path leads here"), unreached, "{}", text);

        let acts = |at: usize| nodes[at].random.side_effect && !nodes[at].random.asks_before;
        let done_unapproved = |at: usize| walked.contains(&(at, false)) && !nodes[at].random.asks_before;
        let unapproved = ids(&|at| {
            acts(at) && (done_unapproved(at) || (0..nodes.len()).any(|of| undoes(of, at) && done_unapproved(of)))
        });
        prop_assert_eq!(named("a path leads to this side effect"), unapproved, "{}", text);

        let never = ids(&|at| nodes[at].opens.as_ref().is_some_and(|(firsts, needed)| *needed > firsts.len()));
        prop_assert_eq!(named("at_least"), never, "{}", text);
        let uncounted = ids(&|at| {
            let firsts = nodes[at].opens.iter().flat_map(|(firsts, _)| firsts);
            firsts.into_iter().any(|first| !joins(&nodes, &mut vec![*first], false))
        });
        prop_assert_eq!(named("no path of the branch"), uncounted, "{}", text);

        // From any step, with nothing spent of its visits and rounds, or with all.
        let fresh = vec![0; nodes.len()];
        let visits: Vec<u32> = nodes.iter().map(|node| node.random.max_visits.unwrap_or(0)).collect();
        let rounds: Vec<u32> = nodes.iter().map(|node| node.quality.map_or(0, |(_, most)| most)).collect();
        let endless = (0..nodes.len()).any(|at| {
            [(&fresh, &fresh), (&visits, &rounds)].into_iter().any(|(visits, rounds)| {
                // A state is known as endless only for where it was met: so each start walks anew.
                most(&nodes, &(at, visits.clone(), rounds.clone()), &mut BTreeMap::new()).is_none()
            })
        });
        prop_assert_eq!(!named("a loop without a bound").is_empty(), endless, "{}", text);

        if let Ok(workflow) = registered {
            let longest = most(&nodes, &(0, fresh.clone(), fresh), &mut BTreeMap::new()).unwrap_or(u64::MAX);
            let bound = workflow.worst_case().unwrap().steps;
            prop_assert!(longest <= bound, "{longest} steps, bound {bound}\n{text}");
        }
    }
}
