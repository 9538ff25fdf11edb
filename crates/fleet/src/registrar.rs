//! The role `registrar`: checks a workflow document as registering it would, registers it, and begins a run of it. No brain is
//! asked; what is begun belongs to the run's tenant.

use std::collections::BTreeMap;

use model::{Failure, NewEvent, Report, SourceName};
use rails::Workflow;
use record::RunOptions;
use serde_json::{Value, json};

use crate::{Declared, Door, DoorError, JobContext, Process, Task};

/// The role's name.
pub const REGISTRAR: &str = "registrar";

/// The source of runs that are begun so.
const SOURCE: &str = "goals";

/// What is wrong with a document that calls trusted what its run is given: whoever wrote it has no say in that.
const TRUSTING: &str =
    "`untrusted` must name /inputs, or be left out: what its run is given comes from outside";

/// Registers and begins workflows.
#[derive(Debug)]
pub struct Registrar {
    process: Process,
    door: Door,
    declared: Declared,
}

impl Registrar {
    /// Checks by what the process's configuration declares.
    #[must_use]
    pub fn new(process: Process) -> Self {
        Self { door: Door::new(&process), declared: Declared::of(&process), process }
    }

    /// Does what the step's `with.operation` says.
    ///
    /// # Errors
    /// [`Failure`], permanent where the step or its document is wrong, unavailable where the record is away.
    pub async fn perform(&self, job: &JobContext, task: &Task) -> Result<Report, Failure> {
        let text = task.input["document"].as_str();
        let text = text.ok_or_else(|| Failure::permanent("the step's input has no `document`"))?;
        let checked = self.declared.register(text, &BTreeMap::new());
        let output = match job.with.get("operation").and_then(Value::as_str) {
            Some("check") => told(&checked)?,
            Some("begin") => {
                let refused = |why: String| Failure::permanent(format!("the document is refused: {why}"));
                let workflow = checked.map_err(|faults| refused(faults.to_string()))?;
                if !workflow.distrusts_inputs() {
                    return Err(refused(TRUSTING.to_owned()));
                }
                self.begin(job, task, &workflow).await?
            }
            _ => {
                return Err(Failure::permanent("the step's `with.operation` is neither `check` nor `begin`"));
            }
        };
        Ok(Report {
            output,
            prompt: Some("registrar: the checks of registration".to_owned()),
            ..Report::default()
        })
    }

    async fn begin(&self, job: &JobContext, task: &Task, workflow: &Workflow) -> Result<Value, Failure> {
        let record = &self.process.record;
        record.register_workflow(workflow, &job.tenant, &self.process.actor.name).await.map_err(away)?;
        let inputs = workflow.inputs_for(&task.input["goal"], &task.input["inputs"]);
        let source = SourceName::parse(SOURCE).map_err(|e| Failure::permanent(e.to_string()))?;
        let inputs =
            serde_json::value::to_raw_value(&inputs).map_err(|e| Failure::permanent(e.to_string()))?;
        // The same run asks once, however often it is tried.
        let event = NewEvent::asked_for(source, Some(job.run.to_string()), inputs)
            .map_err(|e| Failure::permanent(e.to_string()))?;
        let arrival = self.door.draw_up_for(workflow, event, &job.tenant, None).await.map_err(refused)?;
        let options = RunOptions { dry_run: job.dry_run, notify: None };
        let admitted = self.door.let_one_in(&arrival, &options).await.map_err(away)?;
        Ok(json!({ "run_id": admitted.run, "pipeline_version": workflow.version() }))
    }
}

/// What a check found, for whoever writes the document and for whoever approves it.
fn told(checked: &Result<Workflow, rails::Faults>) -> Result<Value, Failure> {
    let workflow = match checked {
        Ok(workflow) => workflow,
        Err(faults) => {
            let words = faults.to_string();
            let faults: Vec<&str> = words.lines().map(str::trim).collect();
            return Ok(json!({ "faults": faults }));
        }
    };
    if !workflow.distrusts_inputs() {
        return Ok(json!({ "faults": [TRUSTING] }));
    }
    let worst = workflow.worst_case().map_err(|faults| Failure::permanent(faults.to_string()))?;
    let effects: Vec<&str> =
        workflow.steps().filter(|step| step.side_effect).map(|step| step.id.as_str()).collect();
    Ok(json!({
        "faults": [],
        "pipeline_version": workflow.version(),
        "worst_case": worst,
        "side_effects": effects,
    }))
}

fn refused(error: DoorError) -> Failure {
    match error {
        DoorError::Record(error) => away(error),
        DoorError::Paused(_) => Failure::transient(error.to_string()),
        error => Failure::permanent(error.to_string()),
    }
}

fn away(error: record::Error) -> Failure {
    match error.handling() {
        record::Handling::Culprit => Failure::permanent(error.to_string()),
        _ => Failure::unavailable(error.to_string()),
    }
}
