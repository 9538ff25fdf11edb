//! A record of one run in memory: it stores what transitions say, as the record of a fleet would, and nothing more.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Content, Lifecycle, RunId, RunState, Sha256Digest};
use serde_json::Value;
use uuid::Uuid;

use super::super::*;
use crate::{
    Answer, Around, Asked, BudgetScope, CorridorFacts, Decision, Policy, Refusal, Settled, Spending, decide,
    settled,
};

/// The row of a run, or of one of its branches.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) state: RunState,
    pub(super) step: String,
    pub(super) attempt: i32,
    /// The issue type of what a person is asked.
    pub(super) asked: Option<String>,
    /// The condition or gate that asks.
    pub(super) rule: Option<String>,
}

#[derive(Debug)]
pub(super) struct Simulator {
    pub(super) workflow: Workflow,
    pub(super) rows: BTreeMap<i32, Row>,
    pub(super) lifecycle: Lifecycle,
    pub(super) content: Option<Sha256Digest>,
    /// What a person is shown.
    pub(super) stored: Option<Content>,
    pub(super) memory: Memory,
    pub(super) artifacts: BTreeMap<String, Value>,
    pub(super) letters: Vec<String>,
    /// Steps that got a job, in order.
    pub(super) jobs: Vec<(i32, String)>,
    /// How often each fork's join said where the run goes.
    pub(super) joins: Vec<String>,
    pub(super) last: Option<Transition>,
    /// Whether a person holds it back just now, which asks nobody.
    held: bool,
    pub(super) dry_run: bool,
    /// What the record would hand over.
    pub(super) around: Around,
    pub(super) answers: Vec<Answer>,
    pub(super) counts: CorridorFacts,
    pub(super) spending: BTreeMap<BudgetScope, Spending>,
}

impl Simulator {
    pub(super) fn begin(yaml: &str, inputs: Value) -> Self {
        let workflow = Workflow::unchecked(yaml);
        let memory = Memory::begin(&workflow, inputs);
        let step = workflow.first_step().to_owned();
        Self {
            rows: BTreeMap::from([(
                0,
                Row { state: RunState::Running, step: step.clone(), attempt: 0, asked: None, rule: None },
            )]),
            lifecycle: Lifecycle::Draft,
            held: false,
            content: None,
            stored: None,
            memory,
            artifacts: BTreeMap::new(),
            letters: vec![],
            jobs: vec![(0, step)],
            joins: vec![],
            last: None,
            dry_run: false,
            around: Around::default(),
            answers: vec![],
            counts: CorridorFacts { days: vec![], taken: 0, cost_micros: 0 },
            spending: BTreeMap::new(),
            workflow,
        }
    }

    pub(super) fn row(&self, lane: i32) -> &Row {
        &self.rows[&lane]
    }

    pub(super) fn run(&self) -> (RunState, &str) {
        (self.rows[&0].state, &self.rows[&0].step)
    }

    /// The lanes that have a job, by number.
    pub(super) fn working(&self) -> Vec<i32> {
        let works = |row: &Row| row.state == RunState::Running && self.workflow.fork(&row.step).is_none();
        self.rows.iter().filter(|(_, row)| works(row)).map(|(lane, _)| *lane).collect()
    }

    /// The lane of the job at a step.
    pub(super) fn lane(&self, step: &str) -> i32 {
        let at = self.working().into_iter().find(|lane| self.row(*lane).step == step);
        at.unwrap_or_else(|| panic!("no job at {step}: {:?}", self.rows))
    }

    pub(super) fn standing(&self, lane: i32) -> Standing<'_> {
        let row = self.row(lane);
        Standing {
            run: RunId(Uuid::from_u128(1)),
            branch: lane,
            state: row.state,
            lifecycle: self.lifecycle,
            step: &row.step,
            attempt: row.attempt,
            content: self.content,
            dry_run: self.dry_run,
        }
    }

    pub(super) fn signal(&mut self, lane: i32, signal: &Signal<'_>) -> Result<Transition, Impossible> {
        let facts = Facts { memory: Some(self.memory.clone()), ..Facts::default() };
        self.signal_with(lane, signal, &facts)
    }

    pub(super) fn signal_with(
        &mut self,
        lane: i32,
        signal: &Signal<'_>,
        facts: &Facts,
    ) -> Result<Transition, Impossible> {
        let inputs = self.workflow.condition_inputs(&self.row(lane).step).to_vec();
        let artifacts: BTreeMap<String, Value> = inputs
            .into_iter()
            .filter_map(|name| self.artifacts.get(&name).map(|body| (name, body.clone())))
            .collect();
        let route = |around: &Around| {
            let facts = Facts { around: Some(Arc::new(around.clone())), ..facts.clone() };
            advance(&self.workflow, &self.standing(lane), signal, &artifacts, &facts)
        };
        let transition = self.answered(&route)?;
        let again = self.answered(&route);
        assert_eq!(Ok(&transition), again.as_ref(), "the same input takes the same route");
        if let Signal::Done { output, .. } | Signal::Escalate { output, .. } = signal {
            self.artifacts.insert(self.row(lane).step.clone(), (*output).clone());
        }
        self.held = matches!(signal, Signal::Park { .. });
        self.store(lane, transition.clone());
        self.held = false;
        Ok(transition)
    }

    /// The worker of a step is done.
    pub(super) fn done(&mut self, step: &str, output: &Value) -> Transition {
        let lane = self.lane(step);
        self.signal(lane, &Signal::Done { output, patch: None }).unwrap()
    }

    pub(super) fn fails(&mut self, step: &str) -> Transition {
        let lane = self.lane(step);
        let failure = model::Failure::permanent("broken");
        self.signal(lane, &Signal::Failed { failure: &failure }).unwrap()
    }

    pub(super) fn decide(&mut self, lane: i32, decision: &Decision) -> Result<Transition, Refusal> {
        let (issue_type, rule) =
            (self.row(lane).asked.clone().unwrap_or_default(), self.row(lane).rule.clone());
        let asked = Asked {
            issue_type: &issue_type,
            content: self.stored.as_ref(),
            policy: &Policy::default(),
            source: "s",
            rule: rule.as_deref(),
            by: "ada",
            facts: &Facts::default(),
        };
        let transition = self.answered(&|around: &Around| {
            let facts = self.facts(around);
            decide(&self.workflow, &self.standing(lane), &Asked { facts: &facts, ..asked }, decision)
        })?;
        self.store(lane, transition.clone());
        Ok(transition)
    }

    /// A person tells what became of a post.
    pub(super) fn settle(&mut self, lane: i32, answer: Settled) -> Transition {
        let transition = self.answered(&|around: &Around| {
            settled(&self.workflow, &self.standing(lane), answer, &self.facts(around))
        });
        let transition = transition.unwrap();
        self.store(lane, transition.clone());
        transition
    }

    fn facts(&self, around: &Around) -> Facts {
        Facts {
            memory: Some(self.memory.clone()),
            around: Some(Arc::new(around.clone())),
            ..Facts::default()
        }
    }

    /// Routes until nothing is lacking, as the record does it.
    fn answered<E>(&self, route: &dyn Fn(&Around) -> Result<Transition, E>) -> Result<Transition, E> {
        let mut around = self.around.clone();
        for _ in 0..20 {
            let transition = route(&around)?;
            let wants = transition.beyond.as_deref().map(|beyond| beyond.wants.clone()).unwrap_or_default();
            if wants.is_empty() {
                return Ok(transition);
            }
            let stored = self.stored.as_ref().map(|content| serde_json::to_value(content).unwrap());
            for name in wants.artifacts {
                let stored = stored.clone().filter(|_| name == "content");
                let value = stored.or_else(|| self.artifacts.get(&name).cloned()).unwrap_or_default();
                around.artifacts.insert(name, value);
            }
            if wants.answers {
                around.answers = Some((self.answers.clone(), "2026-06-01T12:00:00Z".parse().unwrap()));
            }
            around.counts.extend(wants.places.into_iter().map(|place| (place, self.counts.clone())));
            if wants.spending {
                around.spending = Some(self.spending.clone());
            }
        }
        panic!("it lacks something for ever")
    }

    pub(super) fn stands_at_a_fork(&self, lane: i32) -> bool {
        let row = self.row(lane);
        row.state == RunState::Running && self.workflow.fork(&row.step).is_some()
    }

    fn store(&mut self, lane: i32, transition: Transition) {
        let beyond =
            transition.beyond.as_deref().expect("a run with a manifest has something beyond its row");
        let moved = self.row(lane).step != transition.step || self.row(lane).state != transition.state;
        if moved && transition.state == RunState::Running && self.workflow.fork(&transition.step).is_none() {
            self.jobs.push((lane, transition.step.clone()));
        }
        self.letters.extend(transition.death.iter().chain(&beyond.letters).cloned());
        self.keep(lane, &transition);
        for (number, step) in &beyond.opens {
            self.jobs.push((*number, step.clone()));
        }
        for number in &beyond.closes {
            assert!(self.rows[number].state.is_open(), "branch {number} is closed twice");
        }
        for (number, branch) in &beyond.memory.branches {
            let row =
                Row { state: branch.state, step: branch.step.clone(), attempt: 0, asked: None, rule: None };
            let known = self.rows.entry(*number).or_insert_with(|| row.clone());
            if (known.state, &known.step) != (row.state, &row.step) {
                if (known.state, row.state) == (RunState::Parked, RunState::Running) {
                    self.jobs.push((*number, row.step.clone()));
                }
                *known = row;
            }
        }
        let joins = transition.gates.iter().filter(|gate| gate.rule.starts_with("join of "));
        self.joins.extend(joins.map(|gate| gate.rule.clone()));
        if let Some(trunk) = &beyond.trunk {
            assert!(trunk.beyond.is_none() && lane != 0);
            self.letters.extend(trunk.death.clone());
            if trunk.state == RunState::Running && self.workflow.fork(&trunk.step).is_none() {
                self.jobs.push((0, trunk.step.clone()));
            }
            self.keep(0, trunk);
        }
        if let Some(content) = &beyond.content {
            self.content = Some(content.sha256);
            self.stored = Some(content.content.clone());
        }
        self.answers.extend(beyond.answer.clone());
        if let Some(output) = &beyond.output {
            self.artifacts.insert(self.row(lane).step.clone(), output.clone());
        }
        // What is stored is read back, as the record does it; the branches have rows of their own.
        let stored = serde_json::to_string(&beyond.memory).unwrap();
        let branches = beyond.memory.branches.clone();
        self.memory = Memory { branches, ..serde_json::from_str(&stored).unwrap() };
        self.last = Some(transition);
    }

    fn keep(&mut self, lane: i32, transition: &Transition) {
        assert_eq!(transition.death.is_some(), transition.state == RunState::Dead, "{transition:?}");
        let asks = matches!(transition.state, RunState::Waiting | RunState::Parked) && !self.held;
        assert_eq!(transition.escalation.is_some(), asks, "{transition:?}");
        self.lifecycle = transition.lifecycle;
        let row = Row {
            state: transition.state,
            step: transition.step.clone(),
            attempt: transition.attempt,
            asked: transition.escalation.as_ref().map(|escalation| escalation.issue_type.clone()),
            rule: transition.escalation.as_ref().and_then(|escalation| escalation.rule.clone()),
        };
        self.rows.insert(lane, row);
    }
}
