//! Gates and what stands before them, for tests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use chrono::{DateTime, Days, NaiveDate, Utc};
use model::{Content, Sha256Digest};
use serde_json::Value;

use super::{Answer, CorridorFacts, DayFacts, Evaluation, GATE_ERROR, Gate, GateInput, Ruling};
use crate::Basis;

static NOTHING: LazyLock<BTreeMap<String, Value>> = LazyLock::new(BTreeMap::new);

pub(super) fn content(body: &str) -> Content {
    Content {
        title: "t".to_owned(),
        summary: String::new(),
        body: body.to_owned(),
        url: None,
        language: "en".to_owned(),
        tags: vec!["garden".to_owned()],
    }
}

/// The gate of this kind, called `g`.
pub(super) fn gate(rules: &str) -> Gate {
    super::document::parse(&format!("gates:\n  g:\n    {rules}\n")).unwrap().0.remove("g").unwrap()
}

pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// Of tenant `acme` in region `de`, on the first of June 2026.
pub(super) fn input(content: &Content) -> GateInput<'_> {
    GateInput {
        content: Some(content),
        subject: Sha256Digest([7; 32]),
        source: "news",
        tenant: "acme",
        region: "de",
        artifacts: &NOTHING,
        facts: None,
        answers: &[],
        now: at("2026-06-01T12:00:00Z"),
    }
}

impl<'a> GateInput<'a> {
    pub(super) fn with(self, facts: &'a CorridorFacts) -> Self {
        Self { facts: Some(facts), ..self }
    }

    pub(super) fn given(self, artifacts: &'a BTreeMap<String, Value>) -> Self {
        Self { artifacts, ..self }
    }
}

/// Posts and complaints by day, today first, and what today cost.
pub(super) fn facts(days: &[(u64, u64)], cost_micros: u64) -> CorridorFacts {
    let today = NaiveDate::from_ymd_opt(2026, 6, 1).unwrap();
    let days = days.iter().zip(0..);
    let day = |((published, complaints), ago): (&(u64, u64), u64)| DayFacts {
        day: today - Days::new(ago),
        published: *published,
        complaints: *complaints,
    };
    CorridorFacts { days: days.map(day).collect(), taken: 0, cost_micros }
}

pub(super) fn artifacts(value: Value) -> BTreeMap<String, Value> {
    value.as_object().unwrap().clone().into_iter().collect()
}

pub(super) fn ruling(rules: &str, input: &GateInput<'_>) -> Ruling {
    gate(rules).evaluate(input).ruling
}

/// The kind of the incident.
pub(super) fn block(ruling: Ruling) -> String {
    let Ruling::Block { incident, .. } = ruling else { panic!("{ruling:?} blocks nothing") };
    incident
}

/// The kind of the question.
pub(super) fn ask(ruling: Ruling) -> String {
    let Ruling::Ask { issue_type, .. } = ruling else { panic!("{ruling:?} asks nobody") };
    issue_type
}

/// Asserts that the gate could not be evaluated, for this reason, and asks a person.
pub(super) fn errs(evaluation: &Evaluation, reason: &str) {
    let error = evaluation.error.as_deref().unwrap_or_else(|| panic!("{evaluation:?} is no error"));
    assert!(error.contains(reason), "{error}");
    assert_eq!(ask(evaluation.ruling.clone()), GATE_ERROR);
}

/// What a person answered to the gate `g`.
pub(super) fn answer(basis: Basis) -> Answer {
    Answer { gate: "g".to_owned(), subject: Sha256Digest([7; 32]), basis, by: "ada".to_owned() }
}
