//! What a step makes of the blackboard: the patch that the workflow makes of its output, then the one that its worker
//! proposes; both or neither.

use std::collections::BTreeMap;

use json_patch::PatchOperation;
use model::Lifecycle;
use serde_json::Value;

use super::content::written_back;
use super::journey::Journey;
use super::{GateDecision, Patched};
use crate::workflow::Step;
use crate::{Capability, Facts, board, taint};

/// A change of the blackboard that was found lawful.
struct Change {
    patch: Vec<Value>,
    operations: Vec<PatchOperation>,
    board: Value,
}

/// What a worker reported, and what is known beside.
pub(super) struct Said<'s> {
    pub(super) output: &'s Value,
    pub(super) patch: Option<&'s Value>,
    pub(super) artifacts: &'s BTreeMap<String, Value>,
    pub(super) facts: &'s Facts,
}

impl Journey<'_> {
    /// Changes the blackboard and what follows from it: taint, content, lifecycle. Whoever did it has this capability.
    ///
    /// # Errors
    /// Why the patch is refused whole. The memory is as it was, but for the refusal.
    pub(super) fn change(
        &mut self,
        step: &Step,
        capability: Option<&Capability>,
        said: &Said<'_>,
    ) -> Result<(), String> {
        let outcome = self.try_change(step, capability, said);
        if let Err(reason) = &outcome {
            let patch = said.patch.cloned().unwrap_or_default();
            self.beyond.patch = Some(Patched::Refused { patch, reason: reason.clone() });
            self.memory().refused.insert(step.id.clone(), reason.clone());
        } else {
            self.memory().refused.remove(&step.id);
            if !said.output.is_null() {
                self.memory().artifacts.insert(step.id.clone());
                self.reported = Some((step.id.clone(), said.output.clone()));
            }
        }
        outcome
    }

    fn try_change(
        &mut self,
        step: &Step,
        capability: Option<&Capability>,
        said: &Said<'_>,
    ) -> Result<(), String> {
        let facts = said.facts.to_json();
        let tainted = taint::reads_any(step, capability, &self.beyond.memory.taint);
        let change = self.lawful(step, capability, said, &facts)?;
        let variables = self.variables(step, said.output, said.artifacts, &facts);
        let projected = match &change {
            Some(change) => self.projected(&change.board, variables)?,
            None => None,
        };
        let Some(change) = change else {
            self.taint_artifact(step, said.output, tainted);
            return Ok(());
        };
        let before = self.before(step, said, &facts);
        let memory = self.memory();
        memory.taint = taint::after(&memory.taint, &change.operations, tainted, &change.board);
        memory.board = change.board;
        memory.version = memory.version.saturating_add(1);
        let version = memory.version;
        self.beyond.patch = Some(Patched::Applied { patch: Value::Array(change.patch), version });
        self.taint_artifact(step, said.output, tainted);
        self.cover(before, projected);
        Ok(())
    }

    fn taint_artifact(&mut self, step: &Step, output: &Value, tainted: bool) {
        let taint = &mut self.memory().taint;
        if tainted && !output.is_null() {
            taint.insert(step.id.clone());
        } else {
            taint.remove(&step.id);
        }
    }

    /// The blackboard after both patches; `None` where neither says anything.
    fn lawful(
        &self,
        step: &Step,
        capability: Option<&Capability>,
        said: &Said<'_>,
        facts: &Value,
    ) -> Result<Option<Change>, String> {
        let variables = self.variables(step, said.output, said.artifacts, facts);
        let made = step.patch_from(said.output, &variables)?;
        let mut operations = board::operations(&made).map_err(|why| format!("patch: {why}"))?;
        let mut board =
            board::apply(&self.beyond.memory.board, &operations).map_err(|why| format!("patch: {why}"))?;
        let mut patch = match made {
            Value::Array(patch) => patch,
            _ => vec![],
        };
        if let Some(proposed) = said.patch {
            let told = |why| format!("the proposed patch: {why}");
            let asked = board::operations(proposed).map_err(told)?;
            board::permit(&asked, capability).map_err(told)?;
            board = board::apply(&board, &asked).map_err(told)?;
            operations.extend(asked);
            patch.extend(proposed.as_array().into_iter().flatten().cloned());
        }
        if operations.is_empty() {
            return Ok(None);
        }
        board::fits(&board, self.workflow.blackboard())?;
        Ok(Some(Change { patch, operations, board }))
    }

    /// A person's edit is written back to where the content comes from, as far as its schema lets it; what a person wrote
    /// is not tainted.
    pub(crate) fn edited(mut self, edited: &model::Content) -> Self {
        self.edited = edited.clone().seal().ok();
        let patch = written_back(self.workflow.content(), &self.beyond.memory.board, edited);
        let Ok(operations) = board::operations(&patch) else { return self };
        let Ok(changed) = board::apply(&self.beyond.memory.board, &operations) else { return self };
        if operations.is_empty() || board::fits(&changed, self.workflow.blackboard()).is_err() {
            return self;
        }
        let memory = self.memory();
        memory.taint = taint::after(&memory.taint, &operations, false, &changed);
        memory.board = changed;
        memory.version = memory.version.saturating_add(1);
        let version = memory.version;
        self.beyond.patch = Some(Patched::Applied { patch, version });
        if let Some(projected) = self.made(&BTreeMap::new()) {
            self.memory().projected = Some(projected.sha256);
        }
        self
    }

    /// The content that the blackboard made last, for the diff.
    fn before(&self, step: &Step, said: &Said<'_>, facts: &Value) -> Option<model::Content> {
        let variables = self.variables(step, said.output, said.artifacts, facts);
        let before = self.projected(&self.beyond.memory.board, variables).ok().flatten()?;
        Some(before.content)
    }

    /// A worker reports other content than was approved: it is to be judged anew.
    pub(super) fn cover_given(&mut self) {
        let other = self.given.is_some_and(|given| Some(given.sha256) != self.at.content);
        if other && self.workflow.content().is_empty() && self.lifecycle == Lifecycle::Approved {
            self.lifecycle = Lifecycle::Qa;
            self.gates.push(GateDecision {
                rule: "the content changed after its approval".to_owned(),
                held: Some(true),
                values: serde_json::json!({ "before": self.at.content, "after": self.given.map(|given| given.sha256) }),
            });
        }
    }

    /// Takes over the content that the blackboard makes now. Where it is another than it made before, what was approved is
    /// to be judged anew, and the gates tell the difference.
    fn cover(&mut self, before: Option<model::Content>, now: Option<model::StoredContent>) {
        if self.workflow.content().is_empty() {
            return;
        }
        let digest = now.as_ref().map(|content| content.sha256);
        if digest == self.beyond.memory.projected {
            return;
        }
        self.memory().projected = digest;
        if self.is_approved() {
            self.lifecycle = Lifecycle::Qa;
            self.gates.push(GateDecision {
                rule: "the content changed after its approval".to_owned(),
                held: Some(true),
                values: super::content::difference(before.as_ref(), now.as_ref().map(|now| &now.content)),
            });
        }
        if digest.is_some() && digest != self.at.content {
            self.beyond.content = now;
        }
    }
}
