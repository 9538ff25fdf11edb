//! One transition of a run with a manifest, as it is worked out.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use model::{Failure, Lifecycle, RunId, RunState, StoredContent};
use serde_json::{Value, json};

use super::change::Said;
use super::heading::{self, Course, Heading};
use super::{
    Answering, Approval, Beyond, Escalation, GateDecision, Impossible, Incident, Patched, Signal, Standing,
    Transition,
};
use crate::workflow::{Step, Target, Workflow};
use crate::{Around, Facts, Memory};

/// Around a run that nothing was handed over of.
static NOTHING: LazyLock<Around> = LazyLock::new(Around::default);

/// What is known so far. A lane is a branch's number, or 0: the run itself.
#[derive(Debug)]
pub(crate) struct Journey<'a> {
    pub(super) workflow: &'a Workflow,
    pub(super) at: Standing<'a>,
    pub(super) lifecycle: Lifecycle,
    pub(super) gates: Vec<GateDecision>,
    pub(super) beyond: Beyond,
    pub(super) duplicate_of: Option<RunId>,
    /// The content that the worker reports.
    pub(super) given: Option<&'a StoredContent>,
    pub(super) around: &'a Around,
    /// The artifact that the step leaves.
    pub(super) reported: Option<(String, Value)>,
    /// The content as a person edited it.
    pub(super) edited: Option<StoredContent>,
    pub(super) answering: Option<Answering>,
    /// Leave that a person's answer to a gate gives.
    pub(super) approval: Option<Approval>,
    /// What a gate blocked.
    pub(super) incident: Option<Incident>,
    /// Whether this very transition approves what the run would publish.
    pub(super) approving: bool,
}

/// Where a lane comes to stand.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    pub(super) state: RunState,
    pub(super) step: String,
    pub(super) escalation: Option<Escalation>,
    pub(super) reason: Option<String>,
}

impl Place {
    pub(super) fn running(step: &str) -> Self {
        Self { state: RunState::Running, step: step.to_owned(), escalation: None, reason: None }
    }

    pub(super) fn ended(state: RunState, step: &str, reason: String) -> Self {
        Self { state, step: step.to_owned(), escalation: None, reason: Some(reason) }
    }
}

impl<'a> Journey<'a> {
    pub(crate) fn new(workflow: &'a Workflow, at: &Standing<'a>, memory: &Memory, facts: &'a Facts) -> Self {
        Self {
            workflow,
            at: *at,
            lifecycle: at.lifecycle,
            gates: vec![],
            beyond: Beyond { memory: memory.clone(), ..Beyond::default() },
            duplicate_of: None,
            given: facts.content.as_ref(),
            around: facts.around.as_deref().unwrap_or(&NOTHING),
            reported: None,
            edited: None,
            answering: None,
            approval: None,
            incident: None,
            approving: false,
        }
    }

    pub(super) fn memory(&mut self) -> &mut Memory {
        &mut self.beyond.memory
    }

    pub(crate) fn having(self, lifecycle: Lifecycle) -> Self {
        Self { lifecycle, ..self }
    }

    /// Whether the run undoes what it did before it ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.beyond.memory.ending.is_some()
    }

    /// A worker or outlet reports.
    pub(super) fn advance(
        mut self,
        step: &Step,
        signal: &Signal<'_>,
        artifacts: &BTreeMap<String, Value>,
        facts: &Facts,
    ) -> Result<Transition, Impossible> {
        self.memory().artifacts.extend(artifacts.keys().cloned());
        self.spend(step, signal, facts.usage);
        let at = self.at;
        let over = self.out_of_reach(step, signal);
        let course = match signal {
            Signal::Done { output, patch } => self.done(step, output, *patch, artifacts, facts),
            Signal::EffectAnswered { reference, output, patch } => {
                self.answered(step, reference, (output, *patch), artifacts, facts)
            }
            Signal::Escalate { output, .. } if !output.is_null() => {
                let said = Said { output, patch: None, artifacts, facts };
                match self.change(step, step.capability.as_ref(), &said) {
                    Ok(()) => heading::otherwise(step, &at, signal)?,
                    Err(why) => heading::failed(step, &at, &Failure::transient(why)),
                }
            }
            Signal::Expired => self.expired(step)?,
            other => {
                let own = over.or_else(|| self.lacks(step, other));
                match own.or_else(|| self.acted(step, other, artifacts)) {
                    Some(course) => course,
                    None => heading::otherwise(step, &at, other)?,
                }
            }
        };
        if step.orchestrate.is_none() && matches!(signal, Signal::EffectConfirmed { .. }) {
            self.remember(step);
            self.memory().artifacts.insert(step.id.clone());
        }
        if let Signal::DryRun { output, .. } = signal {
            self.memory().artifacts.insert(step.id.clone());
            if matches!(&course, Course::Go(heading) if heading.to == Target::Continue) {
                // The fallback takes the place of the artifact, which shows the call.
                let rule = format!("dry run of {}", step.id);
                self.gates.push(GateDecision { rule, held: Some(true), values: (*output).clone() });
            }
        }
        let course = self.degrade(step, course, artifacts, facts);
        Ok(match course {
            Course::Stay(transition) if transition.state == RunState::Running => {
                self.again(step, *transition, !matches!(signal, Signal::Postponed { .. }))
            }
            Course::Stay(transition) => self.over(*transition),
            Course::Go(heading) => self.go(step, heading),
        })
    }

    fn done(
        &mut self,
        step: &Step,
        output: &Value,
        proposed: Option<&Value>,
        artifacts: &BTreeMap<String, Value>,
        facts: &Facts,
    ) -> Course {
        let said = Said { output, patch: proposed, artifacts, facts };
        if let Some(orchestrate) = &step.orchestrate {
            return self.orchestrated(step, orchestrate, &said);
        }
        if let Err(why) = self.change(step, step.capability.as_ref(), &said) {
            let refused = proposed.and_then(|_| self.count_refusal(step, json!({}), &why));
            return refused.unwrap_or_else(|| heading::failed(step, &self.at, &Failure::transient(why)));
        }
        self.cover_given();
        self.remember(step);
        let facts_json = facts.to_json();
        let variables = self.variables(step, output, artifacts, &facts_json);
        heading::done(self.workflow, step, &self.at, output, &variables, facts)
    }

    /// A call was made and answered. It is not made again, so what its answer makes of the blackboard fits or fails for good.
    fn answered(
        &mut self,
        step: &Step,
        reference: &str,
        (output, proposed): (&Value, Option<&Value>),
        artifacts: &BTreeMap<String, Value>,
        facts: &Facts,
    ) -> Course {
        self.reach(Lifecycle::Published);
        let course = self.done(step, output, proposed, artifacts, facts);
        let Some(Patched::Refused { reason, .. }) = &self.beyond.patch else { return course };
        let why = format!("the call was made ({reference}), and its answer is refused: {reason}");
        self.remember(step);
        heading::failed(step, &self.at, &Failure::permanent(why))
    }

    /// What conditions, transformers and the content read.
    pub(super) fn variables<'v>(
        &'v self,
        step: &'v Step,
        output: &'v Value,
        artifacts: &'v BTreeMap<String, Value>,
        facts: &'v Value,
    ) -> BTreeMap<&'v str, &'v Value> {
        let mut variables: BTreeMap<&str, &Value> =
            artifacts.iter().map(|(name, value)| (name.as_str(), value)).collect();
        variables.extend([
            (step.id.as_str(), output),
            ("values", self.workflow.values()),
            ("facts", facts),
            ("board", &self.beyond.memory.board),
            ("inputs", self.beyond.memory.inputs()),
        ]);
        variables
    }

    /// `on_failure: continue`: the fallback takes the output's place, and the run goes on as if the step had succeeded; but
    /// it approves nothing.
    fn degrade(
        &mut self,
        step: &Step,
        course: Course,
        artifacts: &BTreeMap<String, Value>,
        facts: &Facts,
    ) -> Course {
        let heading = match course {
            Course::Go(heading) if heading.to == Target::Continue && heading.failed => heading,
            other => return other,
        };
        let why = heading.reason.unwrap_or_default();
        let refused = self.beyond.patch.take();
        let said = Said { output: &step.fallback, patch: None, artifacts, facts };
        if let Err(refusal) = self.change(step, step.capability.as_ref(), &said) {
            let reason = format!("{why}; and its fallback is refused: {refusal}");
            return Course::stay(Transition::die(&self.at, reason));
        }
        // What the worker proposed was refused: that is told, whatever came of the fallback.
        self.beyond.patch = self.beyond.patch.take().or(refused);
        self.beyond.output = Some(step.fallback.clone());
        self.memory().degraded.insert(step.id.clone());
        let reason = Some(format!("{} degraded: {why}", step.id));
        Course::Go(Heading { reason, failed: true, ..Heading::to(&step.on_success) })
    }
}
