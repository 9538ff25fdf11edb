//! What a run may take over of an earlier one of the same event that was pinned to another version.

use std::collections::BTreeMap;

use model::RunState;
use serde_json::Value;

use crate::workflow::{Expression, PatchOp, Step, Workflow};
use crate::{Facts, Patched, Signal, Standing, Transition, advance};

/// Whether what a step made in one version is what the step of the same id would make in the other. What would be undone with
/// the earlier run, or acts outside, is not taken over, nor is what somebody called.
#[must_use]
pub fn fits(from: &Workflow, to: &Workflow, step: &str) -> bool {
    let (Some(one), Some(other)) = (from.step(step), to.step(step)) else { return false };
    let plain =
        |step: &Step| step.orchestrate.is_none() && !step.side_effect && step.compensate_with.is_none();
    plain(one)
        && plain(other)
        && one.worker == other.worker
        && one.role == other.role
        && one.with == other.with
        && one.description == other.description
        && (one.role.is_none() || from.goal() == to.goal())
        && (one.input.is_empty() && one.patch.is_empty() || from.values() == to.values())
        && one.output_schema == other.output_schema
        && one.cluster == other.cluster
        && one.capability == other.capability
        && inputs(one).eq(inputs(other))
        && patches(one).eq(patches(other))
}

fn inputs(step: &Step) -> impl Iterator<Item = (&str, &str)> {
    step.input.iter().map(|(name, expression)| (name.as_str(), expression.source()))
}

fn patches(step: &Step) -> impl Iterator<Item = (PatchOp, &str, Option<&str>, Option<&str>)> {
    step.patch.iter().map(|one| {
        (one.op, one.path.as_str(), one.value.as_ref().map(Expression::source), one.from.as_deref())
    })
}

/// What an earlier run's step left.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// Its output.
    pub output: &'a Value,
    /// The patch that was applied to the blackboard with it, whole.
    pub patch: Option<&'a Value>,
}

/// The transition that an earlier output makes at this step, where it leads on to another step. An approval, a question, an
/// end are not carried: the step is done again, so that they come about anew or not at all. So is a first step behind gates,
/// which the run has yet to pass.
#[must_use]
pub fn carried(
    workflow: &Workflow,
    at: &Standing<'_>,
    left: Carried<'_>,
    artifacts: &BTreeMap<String, Value>,
    facts: &Facts,
) -> Option<Transition> {
    let step = workflow.step(at.step)?;
    if at.step == workflow.first_step() && workflow.looks_before_it_begins() {
        return None;
    }
    // The workflow's own operations come first, and are made again of the output.
    let proposed = left.patch.and_then(Value::as_array).and_then(|all| all.get(step.patch.len()..));
    let proposed = proposed.filter(|own| !own.is_empty()).map(|own| Value::from(own.to_vec()));
    let signal = Signal::Done { output: left.output, patch: proposed.as_ref() };
    let transition = advance(workflow, at, &signal, artifacts, facts).ok()?;
    let refused = transition
        .beyond
        .as_deref()
        .is_some_and(|beyond| matches!(beyond.patch, Some(Patched::Refused { .. })));
    // Held back for what it lacks: it is asked for again with that.
    let lacks = transition.beyond.as_deref().is_some_and(|beyond| !beyond.wants.is_empty());
    let goes_on = transition.state == RunState::Running
        && transition.step != at.step
        && transition.approval.is_none()
        && !refused
        && workflow.step(&transition.step).is_some();
    (lacks || goes_on).then_some(transition)
}

#[cfg(test)]
mod tests {
    use model::{Lifecycle, RunId};
    use serde_json::json;

    use super::*;
    use crate::Catalog;

    const WORKERS: &[&str] = &["etl", "embedding", "judge", "publisher"];

    fn workflow(steps: &str) -> Workflow {
        let yaml = format!("name: t\nversion: 1\nvalues: {{ min: 0.5 }}\nsteps:\n{steps}");
        let catalog = Catalog { workers: WORKERS, ..Catalog::default() };
        Workflow::register(&yaml, &BTreeMap::new(), &catalog).unwrap()
    }

    fn carried_to(workflow: &Workflow, step: &str, output: &Value) -> Option<String> {
        let at = Standing {
            run: RunId(uuid::Uuid::nil()),
            branch: 0,
            state: RunState::Running,
            lifecycle: Lifecycle::Draft,
            step,
            attempt: 0,
            content: None,
            dry_run: false,
        };
        let left = Carried { output, patch: None };
        carried(workflow, &at, left, &BTreeMap::new(), &Facts::default()).map(|found| found.step)
    }

    #[test]
    fn an_output_is_carried_where_the_new_version_would_go_on_with_it() {
        let new = workflow(
            "  - id: a\n    worker: etl\n    branches: [{ when: 'a.x < values.min', escalate: low }]\n    on_success: b\n  \
             - { id: b, worker: judge, approve: by_rule, on_success: c }\n  \
             - { id: c, worker: publisher, side_effect: true, on_success: { end: published } }",
        );
        assert_eq!(carried_to(&new, "a", &json!({ "x": 0.9 })).as_deref(), Some("b"));
        assert_eq!(carried_to(&new, "a", &json!({ "x": 0.1 })), None, "a question is asked anew");
        assert_eq!(carried_to(&new, "a", &json!({})), None, "a condition that errs asks");
        assert_eq!(carried_to(&new, "b", &json!({})), None, "an approval comes about anew");
        assert_eq!(carried_to(&new, "c", &json!({})), None);
    }

    #[test]
    fn a_step_fits_where_the_same_worker_does_it_in_the_same_way() {
        let end = "on_success: { end: done }";
        let old = workflow(&format!("  - {{ id: a, worker: etl, with: {{ k: 1 }}, {end} }}"));
        for (step, expected) in [
            (format!("  - {{ id: a, worker: etl, with: {{ k: 1 }}, deadline: 5s, {end} }}"), true),
            (format!("  - {{ id: a, worker: etl, {end} }}"), false),
            (format!("  - {{ id: a, worker: etl, with: {{ k: 1 }}, description: anew, {end} }}"), false),
            (format!("  - {{ id: a, worker: judge, with: {{ k: 1 }}, {end} }}"), false),
            (format!("  - {{ id: b, worker: etl, with: {{ k: 1 }}, {end} }}"), false),
            (format!("  - {{ id: a, worker: etl, with: {{ k: 1 }}, max_visits: 2, {end} }}"), true),
            (format!("  - {{ id: a, worker: etl, with: {{ k: 1 }}, input: {{ g: 1 + 1 }}, {end} }}"), false),
            (
                format!(
                    "  - {{ id: a, worker: etl, with: {{ k: 1 }}, compensate_with: u, {end} }}\n  \
                     - {{ id: u, worker: etl, {end} }}"
                ),
                false,
            ),
        ] {
            assert_eq!(fits(&old, &workflow(&step), "a"), expected, "{step}");
        }
    }
}
