//! The door: an event, wherever it comes from, becomes a run that serves an intent.

use std::sync::Arc;

use model::NewEvent;
use rails::{Fault, Workflow};
use record::{Admission, Admitted, Intent, NewIntent, NewRun, PauseKind, Record, RunOptions};
use serde_json::Value;

use crate::{Intents, Process, Workflows, spans};

/// Why an event cannot come in.
#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    /// No planner has registered anything yet. Transient.
    #[error("no intent is registered yet: start a planner")]
    NothingRegistered,
    /// No intent serves the event's source. Permanent.
    #[error("no intent serves the source `{0}`")]
    NotServed(String),
    /// A person paused the source. Transient.
    #[error("the source `{0}` is paused: `tidemill resume source {0}` ends that")]
    Paused(String),
    /// No version of this workflow is active for the tenant. Permanent.
    #[error("no workflow `{0}` is active: `tidemill workflows list` shows those that are")]
    NoWorkflow(String),
    /// The inputs are not what the workflow takes. Permanent.
    #[error("the inputs do not fit the workflow {version}: {}", told(.faults))]
    Inputs {
        /// The version.
        version: String,
        /// Everything that is wrong.
        faults: Vec<Fault>,
    },
    /// The record did not answer, or cannot store the event.
    #[error(transparent)]
    Record(#[from] record::Error),
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(|fault| format!("{}: {}", fault.place, fault.message)).collect::<Vec<_>>().join("; ")
}

/// A run that is drawn up and not yet committed, and the worker type of its first step.
#[derive(Debug)]
pub struct Arrival {
    /// What the record is to commit.
    pub admission: Admission,
    /// Who does the first step.
    pub worker: String,
}

/// Lets events in.
#[derive(Debug, Clone)]
pub struct Door {
    process: Process,
    intents: Intents,
    workflows: Workflows,
}

impl Door {
    /// A door of this process.
    #[must_use]
    pub fn new(process: &Process) -> Self {
        Self {
            process: process.clone(),
            intents: Intents::new(process.record.clone()),
            workflows: Workflows::new(process.record.clone()),
        }
    }

    /// Draws up the run of an event. `traceparent` is the sender's trace context, where it has one.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn draw_up(
        &self,
        event: NewEvent,
        tenant: &str,
        traceparent: Option<&str>,
    ) -> Result<Arrival, DoorError> {
        let source = self.open(&event)?;
        let Some(intent) = self.intents.serving(tenant, source).await? else {
            if !self.intents.any().await? {
                return Err(DoorError::NothingRegistered);
            }
            return Err(DoorError::NotServed(source.to_owned()));
        };
        let workflow = self.workflows.get(&intent.pipeline_version).await?;
        self.draw(event, tenant, intent, &workflow, traceparent)
    }

    /// The version of a workflow that is active for a tenant.
    ///
    /// # Errors
    /// [`DoorError::NoWorkflow`], [`DoorError::Record`].
    pub async fn active(&self, tenant: &str, name: &str) -> Result<Arc<Workflow>, DoorError> {
        let version = self.intents.active_version(tenant, name).await?;
        let version = version.ok_or_else(|| DoorError::NoWorkflow(name.to_owned()))?;
        Ok(self.workflows.get(&version).await?)
    }

    /// Draws up the run of an event that is asked for by workflow; the event's payload is the inputs.
    ///
    /// # Errors
    /// [`DoorError`].
    pub async fn draw_up_for(
        &self,
        workflow: &Workflow,
        event: NewEvent,
        tenant: &str,
        traceparent: Option<&str>,
    ) -> Result<Arrival, DoorError> {
        let source = self.open(&event)?.to_owned();
        let inputs: Value = serde_json::from_str(event.payload.get()).unwrap_or_default();
        let faults = workflow.input_faults(&inputs);
        if !faults.is_empty() {
            return Err(DoorError::Inputs { version: workflow.version().to_owned(), faults });
        }
        let purpose = match workflow.goal() {
            "" => format!("run {}", workflow.name()),
            goal => goal.to_owned(),
        };
        let intent = NewIntent {
            tenant: tenant.to_owned(),
            region: model::DEFAULT_REGION.to_owned(),
            source_pattern: source,
            purpose,
            pipeline_version: workflow.version().to_owned(),
        };
        let intent = self.process.record.keep_intent(&intent, workflow.name()).await?;
        self.draw(event, tenant, intent, workflow, traceparent)
    }

    /// Forgets which versions were active, after this process changed it.
    pub async fn forget(&self) {
        self.intents.forget().await;
    }

    /// The source of an event, unless it is paused.
    fn open<'e>(&self, event: &'e NewEvent) -> Result<&'e str, DoorError> {
        let source = event.source.as_str();
        if self.process.pauses.has(PauseKind::Source, source) {
            return Err(DoorError::Paused(source.to_owned()));
        }
        Ok(source)
    }

    fn draw(
        &self,
        event: NewEvent,
        tenant: &str,
        intent: Intent,
        workflow: &Workflow,
        traceparent: Option<&str>,
    ) -> Result<Arrival, DoorError> {
        let first_step = workflow.first_step().to_owned();
        let worker = workflow.step(&first_step).map(|step| step.worker.to_string()).unwrap_or_default();
        let about = spans::About {
            name: self.process.actor.name.trim_start_matches("tidemill-"),
            run_id: None,
            step: &first_step,
            attempt: 0,
            planner_intent: &intent.purpose,
        };
        let traceparent = Some(spans::arrive(&about, traceparent));
        let new = NewRun {
            event,
            tenant: tenant.to_owned(),
            intent,
            first_step,
            partition: rand::random_range(0..self.process.streams.partitions()),
            traceparent,
            received_at: chrono::Utc::now(),
        };
        Ok(Arrival { admission: Admission::draw_up(new, &self.process.actor)?, worker })
    }

    /// Commits one arrival with what its run was asked for with, and adds its job where it is new.
    ///
    /// # Errors
    /// [`record::Error`].
    pub async fn let_one_in(
        &self,
        arrival: &Arrival,
        options: &RunOptions,
    ) -> Result<Admitted, record::Error> {
        let admitted = self.process.record.admit_run(&arrival.admission, options).await?;
        crate::failpoint::reach("accepted");
        if admitted.created {
            let job = [(&arrival.admission, arrival.worker.as_str())];
            crate::add_first_jobs(&self.process.streams, job.into_iter()).await;
        }
        Ok(admitted)
    }

    /// Commits arrivals and adds the jobs of those that are new. Returns how many are new.
    ///
    /// # Errors
    /// [`record::Error`] of the group.
    pub async fn let_in(&self, arrivals: &[Arrival]) -> Result<usize, record::Error> {
        let record: &Record = &self.process.record;
        let admissions: Vec<Admission> = arrivals.iter().map(|arrival| arrival.admission.clone()).collect();
        let admitted = record.admit(&admissions).await?;
        let new = arrivals.iter().zip(admitted).filter(|(_, admitted)| admitted.created);
        let jobs: Vec<(&Admission, &str)> =
            new.map(|(arrival, _)| (&arrival.admission, arrival.worker.as_str())).collect();
        crate::add_first_jobs(&self.process.streams, jobs.iter().copied()).await;
        Ok(jobs.len())
    }
}
