//! What the manifest of a run keeps, for whoever advances the run.

use chrono::{DateTime, Utc};
use rails::{Memory, Workflow};
use record::{LoadedRun, Manifest, Record};

/// Fills in what the run's manifest keeps, where its workflow keeps one.
///
/// # Errors
/// [`record::Error`].
pub async fn remember(
    record: &Record,
    run: &mut LoadedRun,
    workflow: &Workflow,
) -> Result<(), record::Error> {
    if !workflow.keeps_manifest() {
        return Ok(());
    }
    if let Some(manifest) = record.manifests(&[run.run]).await?.remove(&run.run) {
        run.memory = Some(memory(workflow, run.received_at, manifest?));
    }
    Ok(())
}

/// What the manifest of a run that began then keeps, or begins with.
#[must_use]
pub fn memory(workflow: &Workflow, began: DateTime<Utc>, manifest: Manifest) -> Box<Memory> {
    match manifest {
        Manifest::Kept(memory) => memory,
        Manifest::ToBegin { payload } => {
            let begun = Memory::begin(workflow, serde_json::from_slice(&payload).unwrap_or_default());
            Box::new(begun.since(workflow, began))
        }
    }
}
