//! A step at which it is said what is done next. The run stays at it: a job says something, the rails check it, and the next
//! job does it. What is said that is no call, or one that may not be made, changes nothing and is counted; too much of it
//! asks a person.

use std::collections::BTreeMap;

use model::{Question, RunState};
use serde_json::{Value, json};

use super::change::Said;
use super::heading::{self, Course, Heading};
use super::journey::Journey;
use super::{Patched, Signal, Transition};
use crate::orchestration::{self, Call, Orchestration, TOOL_CALL};
use crate::workflow::{Orchestrate, Step, Target};
use crate::{Capability, board};

/// Characters of what was refused that are told.
const TOLD: usize = 500;

impl Journey<'_> {
    /// A job of an orchestrating step is done.
    pub(super) fn orchestrated(&mut self, step: &Step, orchestrate: &Orchestrate, said: &Said<'_>) -> Course {
        match self.orchestration(step).pending.take() {
            Some(Call::Cluster { cluster, .. }) => self.performed(step, orchestrate, &cluster, said),
            Some(Call::Tool { tool, .. }) => self.used(step, &tool, said),
            _ => self.heard(step, orchestrate, said),
        }
    }

    pub(super) fn orchestration(&mut self, step: &Step) -> &mut Orchestration {
        self.memory().orchestrations.entry(step.id.clone()).or_default()
    }

    /// Somebody said what is done next.
    fn heard(&mut self, step: &Step, orchestrate: &Orchestrate, said: &Said<'_>) -> Course {
        let so_far = self.orchestration(step);
        so_far.decisions = so_far.decisions.saturating_add(1);
        let call = match said.patch {
            Some(_) => Err("a patch is proposed by a call, and not beside one".to_owned()),
            None => Call::read(said.output),
        };
        let permitted = call.and_then(|call| orchestration::permit(orchestrate, &call).map(|()| call));
        let call = match permitted {
            Ok(call) => call,
            Err(why) => return self.refuse(step, said.output, &why),
        };
        if call.counts() && self.orchestration(step).calls >= orchestrate.max_calls {
            return self.used_up(step, &format!("max_calls ({})", orchestrate.max_calls));
        }
        match &call {
            Call::Cluster { cluster, .. } => {
                self.beyond.cluster = Some(cluster.clone());
                self.orchestration(step).called.insert(cluster.clone());
                self.grant(step, said, call)
            }
            Call::Tool { tool, arguments } if orchestrate.acting_tools.contains(tool) => {
                self.ask_to_act(step, said, tool, arguments)
            }
            Call::Tool { .. } => self.grant(step, said, call),
            Call::ProposePatch { patch } => self.propose(step, orchestrate, said, patch),
            Call::RequestQa {} => self.ask_for_quality(step, orchestrate, said),
            Call::Stop { reason } => self.stop(step, said, reason),
        }
    }

    /// The next job does what was called for.
    fn grant(&mut self, step: &Step, said: &Said<'_>, call: Call) -> Course {
        self.keep_answer(step, said);
        self.told(step, Some(true), json!({ "call": call }));
        let words = call.words();
        let so_far = self.orchestration(step);
        so_far.calls = so_far.calls.saturating_add(1);
        let turns = so_far.turns.entry(words.clone()).or_default();
        *turns = turns.saturating_add(1);
        so_far.pending = Some(call);
        self.next(words)
    }

    /// A tool that acts outside is not used: its call is what is to be published, and a person is asked for leave.
    fn ask_to_act(&mut self, step: &Step, said: &Said<'_>, tool: &str, arguments: &Value) -> Course {
        let sealed = match orchestration::shown(tool, arguments) {
            Ok(sealed) => sealed,
            Err(why) => return self.refuse(step, said.output, &format!("its call cannot be shown: {why}")),
        };
        let question = Question {
            issue_type: TOOL_CALL.to_owned(),
            question: format!(
                "May `{}` call the tool `{tool}`, which acts outside, as the content says?",
                step.id
            ),
        };
        let call = Call::Tool { tool: tool.to_owned(), arguments: arguments.clone() };
        drop(self.grant(step, said, call));
        self.memory().called = Some(sealed.sha256);
        self.beyond.content = Some(sealed);
        Course::stay(heading::escalated(step, &self.at, &question))
    }

    /// The call of a tool that acts outside came to an end; the content is again what the blackboard makes.
    pub(super) fn acted(
        &mut self,
        step: &Step,
        signal: &Signal<'_>,
        artifacts: &BTreeMap<String, Value>,
    ) -> Option<Course> {
        step.orchestrate.as_ref()?;
        let Some(Call::Tool { tool, .. }) = self.orchestration(step).pending.clone() else { return None };
        let (came, result) = match signal {
            Signal::EffectConfirmed { reference } => ("it was done", json!({ "reference": reference })),
            Signal::EffectRejected { reason } => ("it was refused", json!({ "reason": reason })),
            _ => return None,
        };
        self.orchestration(step).pending = None;
        self.memory().taint.insert(step.id.clone());
        self.memory().artifacts.insert(step.id.clone());
        let words = format!("call_tool {tool}");
        self.orchestration(step).note(words.clone(), came.to_owned(), &result);
        let made = self.made(artifacts);
        self.memory().projected = made.as_ref().map(|content| content.sha256);
        self.beyond.content = made;
        Some(self.next(format!("{words}: {came}")))
    }

    /// A cluster did what it was called for: what it proposes is checked as its own.
    fn performed(
        &mut self,
        step: &Step,
        orchestrate: &Orchestrate,
        cluster: &str,
        said: &Said<'_>,
    ) -> Course {
        self.beyond.cluster = Some(cluster.to_owned());
        let words = format!("call_cluster {cluster}");
        let capability = orchestrate.callable(cluster).map(|callable| &callable.capability);
        match self.change(step, capability, said) {
            Err(why) => self.refuse_patch(step, words, &why),
            Ok(()) => {
                let came =
                    if said.patch.is_some() { "its patch was applied" } else { "it proposed no patch" };
                self.orchestration(step).note(words.clone(), came.to_owned(), said.output);
                self.next(format!("{words}: {came}"))
            }
        }
    }

    /// A tool was used. What it brought comes from outside, and so does what is made of it.
    fn used(&mut self, step: &Step, tool: &str, said: &Said<'_>) -> Course {
        let words = format!("call_tool {tool}");
        if said.patch.is_some() {
            return self.refuse(step, said.output, "a tool proposes no patch");
        }
        if let Some(why) = said.output.get("refused").and_then(Value::as_str) {
            return self.refuse(step, said.output, why);
        }
        self.keep_answer(step, said);
        self.memory().taint.insert(step.id.clone());
        self.orchestration(step).note(words.clone(), "it answered".to_owned(), said.output);
        self.next(words)
    }

    /// A patch of the orchestrator's own: whole within its own cluster's capability, or that of one that it may call.
    fn propose(&mut self, step: &Step, orchestrate: &Orchestrate, said: &Said<'_>, patch: &Value) -> Course {
        let so_far = self.orchestration(step);
        so_far.calls = so_far.calls.saturating_add(1);
        let own = step.cluster.as_deref().zip(step.capability.as_ref());
        let others =
            orchestrate.clusters.iter().map(|callable| (callable.name.as_str(), &callable.capability));
        let holders: Vec<(&str, &Capability)> = own.into_iter().chain(others).collect();
        let words = "propose_patch".to_owned();
        let permitted = board::operations(patch).and_then(|operations| {
            let holds =
                |(_, capability): &&(&str, &Capability)| board::permit(&operations, Some(capability)).is_ok();
            holders.iter().find(holds).copied().ok_or_else(|| "no cluster here may do all of it".to_owned())
        });
        let changed = permitted.and_then(|(name, capability)| {
            self.beyond.cluster = Some(name.to_owned());
            let said = Said { patch: Some(patch), ..*said };
            self.change(step, Some(capability), &said)
        });
        match changed {
            Ok(()) => {
                self.orchestration(step).note(words.clone(), "it was applied".to_owned(), &Value::Null);
                self.next(words)
            }
            Err(why) => {
                self.beyond.patch = Some(Patched::Refused { patch: patch.clone(), reason: why.clone() });
                self.refuse_patch(step, words, &why)
            }
        }
    }

    fn ask_for_quality(&mut self, step: &Step, orchestrate: &Orchestrate, said: &Said<'_>) -> Course {
        let so_far = self.orchestration(step);
        if so_far.loops >= orchestrate.max_loops {
            return self.used_up(step, &format!("max_loops ({})", orchestrate.max_loops));
        }
        so_far.loops = so_far.loops.saturating_add(1);
        so_far.note("request_qa".to_owned(), "quality is checked".to_owned(), &Value::Null);
        self.keep_answer(step, said);
        let qa = orchestrate.qa.clone().unwrap_or_default();
        Course::Go(Heading {
            reason: Some("quality is asked for".to_owned()),
            ..Heading::to(&Target::Step(qa))
        })
    }

    fn stop(&mut self, step: &Step, said: &Said<'_>, reason: &str) -> Course {
        self.keep_answer(step, said);
        self.remember(step);
        self.orchestration(step).note(format!("stop: {reason}"), "stopped".to_owned(), &Value::Null);
        let facts = said.facts.to_json();
        let variables = self.variables(step, said.output, said.artifacts, &facts);
        heading::done(self.workflow, step, &self.at, said.output, &variables, said.facts)
    }

    /// What was said is the step's artifact, and changes nothing of the blackboard.
    fn keep_answer(&mut self, step: &Step, said: &Said<'_>) {
        if !said.output.is_null() {
            self.memory().artifacts.insert(step.id.clone());
        }
    }

    fn refuse_patch(&mut self, step: &Step, words: String, why: &str) -> Course {
        self.orchestration(step).note(words.clone(), format!("its patch was refused: {why}"), &Value::Null);
        self.refused(step, json!({ "call": words }), why)
    }

    fn refuse(&mut self, step: &Step, said: &Value, why: &str) -> Course {
        let said: String = said.to_string().chars().take(TOLD).collect();
        let shown = Value::String(said.clone());
        self.orchestration(step).note("what is no lawful call".to_owned(), format!("refused: {why}"), &shown);
        self.refused(step, json!({ "said": said }), why)
    }

    /// Nothing happened: the run stays, unless that was so once too often.
    fn refused(&mut self, step: &Step, values: Value, why: &str) -> Course {
        self.count_refusal(step, values, why).unwrap_or_else(|| self.next(format!("refused: {why}")))
    }

    fn used_up(&mut self, step: &Step, bound: &str) -> Course {
        let reason = format!("the bound {bound} of `{}` is used up", step.id);
        self.told(step, Some(false), json!({ "bound": bound }));
        match step.on_exhausted.as_ref().or(step.on_failure.as_ref()) {
            Some(target) => Course::Go(Heading { reason: Some(reason), failed: true, ..Heading::to(target) }),
            None => Course::stay(Transition::die(&self.at, reason)),
        }
    }

    /// The run stays at the step, with another job.
    fn next(&self, reason: String) -> Course {
        Course::stay(Transition { attempt: 0, ..Transition::stay(&self.at, RunState::Running, reason) })
    }
}
