//! A workflow as a graph, and its drawings.

mod layers;
mod mermaid;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::workflow::document::Document;
use crate::workflow::flow::{Edge, Flow, Kind, To};
use crate::{Faults, Workflow};

/// A workflow's steps and ends, and the ways between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The workflow's version.
    pub version: String,
    /// The first one is where runs begin.
    pub nodes: Vec<Node>,
    /// Ways between them, one for each pair.
    pub ways: Vec<Way>,
}

/// A step, a join, an end, or a question to a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// A step's id; of others what they are and of what, such as `end:done`.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// Its name as it is shown.
    pub label: String,
    /// Who does it, in small print.
    pub detail: String,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// A step that a worker does.
    Step,
    /// A step that acts on the world outside.
    SideEffect,
    /// A step that opens branches.
    Fork,
    /// Where a fork's branches meet.
    Join,
    /// An end of the run.
    End,
    /// A question to a person.
    Person,
}

/// A way from one node to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Way {
    /// A node's number.
    pub from: usize,
    /// A node's number.
    pub to: usize,
    /// When it is taken; empty for plain success.
    pub label: String,
    /// Whether every reason to take it is an exception: failure, timeout, exhaustion, compensation.
    pub exceptional: bool,
}

impl Graph {
    /// The graph of a workflow.
    ///
    /// # Errors
    /// [`Faults`] where a build of another version wrote the document.
    pub fn of(workflow: &Workflow) -> Result<Self, Faults> {
        let document = Document::stored(workflow.document())?;
        let flow = Flow::of(&document);
        let mut drawn = Drawn { flow: &flow, nodes: vec![], places: BTreeMap::new(), ways: BTreeMap::new() };
        for at in 0..flow.len() {
            drawn.step(at);
        }
        for at in 0..flow.len() {
            drawn.out_of(at);
        }
        let ways = drawn.ways.into_iter().map(|((from, to), labels)| labels.way(from, to)).collect();
        Ok(Self { version: workflow.version().to_owned(), nodes: drawn.nodes, ways })
    }
}

#[derive(Default)]
struct Labels {
    texts: Vec<String>,
    plain: bool,
}

impl Labels {
    fn way(self, from: usize, to: usize) -> Way {
        let mut texts = self.texts;
        texts.dedup();
        let exceptional = !self.plain && texts.iter().all(|text| EXCEPTIONS.contains(&text.as_str()));
        Way { from, to, label: texts.join(", "), exceptional }
    }
}

const EXCEPTIONS: [&str; 5] = ["failure", "timeout", "exhausted", "undo", "branches fail"];

struct Drawn<'a> {
    flow: &'a Flow<'a>,
    nodes: Vec<Node>,
    places: BTreeMap<String, usize>,
    ways: BTreeMap<(usize, usize), Labels>,
}

impl Drawn<'_> {
    fn node(&mut self, id: &str, kind: NodeKind, label: &str, detail: &str) -> usize {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let (id, label, detail) = (id.to_owned(), label.to_owned(), detail.to_owned());
        self.places.insert(id.clone(), self.nodes.len());
        self.nodes.push(Node { id, kind, label, detail });
        self.nodes.len() - 1
    }

    fn step(&mut self, at: usize) {
        let step = self.flow.step(at);
        let kind = match (&step.parallel, step.side_effect) {
            (Some(_), _) => NodeKind::Fork,
            (None, true) => NodeKind::SideEffect,
            (None, false) => NodeKind::Step,
        };
        let mut detail = vec![match (&step.parallel, &step.orchestrate) {
            (Some(parallel), _) => format!("{} branches", parallel.branches.len()),
            (None, Some(_)) => "orchestrate".to_owned(),
            (None, None) => step.worker.clone(),
        }];
        let role = step.orchestrate.as_ref().and_then(|it| it.role.clone());
        detail.extend(step.role.clone().or(role));
        detail.extend(step.max_visits.map(|most| format!("≤ {most}×")));
        detail.extend(step.approve.map(|_| "approves".to_owned()));
        let gates = step.gates.iter().flat_map(|gates| gates.before.iter().chain(&gates.after));
        detail.extend(gates.map(|gate| format!("⛉ {gate}")));
        self.node(&step.id, kind, &step.id, &detail.join(" · "));
    }

    fn join(&mut self, fork: usize) -> usize {
        let needed = self.flow.needed(fork);
        let count = self.flow.step(fork).parallel.as_ref().map_or(0, |parallel| parallel.branches.len());
        let id = format!("join:{}", self.flow.id(fork));
        let detail = if needed == count { "all".to_owned() } else { format!("{needed} of {count}") };
        self.node(&id, NodeKind::Join, "join", &detail)
    }

    fn out_of(&mut self, at: usize) {
        let is_fork = self.flow.is_fork(at);
        let decides = |kind| matches!(kind, Kind::Success | Kind::Failure);
        for edge in self.flow.edges(at) {
            let from = if is_fork && decides(edge.kind) { self.join(at) } else { at };
            let label = self.label(at, edge);
            match &edge.to {
                To::Step(to) => self.way(from, *to, label),
                To::Join => {
                    let forks: Vec<usize> = self
                        .flow
                        .branches
                        .iter()
                        .filter(|branch| branch.steps.contains(&at))
                        .map(|branch| branch.fork)
                        .collect();
                    for fork in forks {
                        let join = self.join(fork);
                        self.way(from, join, label.clone());
                    }
                }
                To::End(state) => {
                    let to = self.node(&format!("end:{state}"), NodeKind::End, state.as_str(), "");
                    self.way(from, to, label);
                }
                To::Reject(incident) => {
                    let to = self.node(&format!("reject:{incident}"), NodeKind::End, "rejected", incident);
                    self.way(from, to, label);
                }
                To::Escalate(issue) => {
                    let to = self.node(&format!("person:{issue}"), NodeKind::Person, "a person", issue);
                    self.way(from, to, label);
                }
                To::Nowhere(_) => {}
            }
        }
    }

    fn label(&self, at: usize, edge: &Edge) -> String {
        let step = self.flow.step(at);
        match edge.kind {
            Kind::Condition(number) => step.branches[number].when.clone(),
            Kind::Success | Kind::Opens(_) => String::new(),
            Kind::Failure if self.flow.is_fork(at) => "branches fail".to_owned(),
            Kind::Failure => "failure".to_owned(),
            Kind::Timeout => "timeout".to_owned(),
            Kind::Exhausted => "exhausted".to_owned(),
            Kind::Skipped => format!("{} exists", step.skip_if_exists.as_deref().unwrap_or_default()),
            Kind::Quality => "asks for QA".to_owned(),
            Kind::Compensation => "undo".to_owned(),
        }
    }

    fn way(&mut self, from: usize, to: usize, label: String) {
        let labels = self.ways.entry((from, to)).or_default();
        if label.is_empty() {
            labels.plain = true;
        } else {
            labels.texts.push(label);
        }
    }
}
