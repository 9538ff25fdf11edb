//! A person is asked: always, or where a condition holds. The answer is an approval.

use serde::Deserialize;
use serde_json::json;

use super::document::{Cel, is_name};
use super::{Finding, GateInput, Kind, Verdict};
use crate::condition::Held;
use crate::issue;

#[derive(Debug, Deserialize)]
#[serde(try_from = "Document")]
pub(super) struct Hitl {
    when: Option<Cel>,
    issue_type: String,
    question: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    when: Option<Cel>,
    #[serde(default = "approval")]
    issue_type: String,
    #[serde(default = "may_it")]
    question: String,
}

fn approval() -> String {
    "approval_required".to_owned()
}

fn may_it() -> String {
    "May this go on as it is?".to_owned()
}

impl TryFrom<Document> for Hitl {
    type Error = String;

    fn try_from(Document { when, issue_type, question }: Document) -> Result<Self, String> {
        if !is_name(&issue_type) {
            return Err(format!("issue_type is `{issue_type}`: write a name, such as approval_required"));
        }
        if let Some(reserved) = issue::reserved(&issue_type) {
            return Err(format!("{reserved}: write another, such as approval_required"));
        }
        if question.trim().is_empty() {
            return Err("question is empty".to_owned());
        }
        Ok(Self { when, issue_type, question })
    }
}

impl Hitl {
    /// Whether a person is asked whatever is known.
    pub(super) fn always(&self) -> bool {
        self.when.is_none()
    }
}

impl Kind for Hitl {
    fn judge(&self, input: &GateInput<'_>) -> Finding {
        let ask = || Verdict::Ask { issue_type: self.issue_type.clone(), question: self.question.clone() };
        let Some(when) = &self.when else { return Finding::of(ask(), json!({}), json!({})) };
        let verdict = match when.holds(input) {
            Held::Yes => ask(),
            Held::No => Verdict::Pass,
            Held::Errs(error) => Verdict::Errs(format!("`{}`: {error}", when.source())),
        };
        Finding::of(verdict, when.evidence(input), json!({ "when": when.source() }))
    }

    fn reads(&self) -> Vec<&str> {
        self.when.as_ref().map(Cel::reads).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{answer, artifacts, ask, content, errs, gate, input, ruling};
    use super::super::{GateInput, Ruling};
    use super::*;
    use crate::Basis;

    #[test]
    fn a_person_is_asked_always_and_a_rule_is_no_person() {
        let content = content("x");
        assert_eq!(ask(ruling("hitl: {}", &input(&content))), "approval_required");
        assert!(gate("hitl: {}").approves());
        for (basis, passes) in [(Basis::Person, true), (Basis::Override, true), (Basis::Rule, false)] {
            let answers = [answer(basis)];
            let found = ruling("hitl: {}", &GateInput { answers: &answers, ..input(&content) });
            assert_eq!(found == Ruling::Pass, passes, "{basis:?}");
        }
    }

    #[test]
    fn it_asks_by_no_issue_type_that_the_rails_have_for_themselves() {
        let parse = |issue_type: &str| {
            let text = format!("gates: {{ editor: {{ hitl: {{ issue_type: {issue_type} }} }} }}");
            crate::GatePolicies::parse([("p", text.as_str())]).map_err(|error| error.to_string())
        };
        assert!(parse("too_long").is_ok());
        for own in ["publication_unknown", "budget_overrun", "tool_call", "guardrail"] {
            let refused = parse(own).unwrap_err();
            assert!(refused.contains(&format!("the issue type `{own}`")), "{refused}");
        }
    }

    #[test]
    fn a_condition_asks_where_it_holds_and_where_it_errs() {
        let rules = "hitl: { when: 'etl.score < 0.5 || run.region == \"us\"', issue_type: weak }";
        assert_eq!(gate(rules).reads().into_iter().collect::<Vec<_>>(), ["etl"]);
        assert!(!gate(rules).approves());
        let content = content("x");
        let (weak, strong) =
            (artifacts(json!({ "etl": { "score": 0.4 } })), artifacts(json!({ "etl": { "score": 0.5 } })));
        assert_eq!(ask(ruling(rules, &input(&content).given(&weak))), "weak");
        assert_eq!(ruling(rules, &input(&content).given(&strong)), Ruling::Pass);
        let there = GateInput { region: "us", ..input(&content).given(&strong) };
        assert_eq!(ask(ruling(rules, &there)), "weak");
        errs(&gate(rules).evaluate(&input(&content)), "etl.score");
    }
}
