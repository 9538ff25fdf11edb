//! Runs on other versions than the one that was activated: migrated or cancelled as whoever activated it said.
//!
//! The row of the activation says what is still to be done, and each run is dealt with in one transaction: whoever takes the
//! lease after a crash goes on with the runs that are left. A run whose post is under way waits until that is settled.

use std::time::Duration;

use fleet::{Intents, Process, Successors};
use model::RunId;
use record::{Handling, Lease, Migrated, OpenActivation};

use crate::error::RoundError;

/// Pause between looks.
const LOOK: Duration = Duration::from_secs(1);
/// How long the lease lasts; it is renewed with every look and every page.
const LEASE: Duration = Duration::from_secs(15);
/// Runs looked at together.
const PAGE: i64 = 200;
/// Processes go on with the version before for so many times as long as they keep it, and no longer.
const LATECOMERS: u32 = 3;

/// Migrates until the process stops.
pub(crate) async fn run(process: Process) {
    let actor = process.actor.clone();
    let migrator = Migrator {
        successors: Successors::new(process.record.clone(), process.streams.clone(), actor),
        lease: Lease { name: "migrator", holder: process.consumer.clone() },
        process,
    };
    while !migrator.process.shutdown.is_cancelled() {
        if let Err(error) = migrator.round().await {
            tracing::warn!(%error, "runs could not be migrated; tried again");
        }
        tokio::select! {
            () = migrator.process.shutdown.cancelled() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    if let Err(error) = migrator.process.record.release(&migrator.lease).await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Migrator {
    process: Process,
    successors: Successors,
    lease: Lease,
}

/// What is left of an activation after all its runs were looked at.
#[derive(Default)]
struct Left {
    dealt_with: u64,
    left: u64,
    reason: Option<String>,
}

impl Migrator {
    async fn round(&self) -> Result<(), RoundError> {
        let open = self.process.record.open_activations().await?;
        if open.is_empty() || !self.process.record.lease(&self.lease, LEASE).await? {
            return Ok(());
        }
        for activation in &open {
            let left = self.deal_with(activation).await?;
            let settled = activation.age > (Intents::kept_for() * LATECOMERS).as_secs_f64();
            let finished = left.left == 0 && left.dealt_with == 0 && settled;
            self.process
                .record
                .note_activation(activation.activation_id, left.reason.as_deref(), finished)
                .await?;
            if left.dealt_with > 0 {
                let (version, runs) = (&activation.pipeline_version, activation.runs.as_str());
                let (dealt_with, left) = (left.dealt_with, left.left);
                tracing::info!(pipeline_version = version, runs, dealt_with, left, "runs on other versions");
            }
        }
        Ok(())
    }

    /// Looks once at every run that is left.
    async fn deal_with(&self, activation: &OpenActivation) -> Result<Left, RoundError> {
        let (mut found, mut after) = (Left::default(), None);
        loop {
            let page = self.process.record.runs_on_other_versions(activation, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(*last);
            for run in page {
                if self.process.shutdown.is_cancelled() {
                    return Ok(Left { left: 1, ..found });
                }
                if !self.one(activation, run, &mut found).await? {
                    return Ok(found);
                }
            }
            if !self.process.record.lease(&self.lease, LEASE).await? {
                return Ok(Left { left: 1, ..found });
            }
        }
    }

    /// Deals with one run; `false` where a later activation has the say.
    async fn one(
        &self,
        activation: &OpenActivation,
        run: RunId,
        found: &mut Left,
    ) -> Result<bool, RoundError> {
        let reason = match self.successors.deal_with(activation, run).await {
            Ok(Migrated::Done { .. }) => {
                found.dealt_with += 1;
                return Ok(true);
            }
            Ok(Migrated::Superseded) => return Ok(false),
            Ok(Migrated::Stale) => {
                // Looked at again in the next round: it may have ended by itself.
                found.left += 1;
                return Ok(true);
            }
            Ok(Migrated::Publishing) => format!("a post of run {run} is under way"),
            Err(error) if error.handling() == Handling::Culprit => format!("run {run}: {error}"),
            Err(error) => return Err(error.into()),
        };
        found.left += 1;
        found.reason.get_or_insert(reason);
        Ok(true)
    }
}
