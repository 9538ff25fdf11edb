//! Gates: what must hold before a run goes on, as policy documents. Pure: the content, what judges reported, what the
//! record counted and the time are handed in. What cannot be evaluated asks a person; it never passes.
//!
//! A gate's ruling is of now: its present document rules, and the digest of that stands in each decision, so that it can
//! be said afterwards by which rules a run was let through.

mod budget_corridor;
mod coherence;
mod corridor;
mod document;
mod hitl;
mod kpi_corridor;
mod licence;
mod limits;
mod policies;
#[cfg(test)]
mod properties;
mod series;
mod strategy_lock;
#[cfg(test)]
mod testing;
mod three_wise;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use model::{Content, RunState, Sha256Digest};
use serde_json::{Value, json};

use crate::Basis;

pub use corridor::{CorridorFacts, DayFacts, LONGEST_WINDOW};
pub use document::GateError;
pub use limits::BudgetScope;
pub use policies::GatePolicies;
pub use series::{Gated, answered, before, gate_of};

/// The issue type, where a gate could not be evaluated.
pub const GATE_ERROR: &str = "gate_error";

/// A gate of a policy document.
#[derive(Debug)]
pub struct Gate {
    name: String,
    rules: Rules,
    document: Sha256Digest,
}

/// Its kind, with what that needs.
#[derive(Debug)]
enum Rules {
    Licence(licence::Licence),
    StrategyLock(strategy_lock::StrategyLock),
    ThreeWise(three_wise::ThreeWise),
    Hitl(hitl::Hitl),
    KpiCorridor(kpi_corridor::KpiCorridor),
    BudgetCorridor(budget_corridor::BudgetCorridor),
    Coherence(Box<coherence::Coherence>),
}

/// What a gate looks at.
#[derive(Debug, Clone, Copy)]
pub struct GateInput<'a> {
    /// What is to be published, where there is such.
    pub content: Option<&'a Content>,
    /// Digest of what stands before the gate: the content's, or else that of the blackboard. Answers are bound to it.
    pub subject: Sha256Digest,
    /// Where the event came from.
    pub source: &'a str,
    /// The run's tenant.
    pub tenant: &'a str,
    /// The run's region.
    pub region: &'a str,
    /// Artifacts by name; those of [`Gate::reads`] at least, where they exist.
    pub artifacts: &'a BTreeMap<String, Value>,
    /// What the record counted; there where [`Gate::days`] says so.
    pub facts: Option<&'a CorridorFacts>,
    /// What people answered to this run's gates.
    pub answers: &'a [Answer],
    /// The time, as the record has it.
    pub now: DateTime<Utc>,
}

/// What a person answered to a gate of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The gate.
    pub gate: String,
    /// What stood before it; the answer is for nothing else.
    pub subject: Sha256Digest,
    /// [`Basis::Person`] answers a question; [`Basis::Override`] lifts a block as well, where the document allows that.
    pub basis: Basis,
    /// Who.
    pub by: String,
}

/// What a gate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// Go on.
    Pass,
    /// It must not go on: an incident is opened, and the run stays in quality assurance with something to be done, as an
    /// escalation of the incident's kind.
    Block {
        /// The incident's kind.
        incident: String,
        /// What a person can do.
        todo: String,
    },
    /// A person decides.
    Ask {
        /// What kind of doubt.
        issue_type: String,
        /// In words.
        question: String,
    },
    /// The run ends.
    End(RunState),
}

/// What a gate says, and by what.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// What it says.
    pub ruling: Ruling,
    /// Why it could not be evaluated.
    pub error: Option<String>,
    /// The values that it read.
    pub values: Value,
    /// What they were held against.
    pub thresholds: Value,
    /// The person's answer by which it passes.
    pub answer: Option<Answer>,
}

/// What the rules of a kind say, before any answer of a person counts.
struct Finding {
    verdict: Verdict,
    values: Value,
    thresholds: Value,
}

enum Verdict {
    Pass,
    Block { incident: &'static str, todo: String },
    Ask { issue_type: String, question: String },
    NeedsReview,
    Errs(String),
}

/// A kind of gate.
trait Kind {
    /// What it says.
    fn judge(&self, input: &GateInput<'_>) -> Finding;

    /// The artifacts that it reads.
    fn reads(&self) -> Vec<&str> {
        vec![]
    }

    /// How many days of counts it reads, today among them.
    fn days(&self) -> Option<u32> {
        None
    }

    /// Whether a named override lifts its block.
    fn overridable(&self) -> bool {
        false
    }
}

impl Gate {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of the document that it stands in.
    #[must_use]
    pub fn document(&self) -> Sha256Digest {
        self.document
    }

    /// Its kind, as documents write it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.rules {
            Rules::Licence(_) => "licence",
            Rules::StrategyLock(_) => "strategy_lock",
            Rules::ThreeWise(_) => "three_wise",
            Rules::Hitl(_) => "hitl",
            Rules::KpiCorridor(_) => "kpi_corridor",
            Rules::BudgetCorridor(_) => "budget_corridor",
            Rules::Coherence(_) => "coherence",
        }
    }

    /// The artifacts that it reads.
    #[must_use]
    pub fn reads(&self) -> BTreeSet<&str> {
        self.rules().reads().into_iter().collect()
    }

    /// How many days of [`CorridorFacts`] it reads, today among them; `None` where it counts nothing.
    #[must_use]
    pub fn days(&self) -> Option<u32> {
        self.rules().days()
    }

    /// Whether it looks at what was spent.
    #[must_use]
    pub fn counts_cost(&self) -> bool {
        matches!(self.rules, Rules::BudgetCorridor(_))
    }

    /// Whether what passes it is cleared of taint: a person saw it, or three judges did.
    pub(crate) fn clears(&self, by_answer: bool) -> bool {
        match self.rules {
            Rules::Hitl(_) => by_answer,
            Rules::ThreeWise(_) => true,
            _ => false,
        }
    }

    /// Whether it asks a person for an approval.
    pub(crate) fn asks_approval(&self) -> bool {
        matches!(self.rules, Rules::Hitl(_))
    }

    /// Whether nothing passes it without a person's answer, so that it approves what it lets through.
    #[must_use]
    pub fn approves(&self) -> bool {
        matches!(&self.rules, Rules::Hitl(hitl) if hitl.always())
    }

    /// Whether a person with the right to may override what it blocks.
    #[must_use]
    pub fn overridable(&self) -> bool {
        self.rules().overridable()
    }

    /// What it says of this. The same input gives the same ruling.
    #[must_use]
    pub fn evaluate(&self, input: &GateInput<'_>) -> Evaluation {
        let Finding { verdict, values, thresholds } = self.rules().judge(input);
        let answers = || input.answers.iter().filter(|a| a.gate == self.name && a.subject == input.subject);
        let (ruling, answer, error) = match verdict {
            Verdict::Pass => (Ruling::Pass, None, None),
            Verdict::NeedsReview => (Ruling::End(RunState::NeedsReview), None, None),
            Verdict::Block { incident, todo } => {
                let overrides = self.overridable().then(|| answers().find(|a| a.basis == Basis::Override));
                (Ruling::Block { incident: incident.to_owned(), todo }, overrides.flatten(), None)
            }
            Verdict::Ask { issue_type, question } => {
                (Ruling::Ask { issue_type, question }, answers().find(|a| a.basis != Basis::Rule), None)
            }
            Verdict::Errs(error) => {
                let question = format!(
                    "The gate `{}` could not be evaluated ({error}). May this go on all the same?",
                    self.name
                );
                let ask = Ruling::Ask { issue_type: GATE_ERROR.to_owned(), question };
                (ask, answers().find(|a| a.basis != Basis::Rule), Some(error))
            }
        };
        let ruling = if answer.is_some() { Ruling::Pass } else { ruling };
        Evaluation { ruling, error, values, thresholds, answer: answer.cloned() }
    }

    fn rules(&self) -> &dyn Kind {
        match &self.rules {
            Rules::Licence(rules) => rules,
            Rules::StrategyLock(rules) => rules,
            Rules::ThreeWise(rules) => rules,
            Rules::Hitl(rules) => rules,
            Rules::KpiCorridor(rules) => rules,
            Rules::BudgetCorridor(rules) => rules,
            Rules::Coherence(rules) => rules.as_ref(),
        }
    }
}

impl Finding {
    fn of(verdict: Verdict, values: Value, thresholds: Value) -> Self {
        Self { verdict, values, thresholds }
    }

    fn errs(error: impl Into<String>, thresholds: Value) -> Self {
        Self::of(Verdict::Errs(error.into()), json!({}), thresholds)
    }
}

impl GateInput<'_> {
    /// The variables of CEL expressions beside the artifacts.
    fn context(&self) -> BTreeMap<&'static str, Value> {
        let content = self.content.and_then(|content| serde_json::to_value(content).ok());
        let place = json!({ "source": self.source, "tenant": self.tenant, "region": self.region });
        content.map(|content| ("content", content)).into_iter().chain([("run", place)]).collect()
    }

    /// A field of an artifact.
    fn field(&self, artifact: &str, field: &str) -> Result<&Value, String> {
        let found = self.artifacts.get(artifact).ok_or_else(|| format!("`{artifact}` reported nothing"))?;
        found.get(field).ok_or_else(|| format!("`{artifact}.{field}` is absent"))
    }
}
