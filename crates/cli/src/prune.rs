//! `tidemill prune`: runs that ended long ago go.

use fleet::Fault;
use record::Pruned;

use crate::args::Prune;
use crate::vector_store;

/// Runs removed in one transaction.
const BATCH: i64 = 1000;

pub(crate) async fn run(prune: Prune) -> Result<(), Fault> {
    let record = prune.database.record().await?;
    let age = humantime::parse_duration(&prune.older_than)
        .map_err(|e| Fault::usage(format!("--older-than {}: {e}; write it like 90d", prune.older_than)))?;
    if prune.dry_run {
        let mut going = record.prunable(age).await?;
        going.events += record.prunable_outside(age).await?;
        println!("Would go: {}.", told(&going));
        return Ok(());
    }
    let weaviate = vector_store::configured()?;
    let mut gone = Pruned::default();
    loop {
        let batch = record.prune(age, BATCH, weaviate.is_some()).await?;
        if batch.runs == 0 {
            break;
        }
        gone += batch;
    }
    loop {
        let (touched, events) = record.prune_outside(age, BATCH).await?;
        gone.events += events;
        if touched == 0 {
            break;
        }
    }
    println!("Gone: {}. Publications, approvals and dedup keys stay.", told(&gone));
    match weaviate {
        Some(weaviate) => vector_store::remove_pruned(&record, &weaviate).await,
        None => Ok(()),
    }
}

fn told(pruned: &Pruned) -> String {
    let Pruned { runs, events, artifacts, vectors, links } = pruned;
    format!(
        "{runs} runs with {events} events, {artifacts} artifacts, {vectors} vectors and {links} links of provenance"
    )
}
