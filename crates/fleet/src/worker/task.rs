//! What a workflow with a manifest asks of a step: its input and the part of the blackboard that its cluster may read.

use std::collections::BTreeMap;

use model::{Sha256Digest, sha256};
use rails::{Charge, Workflow};
use record::LoadedRun;
use serde_json::Value;

use crate::Task;

/// The task of a run's step; `None` where its workflow keeps no manifest.
///
/// # Errors
/// Why the input cannot be made. Permanent for the same blackboard.
pub(crate) fn of(run: &LoadedRun, workflow: &Workflow) -> Result<Option<Task>, String> {
    let Some((memory, step)) = run.memory.as_deref().zip(workflow.step(&run.step)) else { return Ok(None) };
    let charge = workflow.charge(step, memory);
    let reads = match (&charge, &step.capability) {
        (Some(charge), _) => charge.reads(),
        (None, Some(capability)) => &capability.reads,
        (None, None) => &[],
    };
    let board = rails::view(&memory.board, reads);
    let artifacts: BTreeMap<String, Value> = step
        .input_artifacts()
        .into_iter()
        .filter_map(|name| {
            let body = serde_json::from_str(run.artifact(&name)?).ok()?;
            Some((name, body))
        })
        .collect();
    let input = workflow.input_of(step, &board, &artifacts)?;
    Ok(Some(Task {
        goal: workflow.goal().to_owned(),
        description: step.description.clone(),
        role: match &charge {
            Some(Charge::Cluster { role, .. }) => Some(role.clone()),
            _ => step.role.clone(),
        },
        visit: memory.visits.get(&step.id).copied().unwrap_or(1),
        input,
        board,
        board_version: memory.version,
        output_schema: step.output_schema.clone(),
        budget: memory.left(workflow, step),
        cheaper: memory.cheaper,
        side_effect: step.side_effect,
        side_effect_reason: step.side_effect_reason.clone(),
        charge,
    }))
}

/// Digest of what the worker was given.
pub(crate) fn digest(task: &Task) -> Sha256Digest {
    let parts = [task.input.to_string(), task.board.to_string(), task.description.clone()];
    let mut digested = vec![parts[0].as_bytes(), &[0], parts[1].as_bytes(), &[0], parts[2].as_bytes()];
    let charge = task.charge.as_ref().map(|charge| charge.to_json().to_string());
    if let Some(charge) = &charge {
        digested.extend([&[0][..], charge.as_bytes()]);
    }
    sha256(&digested)
}
