//! All gates of a step, one after the other.

use std::time::Duration;

use model::{Lifecycle, RunState};
use serde_json::{Value, json};

use super::{Answer, Evaluation, GATE_ERROR, GateInput, GatePolicies, Ruling};
use crate::{Escalation, GateDecision, Incident, Standing, Transition};

/// How a gate's decision is told apart from a condition's.
const PREFIX: &str = "gate:";

/// What the gates of a step say together.
#[derive(Debug, Clone, PartialEq)]
pub struct Gated {
    /// Each gate's decision, in order.
    pub decisions: Vec<GateDecision>,
    /// The ruling: a block before an end, an end before a question, and of equals the first gate's.
    pub ruling: Ruling,
    /// The gate whose ruling it is, with what it read; `None` where all pass.
    pub by: Option<(String, Evaluation)>,
    /// The gates that pass, each with whether a person's answer opened it.
    pub passed: Vec<(String, bool)>,
}

/// The gate that an escalation's or a decision's rule names.
#[must_use]
pub fn gate_of(rule: &str) -> Option<&str> {
    rule.strip_prefix(PREFIX)
}

/// Evaluates the gates before a step, or after one: each of them, so that each decision is told. A gate that no document
/// has asks a person.
#[must_use]
pub fn before(gates: &[String], policies: &GatePolicies, input: &GateInput<'_>) -> Gated {
    let mut together = Gated { decisions: vec![], ruling: Ruling::Pass, by: None, passed: vec![] };
    for name in gates {
        let gate = policies.get(name);
        let evaluation = gate.map_or_else(|| absent(name), |gate| gate.evaluate(input));
        let document = gate.map(|gate| json!({ "kind": gate.kind(), "document_sha256": gate.document() }));
        together.decisions.push(decision(name, document.unwrap_or_default(), &evaluation));
        if evaluation.ruling == Ruling::Pass {
            together.passed.push((name.clone(), evaluation.answer.is_some()));
        }
        if weight(&evaluation.ruling) > weight(&together.ruling) {
            together.ruling = evaluation.ruling.clone();
            together.by = Some((name.clone(), evaluation));
        }
    }
    together
}

/// Evaluates them again, with what a person answered to one of them just now.
///
/// # Errors
/// What they say, where that gate does not open: a block that nothing overrides, or one that only an override does.
pub fn answered(
    gates: &[String],
    policies: &GatePolicies,
    input: &GateInput<'_>,
    answer: &Answer,
) -> Result<Gated, Box<Gated>> {
    let answers: Vec<Answer> = input.answers.iter().chain([answer]).cloned().collect();
    let gated = before(gates, policies, &GateInput { answers: &answers, ..*input });
    let rule = format!("{PREFIX}{}", answer.gate);
    let opens = |decision: &GateDecision| decision.rule != rule || decision.held == Some(true);
    if gated.decisions.iter().all(opens) { Ok(gated) } else { Err(Box::new(gated)) }
}

fn weight(ruling: &Ruling) -> u8 {
    match ruling {
        Ruling::Pass => 0,
        Ruling::Ask { .. } => 1,
        Ruling::End(_) => 2,
        Ruling::Block { .. } => 3,
    }
}

fn absent(name: &str) -> Evaluation {
    let question = format!("There is no gate `{name}` in the policy documents. May this go on all the same?");
    Evaluation {
        ruling: Ruling::Ask { issue_type: GATE_ERROR.to_owned(), question },
        error: Some("there is no such gate".to_owned()),
        values: json!({}),
        thresholds: json!({}),
        answer: None,
    }
}

fn decision(name: &str, document: Value, evaluation: &Evaluation) -> GateDecision {
    let mut values = json!({
        "ruling": word(&evaluation.ruling),
        "gate": document,
        "values": evaluation.values,
        "thresholds": evaluation.thresholds,
    });
    if let Some(error) = &evaluation.error {
        values["error"] = json!(error);
    }
    if let Some(answer) = &evaluation.answer {
        values["answered_by"] = json!(answer.by);
    }
    let passes = evaluation.ruling == Ruling::Pass;
    let held = (evaluation.error.is_none() || passes).then_some(passes);
    GateDecision { rule: format!("{PREFIX}{name}"), held, values }
}

fn word(ruling: &Ruling) -> &str {
    match ruling {
        Ruling::Pass => "pass",
        Ruling::Block { .. } => "block",
        Ruling::Ask { .. } => "ask",
        Ruling::End(state) => state.as_str(),
    }
}

impl Gated {
    /// Where a run goes that stands before these gates and does not pass; `None` where it does. A run that is blocked
    /// stays in quality assurance. `due` is how long a person has.
    #[must_use]
    pub fn stop(&self, at: &Standing<'_>, due: Duration) -> Option<Transition> {
        let (gate, evaluation) = self.by.as_ref()?;
        let wait = |issue_type: &str, question: &str| Transition {
            escalation: Some(Escalation {
                issue_type: issue_type.to_owned(),
                question: question.to_owned(),
                rule: Some(format!("{PREFIX}{gate}")),
                values: evaluation.values.clone(),
                threshold: Some(evaluation.thresholds.clone()),
                due,
            }),
            lifecycle: Lifecycle::Qa,
            ..Transition::stay(at, RunState::Waiting, format!("{issue_type}: {PREFIX}{gate}"))
        };
        let transition = match &evaluation.ruling {
            Ruling::Pass => return None,
            Ruling::Ask { issue_type, question } => wait(issue_type, question),
            Ruling::End(state) => Transition::stay(at, *state, format!("{state}: {PREFIX}{gate}")),
            Ruling::Block { incident, todo } => Transition {
                incident: Some(Incident {
                    kind: incident.clone(),
                    detail: json!({
                        "rule": format!("{PREFIX}{gate}"),
                        "values": evaluation.values,
                        "thresholds": evaluation.thresholds,
                    }),
                }),
                ..wait(incident, todo)
            },
        };
        Some(Transition { gates: self.decisions.clone(), ..transition })
    }
}

#[cfg(test)]
mod tests {
    use model::RunId;

    use super::super::testing::{answer, artifacts, content, input};
    use super::*;
    use crate::Basis;

    const GATES: &str = "gates:
  ask: { hitl: { question: Well? } }
  guns: { licence: { categories: { firearms: { terms: [rifle] } }, overridable: true } }
  sense: { coherence: { score: c.score, pass: 1, review: 0.5 } }
";

    fn gated(names: &[&str], body: &str, score: f64, answers: &[Answer]) -> Gated {
        let policies = GatePolicies::parse([("g", GATES)]).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let (content, said) = (content(body), artifacts(json!({ "c": { "score": score } })));
        before(&names, &policies, &GateInput { answers, ..input(&content).given(&said) })
    }

    fn stopped(gated: &Gated) -> Option<Transition> {
        let at = Standing {
            run: RunId(uuid::Uuid::nil()),
            branch: 0,
            state: RunState::Running,
            lifecycle: Lifecycle::Approved,
            step: "publish",
            attempt: 0,
            content: None,
            dry_run: false,
        };
        gated.stop(&at, Duration::from_secs(60))
    }

    #[test]
    fn every_gate_is_told_and_the_hardest_ruling_counts() {
        let all = ["ask", "sense", "guns"];
        let blocked = gated(&all, "a rifle", 0.1, &[]);
        assert_eq!(blocked.decisions.iter().map(|d| d.held).collect::<Vec<_>>(), [Some(false); 3]);
        assert_eq!(blocked.decisions[2].rule, "gate:guns");
        assert_eq!(gate_of(&blocked.decisions[2].rule), Some("guns"));
        assert_eq!(blocked.decisions[2].values["gate"]["kind"], "licence");
        let there = stopped(&blocked).unwrap();
        assert_eq!((there.state, there.lifecycle), (RunState::Waiting, Lifecycle::Qa));
        assert_eq!(there.incident.unwrap().kind, "licence_missing");
        let todo = there.escalation.unwrap();
        assert_eq!((todo.issue_type.as_str(), todo.rule.as_deref()), ("licence_missing", Some("gate:guns")));
        assert_eq!(there.gates.len(), 3);

        let ended = stopped(&gated(&all, "a spade", 0.1, &[])).unwrap();
        assert_eq!((ended.state, ended.escalation, ended.incident), (RunState::NeedsReview, None, None));

        let asked = stopped(&gated(&all, "a spade", 1.0, &[])).unwrap();
        assert_eq!(asked.escalation.unwrap().question, "Well?");
        assert_eq!(asked.incident, None);
    }

    #[test]
    fn an_answer_opens_its_own_gate_and_no_other() {
        let names = ["ask", "guns"];
        let to = |gate: &str, basis: Basis| Answer { gate: gate.to_owned(), ..answer(basis) };
        let one = gated(&names, "a rifle", 1.0, &[to("ask", Basis::Person)]);
        assert_eq!(one.decisions[0].held, Some(true));
        assert_eq!(one.decisions[0].values["answered_by"], "ada");
        assert_eq!(one.by.as_ref().unwrap().0, "guns");
        let both = gated(&names, "a rifle", 1.0, &[to("ask", Basis::Person), to("guns", Basis::Override)]);
        assert_eq!((both.ruling.clone(), stopped(&both)), (Ruling::Pass, None));
        let other = Answer { subject: model::Sha256Digest([1; 32]), ..to("ask", Basis::Person) };
        assert!(stopped(&gated(&["ask"], "a spade", 1.0, &[other])).is_some(), "it was about other content");
    }

    #[test]
    fn a_person_s_answer_leads_to_the_next_gate_or_is_refused() {
        let policies = GatePolicies::parse([("g", GATES)]).unwrap();
        let names = ["ask", "guns"].map(str::to_owned);
        let content = content("a rifle");
        let asked = input(&content);
        let to = |gate: &str, basis: Basis| Answer { gate: gate.to_owned(), ..answer(basis) };
        let next = answered(&names, &policies, &asked, &to("ask", Basis::Person)).unwrap();
        assert_eq!(next.by.unwrap().0, "guns");
        let refused = answered(&names, &policies, &asked, &to("guns", Basis::Person)).unwrap_err();
        assert_eq!(refused.by.unwrap().0, "guns", "approving lifts no block");
        let earlier = [to("ask", Basis::Person)];
        let asked = GateInput { answers: &earlier, ..asked };
        let through = answered(&names, &policies, &asked, &to("guns", Basis::Override)).unwrap();
        assert_eq!(through.ruling, Ruling::Pass);
    }

    #[test]
    fn a_gate_that_no_document_has_asks_a_person_and_no_gate_passes() {
        let lost = gated(&["moon"], "x", 1.0, &[]);
        assert_eq!(lost.decisions[0].held, None);
        assert_eq!(stopped(&lost).unwrap().escalation.unwrap().issue_type, GATE_ERROR);
        assert_eq!(gated(&[], "x", 1.0, &[]).ruling, Ruling::Pass);
    }
}
