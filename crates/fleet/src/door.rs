//! The door: an event, wherever it comes from, becomes a run that serves an intent.

use model::NewEvent;
use record::{Admission, NewRun, PauseKind, Record};

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
    /// The record did not answer, or cannot store the event.
    #[error(transparent)]
    Record(#[from] record::Error),
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
        let source = event.source.as_str();
        if self.process.pauses.has(PauseKind::Source, source) {
            return Err(DoorError::Paused(source.to_owned()));
        }
        let Some(intent) = self.intents.serving(tenant, source).await? else {
            if self.intents.active().await?.is_empty() {
                return Err(DoorError::NothingRegistered);
            }
            return Err(DoorError::NotServed(source.to_owned()));
        };
        let workflow = self.workflows.get(&intent.pipeline_version).await?;
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
