//! Random workflows with forks and loops, random reports and decisions.

use std::fmt::Write;

use model::{Failure, Lifecycle, Question, RunState};
use proptest::prelude::*;
use serde_json::json;

use super::super::*;
use super::simulator::Simulator;
use crate::workflow::JoinRule;
use crate::{Decision, Settled};

/// Choices, one after the other; zeros at the end.
struct Choices {
    bytes: Vec<u8>,
    next: usize,
}

impl Choices {
    fn below(&mut self, bound: usize) -> usize {
        let byte = self.bytes.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        usize::from(byte) % bound
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == many - 1
    }

    fn of<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.below(among.len())]
    }
}

const VISITS: usize = 3;
const ATTEMPTS: usize = 2;
const STEPS: [&str; 5] = ["s0", "s1", "s2", "s3", "s4"];

/// Steps `s0` to `s4`, of which some are forks with branches of two steps; `undo`, and `send`, which acts outside.
fn document(choices: &mut Choices) -> String {
    let mut yaml = "name: t\nversion: 1\nblackboard: { type: object }\nsteps:\n".to_owned();
    let ways = ["s1", "s2", "s3", "s4", "s0", "send", "{ end: done }"];
    for (index, id) in STEPS.iter().enumerate() {
        if index > 0 && choices.one_in(3) {
            fork(&mut yaml, choices, id, &ways);
        } else {
            step(&mut yaml, choices, id, &ways);
        }
    }
    yaml.push_str("  - { id: undo, worker: etl, max_visits: 3, on_success: { end: cancelled } }\n");
    yaml.push_str("  - { id: send, worker: publisher, side_effect: true, max_visits: 3, on_success: { end: published }, on_failure: s1 }\n");
    yaml
}

fn step(yaml: &mut String, choices: &mut Choices, id: &str, ways: &[&str]) {
    let success = choices.of(ways);
    let visits = 1 + choices.below(VISITS);
    write!(yaml, "  - {{ id: {id}, worker: etl, max_visits: {visits}, retries: {{ max_attempts: {ATTEMPTS} }}, on_success: {success}").unwrap();
    if choices.one_in(2) {
        let then = choices.of(ways);
        let then = if then.starts_with('{') { "end: needs_review".to_owned() } else { format!("to: {then}") };
        write!(yaml, ", branches: [{{ when: '{id}.x', {then} }}]").unwrap();
    }
    if choices.one_in(3) {
        write!(yaml, ", on_failure: {}", choices.of(ways)).unwrap();
    } else if choices.one_in(3) {
        yaml.push_str(", on_failure: continue, fallback: { x: false }");
    }
    if choices.one_in(4) {
        write!(yaml, ", on_exhausted: {}", choices.of(ways)).unwrap();
    }
    if choices.one_in(4) {
        write!(yaml, ", skip_if_exists: {}", choices.of(&STEPS)).unwrap();
    }
    if choices.one_in(3) {
        yaml.push_str(", approve: by_rule");
    }
    if choices.one_in(3) {
        yaml.push_str(", compensate_with: undo");
    }
    yaml.push_str(" }\n");
}

fn fork(yaml: &mut String, choices: &mut Choices, id: &str, ways: &[&str]) {
    let rule = choices.of(&["all", "any", "{ at_least: 2 }"]);
    let branches = 1 + choices.below(3);
    let firsts: Vec<String> = (0..branches).map(|branch| format!("{id}_b{branch}")).collect();
    let success = choices.of(ways);
    write!(yaml, "  - {{ id: {id}, parallel: {{ branches: [{}], join: {rule} }}, max_visits: {VISITS}, on_success: {success}", firsts.join(", ")).unwrap();
    if choices.one_in(3) {
        write!(yaml, ", on_failure: {}", choices.of(ways)).unwrap();
    }
    yaml.push_str(" }\n");
    for first in &firsts {
        let second = format!("{first}_2");
        let inside = [second.as_str(), "join", "join", first.as_str()];
        step(yaml, choices, first, &inside);
        let ends = ["join", first.as_str(), "join", "{ end: done }"];
        step(yaml, choices, &second, &ends);
    }
}

/// Whether a join is satisfied, by going through every way in which the open branches may end.
fn slowly(rule: JoinRule, states: &[RunState]) -> Option<bool> {
    let open: Vec<usize> = (0..states.len()).filter(|index| states[*index].is_open()).collect();
    let mut verdicts = (0..1_u32 << open.len()).map(|ends| {
        let mut states = states.to_vec();
        for (bit, index) in open.iter().enumerate() {
            states[*index] = if (ends >> bit) & 1 == 1 { RunState::Done } else { RunState::Dead };
        }
        let done = states.iter().filter(|state| **state == RunState::Done).count();
        match rule {
            JoinRule::All => done == states.len(),
            JoinRule::Any => done >= 1,
            JoinRule::AtLeast(least) => done >= least as usize,
        }
    });
    let first = verdicts.next()?;
    verdicts.all(|verdict| verdict == first).then_some(first)
}

/// Something that may happen to a lane; `None` where it was refused.
fn happens(run: &mut Simulator, choices: &mut Choices, lane: i32) -> Option<Transition> {
    let row = run.row(lane).clone();
    if row.state != RunState::Running {
        return Some(answered(run, choices, lane, row.asked.as_deref()));
    }
    let sends = run.workflow.step(&row.step).is_some_and(|step| step.side_effect);
    let output = json!({ "x": choices.one_in(3) });
    let question = Question { issue_type: "unsure".to_owned(), question: "?".to_owned() };
    let (transient, permanent) = (Failure::transient("t"), Failure::permanent("p"));
    let signal = match choices.below(12) {
        0 => Signal::Failed { failure: &transient },
        1 => Signal::Failed { failure: &permanent },
        2 => Signal::Escalate { output: &output, question: &question },
        3 if choices.one_in(4) => Signal::Reject { reason: "r" },
        3 if choices.one_in(4) => Signal::Poisoned { deliveries: 4 },
        4 if lane == 0 && choices.one_in(4) => Signal::Cancel { reason: "c" },
        5 if sends => Signal::EffectUnknown { reason: "u" },
        6 if sends => Signal::EffectRejected { reason: "no" },
        _ if sends => Signal::EffectConfirmed { reference: "x" },
        _ => Signal::Done { output: &output, patch: None },
    };
    run.signal(lane, &signal).ok()
}

fn answered(run: &mut Simulator, choices: &mut Choices, lane: i32, asked: Option<&str>) -> Transition {
    if asked == Some(crate::PUBLICATION_UNKNOWN) {
        let answer = [Settled::Delivered, Settled::Abandon][choices.below(2)];
        return run.settle(lane, answer);
    }
    let decision = match choices.below(4) {
        0 => Decision::Reject,
        1 => Decision::SendBack(choices.of(&STEPS).to_owned()),
        _ => Decision::Approve,
    };
    let decided = run.decide(lane, &decision);
    decided.unwrap_or_else(|_| run.decide(lane, &Decision::Reject).unwrap())
}

fn check(before: &Memory, run: &Simulator, lane: i32, transition: &Transition) -> Result<(), TestCaseError> {
    let beyond = transition.beyond.as_ref().unwrap();
    let approved = matches!(transition.lifecycle, Lifecycle::Approved | Lifecycle::Published);
    let entered = [Some(transition), beyond.trunk.as_ref()];
    for at in entered.into_iter().flatten().filter(|at| at.state == RunState::Running) {
        let sends = run.workflow.step(&at.step).is_some_and(|step| step.side_effect);
        prop_assert!(!sends || approved, "{at:?}");
    }
    if let Some(branch) = before.branches.get(&lane) {
        let fork = run.workflow.fork(&branch.fork).unwrap();
        let ended =
            |number: &i32| if *number == lane { transition.state } else { before.branches[number].state };
        let states: Vec<RunState> = fork.branches.iter().map(|(number, _)| ended(number)).collect();
        let joins: Vec<_> =
            transition.gates.iter().filter(|gate| gate.rule == format!("join of {}", fork.id)).collect();
        if joins.is_empty() {
            prop_assert!(slowly(fork.join, &states).is_none() || beyond.trunk.is_some());
        } else {
            prop_assert_eq!(joins[0].held, slowly(fork.join, &states));
            prop_assert!(beyond.trunk.is_some());
        }
    }
    if !run.row(0).state.is_open() {
        prop_assert!(run.rows.values().all(|row| !row.state.is_open()), "{:?}", run.rows);
        prop_assert!(run.memory.reserved.is_empty() && run.memory.ending.is_none());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_a_run_ends_and_keeps_its_promises(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut choices = Choices { bytes, next: 0 };
        let yaml = document(&mut choices);
        let mut run = Simulator::begin(&yaml, json!({}));
        let places = run.workflow.steps().count() + run.workflow.forks().count();
        // Each visit has its tries, a question and its answer; a send may be unknown and answered beside.
        let most = (places + 1) * VISITS * (ATTEMPTS + 3) * 4;
        let mut signals = 0;
        while run.row(0).state.is_open() {
            signals += 1;
            prop_assert!(signals <= most, "{yaml}\nit does not end: {:?}", run.rows);
            let open: Vec<i32> = run.rows.iter().filter(|(_, row)| row.state.is_open()).map(|(lane, _)| *lane).collect();
            let acting: Vec<i32> = open.into_iter().filter(|lane| !run.stands_at_a_fork(*lane)).collect();
            prop_assert!(!acting.is_empty(), "{yaml}\nnobody can move it: {:?}", run.rows);
            let lane = acting[choices.below(acting.len())];
            let before = run.memory.clone();
            if let Some(transition) = happens(&mut run, &mut choices, lane) {
                check(&before, &run, lane, &transition)?;
            }
            let closed: Vec<i32> = run.rows.iter().filter(|(_, row)| row.state == RunState::Cancelled).map(|(lane, _)| *lane).collect();
            for lane in closed {
                let late = run.signal(lane, &Signal::Done { output: &json!({}), patch: None });
                prop_assert!(late.is_err(), "a closed branch advanced");
            }
        }
    }

    #[test]
    fn a_join_decides_as_going_through_every_end_does(states in proptest::collection::vec(0..4_usize, 1..7), rule in 0..5_u32) {
        let rule = match rule { 0 => JoinRule::All, 1 => JoinRule::Any, least => JoinRule::AtLeast(least) };
        let states: Vec<RunState> =
            states.into_iter().map(|state| [RunState::Running, RunState::Done, RunState::Dead, RunState::Waiting][state]).collect();
        let count = |wanted: fn(&RunState) -> bool| states.iter().filter(|state| wanted(state)).count();
        let tally = super::super::forks::Tally {
            done: count(|state| *state == RunState::Done),
            open: count(|state| state.is_open()),
            all: states.len(),
        };
        prop_assert_eq!(tally.verdict(rule), slowly(rule, &states));
    }
}
