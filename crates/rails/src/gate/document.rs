//! Policy documents as they are written, and what may stand in them.

use std::collections::BTreeMap;

use model::{Sha256Digest, sha256};
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::Limit;
use super::{Gate, GateInput, Rules};
use super::{budget_corridor, coherence, hitl, kpi_corridor, licence, strategy_lock, three_wise};
use crate::condition::{Condition, Held};
use crate::terms;

/// Gate policies that cannot be used. Permanent: a person must change a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct GateError(pub(super) String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    gates: BTreeMap<Name, RulesDocument>,
    #[serde(default)]
    budgets: Vec<Limit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RulesDocument {
    Licence(licence::Licence),
    StrategyLock(strategy_lock::StrategyLock),
    ThreeWise(three_wise::ThreeWise),
    Hitl(hitl::Hitl),
    KpiCorridor(kpi_corridor::KpiCorridor),
    BudgetCorridor(budget_corridor::BudgetCorridor),
    Coherence(Box<coherence::Coherence>),
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if is_name(&name) {
            return Ok(Self(name));
        }
        Err(format!("a gate is called `{name}`: write letters, digits, `_` and `-`, at most 64"))
    }
}

/// Reads a document: its gates, by name, and its bounds of spending.
pub(super) fn parse(yaml: &str) -> Result<(BTreeMap<String, Gate>, Vec<Limit>), GateError> {
    let digest = sha256(&[yaml.as_bytes()]);
    if yaml.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#')) {
        return Ok((BTreeMap::new(), vec![]));
    }
    let document: Document =
        serde_saphyr::from_str(yaml).map_err(|e| GateError(format!("the gates cannot be read: {e}")))?;
    let gates = document.gates.into_iter();
    let gates = gates.map(|(Name(name), rules)| (name.clone(), gate(name, rules, digest)));
    Ok((gates.collect(), document.budgets))
}

fn gate(name: String, rules: RulesDocument, document: Sha256Digest) -> Gate {
    let rules = match rules {
        RulesDocument::Licence(rules) => Rules::Licence(rules),
        RulesDocument::StrategyLock(rules) => Rules::StrategyLock(rules),
        RulesDocument::ThreeWise(rules) => Rules::ThreeWise(rules),
        RulesDocument::Hitl(rules) => Rules::Hitl(rules),
        RulesDocument::KpiCorridor(rules) => Rules::KpiCorridor(rules),
        RulesDocument::BudgetCorridor(rules) => Rules::BudgetCorridor(rules),
        RulesDocument::Coherence(rules) => Rules::Coherence(rules),
    };
    Gate { name, rules, document }
}

pub(super) fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

/// Whole words, however they are dressed.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Term {
    pub(super) words: String,
    pub(super) pattern: Regex,
}

impl TryFrom<String> for Term {
    type Error = String;

    fn try_from(words: String) -> Result<Self, String> {
        Ok(Self { pattern: terms::term(&words)?, words })
    }
}

/// A regular expression that minds no case.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Pattern(pub(super) Regex);

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        terms::pattern(&source).map(Self).map_err(|e| format!("`{source}` {e}"))
    }
}

/// A CEL expression over artifacts by step id, `content` and `run`.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Cel(Condition);

impl TryFrom<String> for Cel {
    type Error = String;

    fn try_from(source: String) -> Result<Self, String> {
        Condition::compile(&source).map(Self)
    }
}

impl Cel {
    pub(super) fn source(&self) -> &str {
        self.0.source()
    }

    /// The artifacts that it reads.
    pub(super) fn reads(&self) -> Vec<&str> {
        self.0.roots().filter(|root| !matches!(*root, "content" | "run")).collect()
    }

    pub(super) fn holds(&self, input: &GateInput<'_>) -> Held {
        let context = input.context();
        self.0.evaluate(&variables(input, &context))
    }

    pub(super) fn value(&self, input: &GateInput<'_>) -> Result<Value, String> {
        let context = input.context();
        let value = self.0.value(&variables(input, &context));
        value.map_err(|e| format!("`{}`: {e}", self.source()))
    }

    /// The values of what it reads.
    pub(super) fn evidence(&self, input: &GateInput<'_>) -> Value {
        let context = input.context();
        self.0.evidence(&variables(input, &context))
    }
}

fn variables<'a>(
    input: &GateInput<'a>,
    context: &'a BTreeMap<&'static str, Value>,
) -> BTreeMap<&'a str, &'a Value> {
    let artifacts = input.artifacts.iter().map(|(name, value)| (name.as_str(), value));
    artifacts.chain(context.iter().map(|(name, value)| (*name, value))).collect()
}

/// What a number must lie between; a bound that is absent does not bind.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "BoundsDocument")]
pub(super) struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoundsDocument {
    min: Option<f64>,
    max: Option<f64>,
}

impl TryFrom<BoundsDocument> for Bounds {
    type Error = String;

    fn try_from(BoundsDocument { min, max }: BoundsDocument) -> Result<Self, String> {
        let finite = min.iter().chain(&max).all(|bound| bound.is_finite());
        if !finite || min.is_none() && max.is_none() || min.zip(max).is_some_and(|(min, max)| min > max) {
            return Err("bounds need a min or a max, and the min is not above the max".to_owned());
        }
        Ok(Self { min, max })
    }
}

impl Bounds {
    /// Whether a number lies between them, themselves included. What is no number does not.
    pub(super) fn hold(&self, value: f64) -> bool {
        self.min.is_none_or(|min| value >= min) && self.max.is_none_or(|max| value <= max)
    }
}
