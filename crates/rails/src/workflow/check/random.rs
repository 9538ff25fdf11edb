//! Random graphs: what the checks say against a slow checker that walks every path.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{Catalog, Workflow};

/// A step; a target is a step's number, or the end where it is too large.
#[derive(Debug, Clone)]
struct Random {
    success: usize,
    failure: Option<usize>,
    max_visits: Option<u32>,
    exhausted: Option<usize>,
    approves: bool,
    asks_before: bool,
    skips: bool,
    side_effect: bool,
}

fn steps() -> impl Strategy<Value = Vec<Random>> {
    (1_usize..6).prop_flat_map(|count| {
        let target = || 0..=count;
        let flags =
            (any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
        let step = (
            target(),
            prop::option::of(target()),
            prop::option::of(1_u32..3),
            prop::option::of(target()),
            flags,
        );
        let step = step.prop_map(|(success, failure, max_visits, exhausted, flags)| Random {
            success,
            failure,
            max_visits,
            exhausted: exhausted.filter(|_| max_visits.is_some()),
            approves: flags.0,
            asks_before: flags.1,
            skips: flags.2,
            side_effect: flags.3,
        });
        prop::collection::vec(step, count)
    })
}

fn written(steps: &[Random]) -> String {
    let target = |to: usize| if to < steps.len() { format!("s{to}") } else { "{ end: done }".to_owned() };
    let mut text = "name: t\nversion: 1\nsteps:\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        let mut keys = vec![format!("id: s{at}, worker: etl, on_success: {}", target(step.success))];
        keys.extend(step.failure.map(|to| format!("on_failure: {}", target(to))));
        keys.extend(step.max_visits.map(|most| format!("max_visits: {most}")));
        keys.extend(step.exhausted.map(|to| format!("on_exhausted: {}", target(to))));
        keys.extend(step.approves.then(|| "approve: by_rule".to_owned()));
        keys.extend(step.asks_before.then(|| "gates: { before: [hitl] }".to_owned()));
        keys.extend(step.skips.then(|| format!("skip_if_exists: s{at}")));
        keys.extend(step.side_effect.then(|| "side_effect: true".to_owned()));
        text.push_str(&format!("  - {{ {} }}\n", keys.join(", ")));
    }
    text
}

/// A way out: where it leads, whether it is taken on arrival, whether it is an approval.
fn ways(step: &Random) -> Vec<(usize, bool, bool)> {
    let entered = step.asks_before;
    let mut ways = vec![(step.success, false, entered || step.approves)];
    ways.extend(step.failure.map(|to| (to, false, entered)));
    ways.extend(step.exhausted.map(|to| (to, true, false)));
    ways.extend(step.skips.then_some((step.success, true, false)));
    ways
}

/// Every path without a repetition from the first step: its steps, and whether it crosses an approval.
fn paths(steps: &[Random], path: &mut Vec<usize>, approved: bool, found: &mut Vec<(usize, bool)>) {
    let at = path[path.len() - 1];
    found.push((at, approved));
    for (to, _, approves) in ways(&steps[at]) {
        if to < steps.len() && !path.contains(&to) {
            path.push(to);
            paths(steps, path, approved || approves, found);
            path.pop();
        }
    }
}

type Counted = (usize, Vec<u32>);

/// Where a run that arrives at a step with so many visits can arrive next, and whether it did the step.
fn next(steps: &[Random], (at, visits): &Counted) -> Vec<(Counted, bool)> {
    let step = &steps[*at];
    let mut found = Vec::new();
    if step.skips {
        found.push(((step.success, visits.clone()), false));
    }
    if step.max_visits.is_some_and(|most| visits[*at] >= most) {
        found.extend(step.exhausted.map(|to| ((to, visits.clone()), false)));
        return found;
    }
    let mut counted = visits.clone();
    counted[*at] += u32::from(step.max_visits.is_some());
    found.push(((step.success, counted.clone()), true));
    found.extend(step.failure.map(|to| ((to, counted), true)));
    found
}

/// The most steps that a run does from here; `None` where it can go on for ever.
fn most(steps: &[Random], from: &Counted, known: &mut BTreeMap<Counted, Option<u64>>) -> Option<u64> {
    if from.0 >= steps.len() {
        return Some(0);
    }
    if let Some(known) = known.get(from) {
        return *known;
    }
    // Coming here again before this is known is going round.
    known.insert(from.clone(), None);
    let mut longest = Some(0);
    for (to, did) in next(steps, from) {
        let rest = if to.0 < steps.len() { most(steps, &to, known) } else { Some(0) };
        longest = longest.and_then(|so_far| Some(so_far.max(rest? + u64::from(did))));
    }
    // Doing this step and then dying.
    let exhausted = steps[from.0].max_visits.is_some_and(|most| from.1[from.0] >= most);
    let longest = longest.map(|longest| longest.max(u64::from(!exhausted)));
    known.insert(from.clone(), longest);
    longest
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_checks_agree_with_walking_every_path(steps in steps()) {
        let text = written(&steps);
        let catalog = Catalog { workers: &["etl"], ..Catalog::default() };
        let registered = Workflow::register(&text, &BTreeMap::new(), &catalog);
        let faults = registered.as_ref().err().map(|faults| faults.0.clone()).unwrap_or_default();
        let named = |message: &str| -> BTreeSet<String> {
            let told = faults.iter().filter(|fault| fault.message.starts_with(message));
            told.map(|fault| fault.place.clone()).collect()
        };
        let ids = |chosen: &dyn Fn(usize) -> bool| -> BTreeSet<String> {
            (0..steps.len()).filter(|at| chosen(*at)).map(|at| format!("s{at}")).collect()
        };
        let mut walked = Vec::new();
        paths(&steps, &mut vec![0], false, &mut walked);

        let unreached = ids(&|at| !walked.iter().any(|(step, _)| *step == at));
        prop_assert_eq!(named("no path leads here"), unreached, "{}", text);

        let unapproved = ids(&|at| {
            steps[at].side_effect && !steps[at].asks_before && walked.contains(&(at, false))
        });
        prop_assert_eq!(named("a path leads to this side effect"), unapproved, "{}", text);

        // From any step, with no visits spent or with all.
        let fresh = vec![0; steps.len()];
        let spent: Vec<u32> = steps.iter().map(|step| step.max_visits.unwrap_or(0)).collect();
        let endless = (0..steps.len()).any(|at| {
            [&fresh, &spent].into_iter().any(|visits| {
                // A state is known as endless only for where it was met: so each start walks anew.
                most(&steps, &(at, visits.clone()), &mut BTreeMap::new()).is_none()
            })
        });
        prop_assert_eq!(!named("a loop without a bound").is_empty(), endless, "{}", text);

        if let Ok(workflow) = registered {
            let longest = most(&steps, &(0, fresh), &mut BTreeMap::new()).unwrap_or(u64::MAX);
            let bound = workflow.worst_case().unwrap().steps;
            prop_assert!(longest <= bound, "{longest} steps, bound {bound}\n{text}");
        }
    }
}
