//! The checks a document must pass before any run begins with it. All faults are listed at once.

use std::collections::{BTreeMap, BTreeSet};

use model::RunState;

use super::compile::{RESERVED, duration, retries};
use super::document::{Document, StepDocument};
use super::{Catalog, Fault, Faults, Target};
use crate::Facts;
use crate::condition::Condition;

/// A step's way out.
struct Edge {
    to: Target,
    /// Whether leaving this way is an approval.
    approves: bool,
}

pub(super) fn check(document: &Document, catalog: &Catalog<'_>) -> Result<(), Faults> {
    let mut checker = Checker { document, faults: Vec::new() };
    checker.names(catalog);
    let edges = checker.edges();
    if checker.faults.is_empty() {
        checker.reachable(&edges);
        checker.acyclic(&edges);
    }
    if checker.faults.is_empty() {
        checker.conditions(&edges);
        checker.approvals(&edges);
    }
    if checker.faults.is_empty() { Ok(()) } else { Err(Faults(checker.faults)) }
}

type Edges<'a> = BTreeMap<&'a str, Vec<Edge>>;

struct Checker<'a> {
    document: &'a Document,
    faults: Vec<Fault>,
}

impl<'a> Checker<'a> {
    fn fault(&mut self, place: &str, message: impl Into<String>) {
        self.faults.push(Fault { place: place.to_owned(), message: message.into() });
    }

    fn first(&self) -> &'a str {
        self.document.steps.first().map_or("", |step| step.id.as_str())
    }

    fn names(&mut self, catalog: &Catalog<'_>) {
        let document = self.document;
        if document.steps.is_empty() {
            self.fault("steps", "a workflow needs at least one step");
        }
        if !is_name(&document.name) {
            self.fault("name", "a name is 1 to 40 lower-case letters, digits and underscores");
        }
        let mut seen = BTreeSet::new();
        for step in &document.steps {
            if !is_name(&step.id) || RESERVED.contains(&step.id.as_str()) {
                self.fault(&step.id, "a step's id is 1 to 40 lower-case letters, digits and underscores, and none of values, facts, content");
            }
            if !seen.insert(&step.id) {
                self.fault(&step.id, "two steps have this id");
            }
            if !catalog.workers.contains(&step.worker.as_str()) {
                let known = catalog.workers.join(", ");
                self.fault(
                    &step.id,
                    format!("no worker type is called `{}`; known are {known}", step.worker),
                );
            }
            let timed =
                retries(&step.retries).err().into_iter().chain(duration("deadline", &step.deadline).err());
            for message in timed.chain(duration("escalation_due", &step.escalation_due).err()) {
                self.fault(&step.id, message);
            }
        }
    }

    fn edges(&mut self) -> Edges<'a> {
        let ids: BTreeSet<&str> = self.document.steps.iter().map(|step| step.id.as_str()).collect();
        let mut edges = Edges::new();
        for step in &self.document.steps {
            let mut out = Vec::new();
            for branch in &step.branches {
                match branch.target() {
                    Ok(to) => out.push(Edge { approves: matches!(to, Target::Escalate { .. }), to }),
                    Err(message) => self.fault(&step.id, message),
                }
            }
            out.push(Edge { to: step.on_success.target(), approves: step.approve.is_some() });
            out.extend(step.on_failure.iter().map(|target| Edge { to: target.target(), approves: false }));
            for edge in &out {
                match &edge.to {
                    Target::Step(id) if !ids.contains(id.as_str()) => {
                        self.fault(&step.id, format!("it leads to `{id}`, which is no step"));
                    }
                    Target::End(state) if state.is_open() => {
                        self.fault(&step.id, format!("`{state}` is no end"));
                    }
                    Target::End(RunState::Published) if !step.side_effect => {
                        self.fault(&step.id, "only a step with side_effect can end a run as published");
                    }
                    _ => {}
                }
            }
            edges.insert(step.id.as_str(), out);
        }
        edges
    }

    fn reachable(&mut self, edges: &Edges<'a>) {
        let mut seen = BTreeSet::new();
        let mut open = vec![self.first()];
        while let Some(step) = open.pop() {
            if seen.insert(step) {
                open.extend(next(edges, step));
            }
        }
        for step in &self.document.steps {
            if !seen.contains(step.id.as_str()) {
                self.fault(&step.id, "no path leads here");
            }
        }
        let ends = edges.values().flatten().any(|edge| matches!(edge.to, Target::End(_)));
        if !ends {
            self.fault("steps", "no path ends");
        }
    }

    /// A loop needs a bound, and this version of the document has none to offer.
    fn acyclic(&mut self, edges: &Edges<'a>) {
        let mut done = BTreeSet::new();
        for step in &self.document.steps {
            if let Some(path) = find_loop(edges, &step.id, &mut Vec::new(), &mut done) {
                self.fault(&step.id, format!("a loop without a bound: {}", path.join(" → ")));
                return;
            }
        }
    }

    fn conditions(&mut self, edges: &Edges<'a>) {
        for step in &self.document.steps {
            let before = ancestors(edges, &step.id);
            for branch in &step.branches {
                match Condition::compile(&branch.when) {
                    Ok(condition) => self.references(step, &condition, &before),
                    Err(message) => self.fault(&step.id, message),
                }
            }
        }
    }

    fn references(&mut self, step: &StepDocument, condition: &Condition, before: &BTreeSet<&str>) {
        let shown = condition.source();
        for root in condition.roots() {
            let known = root == step.id || RESERVED.contains(&root) || before.contains(root);
            if !known {
                self.fault(
                    &step.id,
                    format!("`{shown}` reads `{root}`, which no step before this one writes"),
                );
            }
        }
        for (root, field) in condition.fields() {
            if root == "values" && !self.document.values.contains_key(field) {
                self.fault(
                    &step.id,
                    format!("`{shown}` reads `values.{field}`, which is not among the values"),
                );
            }
            if root == "facts" && !Facts::FIELDS.contains(&field) {
                let known = Facts::FIELDS.join(", ");
                self.fault(&step.id, format!("`{shown}` reads `facts.{field}`; known are {known}"));
            }
        }
    }

    /// Every path to a side effect crosses an approval.
    fn approvals(&mut self, edges: &Edges<'a>) {
        for step in self.document.steps.iter().filter(|step| step.side_effect) {
            if let Some(path) = unapproved(edges, self.first(), &step.id) {
                self.fault(
                    &step.id,
                    format!("a path leads to this side effect without an approval: {}", path.join(" → ")),
                );
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn next<'e>(edges: &'e Edges<'_>, step: &str) -> impl Iterator<Item = &'e str> {
    edges.get(step).into_iter().flatten().filter_map(|edge| match &edge.to {
        Target::Step(id) => Some(id.as_str()),
        _ => None,
    })
}

fn find_loop(
    edges: &Edges<'_>,
    step: &str,
    path: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(at) = path.iter().position(|seen| seen == step) {
        let mut found = path[at..].to_vec();
        found.push(step.to_owned());
        return Some(found);
    }
    if done.contains(step) {
        return None;
    }
    path.push(step.to_owned());
    for to in next(edges, step) {
        if let Some(found) = find_loop(edges, to, path, done) {
            return Some(found);
        }
    }
    path.pop();
    done.insert(step.to_owned());
    None
}

/// The steps from which a path leads to `step`.
fn ancestors<'e>(edges: &'e Edges<'_>, step: &str) -> BTreeSet<&'e str> {
    let mut found = BTreeSet::new();
    let mut open = vec![step];
    while let Some(target) = open.pop() {
        for from in edges.keys() {
            if next(edges, from).any(|to| to == target) && found.insert(*from) {
                open.push(from);
            }
        }
    }
    found
}

/// A path from `from` to `to` of which no edge is an approval. The graph has no loops, so this ends.
fn unapproved(edges: &Edges<'_>, from: &str, to: &str) -> Option<Vec<String>> {
    if from == to {
        return Some(vec![to.to_owned()]);
    }
    edges.get(from)?.iter().filter(|edge| !edge.approves).find_map(|edge| {
        let Target::Step(next) = &edge.to else { return None };
        let mut path = unapproved(edges, next, to)?;
        path.insert(0, from.to_owned());
        Some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::super::*;

    const CATALOG: Catalog<'_> = Catalog { workers: &["etl", "judge", "publisher"] };

    fn faults(yaml: &str) -> String {
        Workflow::register(yaml, &BTreeMap::new(), &CATALOG).unwrap_err().to_string()
    }

    fn document(steps: &str) -> String {
        format!("name: t\nversion: 1\nvalues: {{ max: 0.5 }}\nsteps:\n{steps}")
    }

    #[test]
    fn the_built_in_workflow_passes_and_survives_storage() {
        let catalog = Catalog { workers: &["etl", "embedding", "judge", "publisher"] };
        let workflow = Workflow::register(builtin_trend(), &BTreeMap::new(), &catalog).unwrap();
        let stored = Workflow::from_stored(workflow.version(), workflow.document()).unwrap();
        assert_eq!(stored.document(), workflow.document());
        let other = BTreeMap::from([("max_toxicity".to_owned(), serde_json::json!(0.7))]);
        let overridden = Workflow::register(builtin_trend(), &other, &catalog).unwrap();
        assert_ne!(overridden.version(), workflow.version());
        assert!(Workflow::from_stored(workflow.version(), overridden.document()).is_err());
    }

    #[test]
    fn each_fault_is_refused_with_what_is_wrong() {
        let end = "on_success: { end: done }";
        for (steps, expected) in [
            (format!("  - {{ id: a, worker: nobody, {end} }}"), "no worker type is called `nobody`"),
            ("  - { id: a, worker: etl, on_success: b }".to_owned(), "`b`, which is no step"),
            (format!("  - {{ id: a, worker: etl, {end} }}\n  - {{ id: b, worker: etl, {end} }}"), "no path leads here"),
            (format!("  - {{ id: a, worker: etl, {end} }}\n  - {{ id: a, worker: etl, {end} }}"), "two steps have this id"),
            (
                "  - { id: a, worker: etl, on_success: b }\n  - { id: b, worker: etl, on_success: { end: done }, on_failure: a }"
                    .to_owned(),
                "a loop without a bound: a → b → a",
            ),
            (
                "  - { id: a, worker: etl, on_success: p }\n  - { id: p, worker: publisher, side_effect: true, on_success: { end: published } }"
                    .to_owned(),
                "without an approval: a → p",
            ),
            (
                "  - { id: a, worker: judge, approve: by_rule, on_success: p, on_failure: p }\n  - { id: p, worker: publisher, side_effect: true, on_success: { end: published } }"
                    .to_owned(),
                "without an approval: a → p",
            ),
            ("  - { id: a, worker: etl, on_success: { end: published } }".to_owned(), "only a step with side_effect"),
            ("  - { id: a, worker: etl, on_success: { end: running } }".to_owned(), "`running` is no end"),
            (format!("  - {{ id: values, worker: etl, {end} }}"), "none of values, facts, content"),
            (format!("  - {{ id: a, worker: etl, deadline: '60', {end} }}"), "write a whole number with a unit"),
            (format!("  - {{ id: a, worker: etl, retries: {{ max_attempts: 0 }}, {end} }}"), "at least 1"),
            (format!("  - {{ id: a, worker: etl, colour: red, {end} }}"), "colour"),
            (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'z.x > 1', end: done }}], {end} }}"), "reads `z`"),
            (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'a.x > values.min', end: done }}], {end} }}"), "`values.min`"),
            (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'facts.moon', end: done }}], {end} }}"), "`facts.moon`"),
            (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'fly(a.x)', end: done }}], {end} }}"), "unknown function `fly`"),
            (format!("  - {{ id: a, worker: etl, branches: [{{ when: 'a.x', end: done, to: a }}], {end} }}"), "exactly one of"),
        ] {
            let found = faults(&document(&steps));
            assert!(found.contains(expected), "{steps}\n{found}");
        }
    }

    #[test]
    fn several_faults_are_listed_at_once_and_overrides_must_fit() {
        let found = faults(&document("  - { id: A, worker: x, on_success: nowhere }"));
        assert_eq!(found.lines().count(), 3, "{found}");
        let good = document("  - { id: a, worker: etl, on_success: { end: done } }");
        for (name, value) in [("mox", serde_json::json!(1)), ("max", serde_json::json!("1"))] {
            let overrides = BTreeMap::from([(name.to_owned(), value)]);
            assert!(Workflow::register(&good, &overrides, &CATALOG).is_err(), "{name}");
        }
    }
}
