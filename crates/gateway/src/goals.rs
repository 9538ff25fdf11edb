//! Runs that are asked for by a goal alone: the workflow that fits it best, or one that a model writes.

use std::sync::Arc;

use rails::{Candidate, WRITE_WORKFLOW, Workflow};
use serde_json::{Value, json};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;

/// How many candidates a refusal names.
const NAMED: usize = 3;

/// A workflow for a goal, and what a run of it is begun with.
pub(crate) struct Pick {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) inputs: Value,
    /// How well it fits, from 0 to 1; `None` where a model is to write one.
    pub(crate) fit: Option<f64>,
}

/// The active workflow whose name and description fit the goal best. Where none does and `write_workflow` is active, that.
pub(crate) async fn pick(app: &App, caller: &Caller, goal: &str, inputs: Value) -> Result<Pick, Problem> {
    let goal_is_text = !goal.trim().is_empty() && goal.chars().count() <= LONGEST_GOAL;
    if !goal_is_text {
        return Err(Problem::unprocessable(format!("`goal` has 1 to {LONGEST_GOAL} characters")));
    }
    let active = app.process.record.registered_workflows(caller.tenant()).await?;
    let mut known = Vec::new();
    for one in active.into_iter().filter(|one| one.active) {
        known.push(app.workflows.get(&one.pipeline_version).await?);
    }
    let fits = |workflow: &&Arc<Workflow>| {
        let takes = workflow.inputs_for(&json!(goal), &inputs);
        workflow.name() != WRITE_WORKFLOW && workflow.input_faults(&takes).is_empty()
    };
    let candidates: Vec<Candidate<'_>> = known
        .iter()
        .filter(fits)
        .map(|workflow| Candidate { name: workflow.name(), description: workflow.goal() })
        .collect();
    let of = |name: &str| known.iter().find(|workflow| workflow.name() == name).cloned();
    if let Some((name, score)) = rails::best_fit(goal, &candidates)
        && let Some(workflow) = of(name)
    {
        let inputs = workflow.inputs_for(&json!(goal), &inputs);
        return Ok(Pick { workflow, inputs, fit: Some(score) });
    }
    let Some(workflow) = of(WRITE_WORKFLOW) else {
        return Err(Problem::unprocessable(none_fits(goal, &candidates)));
    };
    let mut asked = json!({ "goal": goal });
    if !inputs.is_null() {
        asked["inputs"] = inputs;
    }
    Ok(Pick { workflow, inputs: asked, fit: None })
}

/// The longest goal, in characters.
const LONGEST_GOAL: usize = 4000;

fn none_fits(goal: &str, candidates: &[Candidate<'_>]) -> String {
    let ranked = rails::ranked(goal, candidates);
    let near: Vec<String> =
        ranked.iter().take(NAMED).map(|(name, score)| format!("{name} ({score:.2})")).collect();
    format!(
        "no active workflow fits the goal from {} on: nearest are [{}]. Name one, or activate `{WRITE_WORKFLOW}` to have a model \
         write one",
        rails::FITS,
        near.join(", ")
    )
}
