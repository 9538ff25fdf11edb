//! The gates before a step and after one, and the taint that must be cleared before a side effect.

use std::collections::{BTreeMap, BTreeSet};

use model::{Content, Lifecycle, RunState, Sha256Digest, StoredContent, sha256};
use serde_json::{Value, json};

use super::enter::Arrival;
use super::heading::Heading;
use super::journey::{Journey, Place};
use super::{Approval, Basis, Escalation, GateDecision, Standing, Transition};
use crate::gate::{CorridorFacts, GateInput, Gated, answered, before};
use crate::workflow::{Step, StepGate, Target};
use crate::{Answer, GATE_ERROR, Leaving, Wants, taint};

/// The issue type of an escalation over what came from untrusted sources and would act outside.
pub(crate) const TAINTED: &str = "tainted";
/// The rule of that escalation. No condition reads so, since there is no such variable.
pub(crate) const TAINT: &str = "taint";

/// What a person answers just now.
#[derive(Debug, Clone)]
pub(crate) struct Answering {
    pub(crate) gate: String,
    pub(crate) basis: Basis,
    pub(crate) by: String,
}

/// Leave that the workflow's rule gives. A person's counts at once: the gates only hold it back.
fn by_rule(heading: &Heading) -> Option<&Approval> {
    heading.approval.as_ref().filter(|approval| approval.basis == Basis::Rule)
}

impl Leaving {
    fn of(heading: &Heading) -> Self {
        Self {
            to: heading.to.clone(),
            approves: by_rule(heading).map(|approval| approval.rule.clone()),
            duplicate_of: heading.duplicate_of,
        }
    }

    /// The way on, once the gates open.
    pub(crate) fn heading(self, said: String) -> Heading {
        let approval = self.approves.map(|rule| Approval { basis: Basis::Rule, rule });
        Heading {
            lifecycle: approval.as_ref().map(|_| Lifecycle::Approved),
            approval,
            duplicate_of: self.duplicate_of,
            reason: Some(said),
            ..Heading::to(&self.to)
        }
    }
}

impl Journey<'_> {
    /// Passes the gates of a step; else where they hold the lane, or how they end the run.
    pub(super) fn pass(&mut self, step: &Step, gates: &[StepGate]) -> Option<Arrival> {
        let policies = &self.around.policies;
        let counting = gates.iter().filter(|gate| !gate.optional || policies.get(&gate.name).is_some());
        let names: Vec<String> = counting.map(|gate| gate.name.clone()).collect();
        if names.is_empty() {
            return None;
        }
        let names = names.as_slice();
        let wants = self.wanted(step, names);
        if !wants.is_empty() {
            self.beyond.wants.add(wants);
            return Some(Arrival::Stands(unknown(step)));
        }
        let gated = self.evaluate(step, names);
        self.gates.extend(gated.decisions.iter().cloned());
        let at = Standing { step: &step.id, ..self.at };
        match gated.stop(&at, step.escalation_due) {
            None => {
                self.passed(step, names, &gated);
                None
            }
            Some(stop) => Some(self.stopped(stop)),
        }
    }

    /// The gates after a step that was left by success: where they hold the lane, it is kept where it leads on.
    pub(super) fn pass_behind(&mut self, step: &Step, heading: &Heading) -> Option<Arrival> {
        let leads_on = match &heading.to {
            Target::Step(_) | Target::Join | Target::Continue => true,
            Target::End(state) => matches!(state, RunState::Published | RunState::Done),
            Target::Reject { .. } | Target::Escalate { .. } => false,
        };
        if heading.failed || !leads_on || (self.is_ending() && self.at.branch == 0) {
            return None;
        }
        let arrival = self.pass(step, &step.gates_after)?;
        if matches!(arrival, Arrival::Stands(_)) {
            if heading.approval.is_some() && by_rule(heading).is_none() {
                self.approval = self.approval.take().or(heading.approval.clone());
                self.remember_approval();
            }
            let lane = self.at.branch;
            self.memory().leaving.insert(lane, Leaving::of(heading));
        }
        Some(arrival)
    }

    pub(crate) fn answering(mut self, answering: Answering) -> Self {
        self.answering = Some(answering);
        self
    }

    /// A person gives leave to publish the content as it is now.
    pub(crate) fn approving(mut self, rule: &str) -> Self {
        self.remember_approval();
        self.approval = Some(Approval { basis: Basis::Person, rule: rule.to_owned() });
        self
    }

    /// No earlier leave counts any more.
    pub(crate) fn unapproved(mut self) -> Self {
        self.memory().approved = None;
        self
    }

    pub(crate) fn take_leaving(&mut self) -> Option<Leaving> {
        let lane = self.at.branch;
        self.memory().leaving.remove(&lane)
    }

    /// What the gates look at and is not there yet.
    fn wanted(&self, step: &Step, names: &[String]) -> Wants {
        let around = self.around;
        let reported = self.reported.as_ref().map(|(name, _)| name.as_str());
        let stored = self.fresh_content().is_none() && self.at.content.is_some();
        let reads = around.policies.reads(names).into_iter().chain(stored.then_some("content"));
        let absent = |name: &&str| Some(*name) != reported && !around.artifacts.contains_key(*name);
        let mut wants = Wants {
            artifacts: reads.filter(absent).map(str::to_owned).collect(),
            answers: around.answers.is_none(),
            ..Wants::default()
        };
        if let Some(days) = around.policies.days(names) {
            let place = self.place_of(step);
            let counted = around.counts.get(&place).map_or(0, |counts| counts.days.len());
            if counted < days as usize {
                wants.days = days;
                wants.places.insert(place);
            }
        }
        wants
    }

    fn evaluate(&mut self, step: &Step, names: &[String]) -> Gated {
        let around = self.around;
        let content = self.content();
        let reported = self.reported.iter().map(|(name, value)| (name.clone(), value.clone()));
        let stored = around.artifacts.iter().filter(|(name, value)| !value.is_null() && *name != "content");
        let artifacts: BTreeMap<String, Value> =
            stored.map(|(name, value)| (name.clone(), value.clone())).chain(reported).collect();
        let counts = self.counts(step);
        let (answers, now) = around.answers.as_ref().map(|(a, now)| (a.as_slice(), *now)).unwrap_or_default();
        let input = GateInput {
            content: content.as_ref(),
            subject: self.subject(),
            source: &around.source,
            tenant: &around.tenant,
            region: &around.region,
            artifacts: &artifacts,
            facts: counts.as_ref(),
            answers,
            now,
        };
        let Some(asked) = self.answering.as_ref().filter(|asked| names.contains(&asked.gate)) else {
            return before(names, &around.policies, &input);
        };
        let answer = Answer {
            gate: asked.gate.clone(),
            subject: input.subject,
            basis: asked.basis,
            by: asked.by.clone(),
        };
        match answered(names, &around.policies, &input, &answer) {
            Ok(gated) => {
                self.opened_by(answer);
                gated
            }
            Err(shut) => {
                self.beyond.shut = Some(shut.clone());
                *shut
            }
        }
    }

    /// A person's answer opened its gate: it is kept, and where the gate asks for an approval it is one.
    fn opened_by(&mut self, answer: Answer) {
        let asks = self.around.policies.get(&answer.gate).is_some_and(crate::Gate::asks_approval);
        if asks && self.content_digest().is_some() {
            self.remember_approval();
            let rule = format!("gate:{}", answer.gate);
            self.approval = Some(Approval { basis: answer.basis, rule });
        }
        self.beyond.answer = Some(answer);
    }

    /// What corridors count for the step, with the places that this transition takes for others.
    fn counts(&self, step: &Step) -> Option<CorridorFacts> {
        let place = self.place_of(step);
        let counts = self.around.counts.get(&place)?;
        let others = self.beyond.places.iter().filter(|other| **other != place).count() as u64;
        Some(CorridorFacts { taken: counts.taken.saturating_add(others), ..counts.clone() })
    }

    /// The step whose post the gates of a step are about: itself, or the next that acts outside.
    fn place_of(&self, step: &Step) -> String {
        if step.side_effect {
            return step.id.clone();
        }
        let ahead = self.workflow.ahead(&step.id);
        let acts = |id: &&str| self.workflow.step(id).is_some_and(|step| step.side_effect);
        ahead.into_iter().find(acts).unwrap_or(&step.id).to_owned()
    }

    /// All gates are open: what a person said there counts, and a place of the day is taken.
    fn passed(&mut self, step: &Step, names: &[String], gated: &Gated) {
        let policies = &self.around.policies;
        for (name, by_answer) in &gated.passed {
            let Some(gate) = policies.get(name) else { continue };
            if gate.clears(*by_answer) {
                self.clear(&format!("gate:{name}"));
            }
            if gate.asks_approval()
                && *by_answer
                && let Some(digest) = self.content_digest()
            {
                self.memory().approved = Some(digest);
            }
        }
        let digest = self.content_digest();
        if digest.is_some() && digest == self.beyond.memory.approved && self.lifecycle != Lifecycle::Published
        {
            self.lifecycle = Lifecycle::Approved;
        }
        if policies.days(names).is_some() {
            let place = self.place_of(step);
            self.beyond.places.insert(place);
        }
    }

    /// A gate holds the lane, or ends the run. What was approved is so again once the gates open.
    fn stopped(&mut self, stop: Transition) -> Arrival {
        if !stop.state.is_open() {
            return Arrival::Ended { state: stop.state, reason: Some(stop.reason) };
        }
        if self.lifecycle == Lifecycle::Approved {
            self.remember_approval();
        }
        if self.lifecycle != Lifecycle::Published {
            self.lifecycle = Lifecycle::Qa;
        }
        self.incident = stop.incident.or(self.incident.take());
        Arrival::Stands(Place {
            state: stop.state,
            step: stop.step,
            escalation: stop.escalation,
            reason: Some(stop.reason),
        })
    }

    pub(crate) fn remember_approval(&mut self) {
        let digest = self.content_digest();
        self.memory().approved = digest;
    }

    /// The content that this transition makes.
    fn fresh_content(&self) -> Option<&StoredContent> {
        self.edited.as_ref().or(self.beyond.content.as_ref()).or(self.given)
    }

    /// The content as it is now.
    fn content(&self) -> Option<Content> {
        match self.fresh_content() {
            Some(fresh) => Some(fresh.content.clone()),
            None => serde_json::from_value(self.around.artifacts.get("content")?.clone()).ok(),
        }
    }

    pub(super) fn content_digest(&self) -> Option<Sha256Digest> {
        self.fresh_content().map(|content| content.sha256).or(self.at.content)
    }

    /// Digest of what stands before a gate: the content's, or else that of the blackboard.
    fn subject(&self) -> Sha256Digest {
        self.content_digest().unwrap_or_else(|| {
            let board = serde_json_canonicalizer::to_string(&self.beyond.memory.board).unwrap_or_default();
            sha256(&[board.as_bytes()])
        })
    }

    /// A gate or a person cleared what stands there now. What is made of the untrusted sources later is tainted anew.
    pub(crate) fn clear(&mut self, by: &str) {
        let (subject, sources) = (self.subject(), taint::untrusted(self.workflow));
        let memory = self.memory();
        let still = memory.cleared == Some(subject);
        let cleared: Vec<String> =
            memory.taint.iter().filter(|place| !(still && sources.contains(place))).cloned().collect();
        if cleared.is_empty() {
            return;
        }
        memory.taint.retain(|place| sources.contains(place));
        memory.cleared = Some(subject);
        self.gates.push(GateDecision {
            rule: "taint cleared".to_owned(),
            held: Some(true),
            values: json!({ "places": cleared, "by": by }),
        });
    }

    /// What a step that acts outside would act on, of what came from untrusted sources and passed no gate.
    pub(super) fn acts_on(&self, step: &Step) -> BTreeSet<String> {
        let memory = &self.beyond.memory;
        let mut tainted = memory.taint.clone();
        if memory.cleared == Some(self.subject()) {
            let sources = taint::untrusted(self.workflow);
            tainted.retain(|place| !sources.contains(place));
        }
        let acts =
            taint::acted_on_by(step, self.workflow.content(), self.content_digest().is_some(), &tainted);
        if acts { tainted } else { BTreeSet::new() }
    }

    /// Held before a side effect that something tainted would reach.
    pub(super) fn tainted(&self, step: &Step, places: &BTreeSet<String>) -> Place {
        let question = format!(
            "`{}` acts on the world outside, and what it would act on comes from untrusted sources and passed no gate. \
             May it go out as it is?",
            step.id
        );
        Place {
            state: RunState::Waiting,
            step: step.id.clone(),
            reason: Some(format!("{TAINTED}: {question}")),
            escalation: Some(Escalation {
                issue_type: TAINTED.to_owned(),
                question,
                rule: Some(TAINT.to_owned()),
                values: json!({ "tainted": places, "content": self.content_digest() }),
                threshold: None,
                due: step.escalation_due,
            }),
        }
    }
}

/// Where a lane is held whose gates could not be evaluated yet.
fn unknown(step: &Step) -> Place {
    let question = format!("The gates of `{}` could not be evaluated. May this go on all the same?", step.id);
    Place {
        state: RunState::Waiting,
        step: step.id.clone(),
        reason: Some(format!("{GATE_ERROR}: {question}")),
        escalation: Some(Escalation {
            issue_type: GATE_ERROR.to_owned(),
            question,
            rule: Some("gate:".to_owned()),
            values: json!({}),
            threshold: None,
            due: step.escalation_due,
        }),
    }
}
