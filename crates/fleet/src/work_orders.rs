//! Work orders: what a brain hands to a worker outside that answers later, by a callback to the gateway.

use std::time::Duration;

use model::{Failure, sha256};
use record::{BranchKey, NewWorkOrder, Record};

use crate::JobContext;

/// Keeps what was handed out, and what was answered, so that neither a crash of this process nor a long wait loses it.
#[derive(Debug, Clone)]
pub struct WorkOrders(Record);

/// What is known of a task that was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkOrder {
    /// What the worker completed it with, JSON.
    pub answer: Option<String>,
    /// For how long a worker has had it; zero where none has taken it.
    pub since: Duration,
    /// How long ago the worker gave a sign of life by itself.
    pub heard: Option<Duration>,
}

impl WorkOrders {
    /// In this record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self(record)
    }

    /// Notes that a job is handed out, completed under this token and signed with this key; says what is known of it.
    ///
    /// # Errors
    /// Unavailable: the record is away.
    pub async fn hand_out(
        &self,
        job: &JobContext,
        visit: u32,
        token: &str,
        signing_key: &str,
    ) -> Result<WorkOrder, Failure> {
        let order = NewWorkOrder {
            token: sha256(&[token.as_bytes()]),
            signing_key,
            key: BranchKey { run: job.run, branch: job.branch },
            seq: job.seq,
            step: &job.step,
            visit,
        };
        let handed = self.0.hand_out(&order).await.map_err(away)?;
        Ok(WorkOrder { answer: handed.answer, since: handed.since, heard: handed.heard })
    }

    /// Notes that a worker has taken it: from now on it is waited for.
    ///
    /// # Errors
    /// Unavailable: the record is away.
    pub async fn taken(&self, token: &str) -> Result<(), Failure> {
        self.0.take_work(sha256(&[token.as_bytes()])).await.map_err(away)
    }

    /// Gives an order up: whoever asks for the task again begins anew.
    ///
    /// # Errors
    /// Unavailable: the record is away.
    pub async fn close(&self, token: &str) -> Result<(), Failure> {
        self.0.close_work_order(sha256(&[token.as_bytes()])).await.map_err(away)
    }
}

fn away(error: record::Error) -> Failure {
    Failure::unavailable(format!("the work order cannot be kept: {error}"))
}
