//! Workflow versions, compiled once per process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rails::Workflow;
use record::Record;
use tokio::sync::RwLock;

/// The workflow versions that this process has met. Versions never change, so nothing is ever re-read.
#[derive(Debug, Clone)]
pub struct Workflows {
    record: Record,
    known: Arc<RwLock<HashMap<String, Arc<Workflow>>>>,
}

impl Workflows {
    /// Reads through this record.
    #[must_use]
    pub fn new(record: Record) -> Self {
        Self { record, known: Arc::default() }
    }

    /// A version.
    ///
    /// # Errors
    /// [`record::Error`]: unreadable where it is unknown or written by a newer build.
    pub async fn get(&self, version: &str) -> Result<Arc<Workflow>, record::Error> {
        if let Some(workflow) = self.known.read().await.get(version) {
            return Ok(Arc::clone(workflow));
        }
        let workflow = Arc::new(self.record.workflow(version).await?);
        self.known.write().await.insert(version.to_owned(), Arc::clone(&workflow));
        Ok(workflow)
    }

    /// By worker type, the steps that it does in any registered version. Versions that this build cannot read are left out.
    ///
    /// # Errors
    /// [`record::Error`] where the record is away.
    pub async fn steps(&self) -> Result<BTreeMap<String, BTreeSet<String>>, record::Error> {
        let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for version in self.record.workflow_versions().await? {
            let workflow = match self.get(&version).await {
                Ok(workflow) => workflow,
                Err(record::Error::Unreadable { .. }) => continue,
                Err(error) => return Err(error),
            };
            for step in workflow.steps() {
                found.entry(step.worker.to_string()).or_default().insert(step.id.clone());
            }
        }
        Ok(found)
    }

    /// The worker types that steps of `worker` lead to, in the versions met so far.
    pub async fn led_to_by(&self, worker: &str) -> Vec<String> {
        let known = self.known.read().await;
        let mut found: Vec<String> = known
            .values()
            .flat_map(|workflow| {
                workflow
                    .steps()
                    .filter(|step| step.worker.as_str() == worker)
                    .flat_map(|step| workflow.next_steps(&step.id))
                    .filter_map(|next| workflow.step(next).map(|step| step.worker.to_string()))
                    .collect::<Vec<_>>()
            })
            .collect();
        found.sort();
        found.dedup();
        found
    }
}
