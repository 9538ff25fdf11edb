//! From a checked document to a workflow.

use std::collections::BTreeMap;

use model::{WorkerType, sha256};
use serde_json::Value;

use super::document::{Document, StepDocument, fault};
use super::{Branch, Faults, Step, Workflow};
use crate::condition::Condition;
use crate::retries::{self, RetriesDocument};
use crate::{Backoff, Retries};

/// Names that conditions use for something else than a step's artifact.
pub(super) const RESERVED: [&str; 3] = ["values", "facts", "content"];

pub(super) fn compile(document: Document) -> Result<Workflow, Faults> {
    let json = serde_json::to_value(&document).map_err(|e| fault("the document", e.to_string()))?.to_string();
    let hash = sha256(&[json.as_bytes()]).to_hex();
    let version = format!("{}@{}-{}", document.name, document.version, &hash[..12]);
    let first = document.steps.first().map(|step| step.id.clone());
    let steps = document
        .steps
        .iter()
        .map(|step| compile_step(step).map(|compiled| (step.id.clone(), compiled)))
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(Workflow {
        name: document.name,
        version,
        document: json,
        values: Value::Object(document.values.into_iter().collect()),
        first: first.ok_or_else(|| fault("the document", "it has no steps".to_owned()))?,
        steps,
    })
}

fn compile_step(step: &StepDocument) -> Result<Step, Faults> {
    let at = |message: String| fault(&step.id, message);
    let branches = step
        .branches
        .iter()
        .map(|branch| Ok(Branch { when: Condition::compile(&branch.when)?, then: branch.target()? }))
        .collect::<Result<Vec<_>, String>>()
        .map_err(at)?;
    let mut condition_inputs: Vec<String> = branches
        .iter()
        .flat_map(|branch| branch.when.roots())
        .filter(|root| *root != step.id && (*root == "content" || !RESERVED.contains(root)))
        .map(str::to_owned)
        .collect();
    condition_inputs.sort();
    condition_inputs.dedup();
    Ok(Step {
        id: step.id.clone(),
        worker: WorkerType(step.worker.clone()),
        retries: retries(&step.retries).map_err(at)?,
        deadline: duration("deadline", &step.deadline).map_err(at)?,
        escalation_due: duration("escalation_due", &step.escalation_due).map_err(at)?,
        side_effect: step.side_effect,
        with: std::sync::Arc::new(step.with.clone()),
        approves: step.approve.is_some(),
        branches,
        on_success: step.on_success.target(),
        on_failure: step.on_failure.as_ref().map(super::document::TargetDocument::target),
        condition_inputs,
    })
}

pub(super) fn retries(document: &RetriesDocument) -> Result<Retries, String> {
    if document.max_attempts < 1 {
        return Err(format!("retries.max_attempts is {}, it must be at least 1", document.max_attempts));
    }
    let backoff = Backoff {
        initial: duration("retries.backoff.initial", &document.backoff.initial)?,
        max: duration("retries.backoff.max", &document.backoff.max)?,
    };
    Ok(Retries { max_attempts: document.max_attempts, backoff })
}

pub(super) fn duration(key: &str, text: &str) -> Result<std::time::Duration, String> {
    retries::duration(text).ok_or_else(|| {
        format!("{key} is `{text}`: write a whole number with a unit (ms, s, m, h, d), such as 60s")
    })
}
