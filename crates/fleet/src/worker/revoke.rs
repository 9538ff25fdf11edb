//! Revocations: what a person wants withdrawn, taken from the record by a worker that holds the outlet's secrets.
//!
//! A claim lasts a little longer than a try may take; whoever dies in between leaves it to the next, and an outlet does not
//! mind being asked twice. Each outlet has one try under way in a process, so that a slow one delays no other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::{Failure, RetryClass, Withdrawal};
use rails::Backoff;
use record::{DueRevocation, PauseKind, RevocationState};
use tokio::task::JoinSet;

use super::Engine;
use super::intake::persist;
use crate::Handler;

/// How often the record is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What a claim lasts beyond its try.
const MARGIN: Duration = Duration::from_secs(5);
/// Pauses after an outlet was away.
const PAUSES: Backoff = Backoff { initial: Duration::from_secs(2), max: Duration::from_secs(300) };

/// Revokes until the process stops.
pub(crate) async fn run<H: Handler>(engine: Arc<Engine<H>>) {
    let outlets: HashMap<String, Duration> = engine.handler.outlets().into_iter().collect();
    let mut tries: JoinSet<String> = JoinSet::new();
    let mut busy = Vec::new();
    loop {
        if !outlets.is_empty() {
            take(&engine, &outlets, &mut busy, &mut tries).await;
        }
        tokio::select! {
            () = engine.process.shutdown.cancelled() => return,
            Some(done) = tries.join_next() => {
                // One that panicked stays busy: what it did is not repeated by this process.
                if let Ok(outlet) = done {
                    busy.retain(|one| *one != outlet);
                }
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Begins a try for each outlet that has something due.
async fn take<H: Handler>(
    engine: &Arc<Engine<H>>,
    outlets: &HashMap<String, Duration>,
    busy: &mut Vec<String>,
    tries: &mut JoinSet<String>,
) {
    loop {
        let pauses = &engine.process.pauses;
        let free = |name: &&String| !busy.contains(name) && !pauses.has(PauseKind::Outlet, name);
        let free: Vec<String> = outlets.keys().filter(free).cloned().collect();
        if free.is_empty() || pauses.has(PauseKind::Stage, H::WORKER) || engine.breaker.is_open() {
            return;
        }
        let longest = free.iter().filter_map(|name| outlets.get(name)).max().copied().unwrap_or_default();
        let due = match engine.process.record.claim_revocation(&free, longest + MARGIN).await {
            Ok(Some(due)) => due,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "revocations cannot be looked at");
                return;
            }
        };
        crate::failpoint::reach("revoking");
        let limit = outlets.get(&due.outlet).copied().unwrap_or(longest);
        busy.push(due.outlet.clone());
        tries.spawn(revoke(Arc::clone(engine), due, limit));
    }
}

async fn revoke<H: Handler>(engine: Arc<Engine<H>>, due: DueRevocation, limit: Duration) -> String {
    let asked = engine.handler.revoke(&due.outlet, due.publication_key);
    let late = || Failure::unavailable(format!("{} did not answer within {limit:?}", due.outlet));
    let result = tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(late()));
    crate::failpoint::reach("withdrawn");
    let (state, detail) = match result {
        Ok(Withdrawal::Done { detail }) => (RevocationState::Revoked, detail),
        Ok(Withdrawal::Absent) => {
            (RevocationState::Revoked, "the outlet has no such post any more".to_owned())
        }
        Ok(Withdrawal::Impossible { reason }) => (RevocationState::Refused, reason),
        Err(failure) if failure.class == RetryClass::Permanent => (RevocationState::Refused, failure.reason),
        Err(failure) => {
            postpone(&engine, &due, &failure).await;
            return due.outlet;
        }
    };
    let detail = model::storable(&detail);
    let (record, actor) = (&engine.process.record, &engine.process.actor);
    let settled = persist(&engine, || record.settle_revocation(&due, state, &detail, actor)).await;
    if matches!(settled, Ok(true)) {
        let (outlet, publication) = (&due.outlet, due.publication_id);
        match state {
            RevocationState::Revoked => tracing::info!(outlet, %publication, detail, "revoked"),
            _ => tracing::warn!(outlet, %publication, detail, "a revocation was refused"),
        }
    }
    due.outlet
}

async fn postpone<H: Handler>(engine: &Engine<H>, due: &DueRevocation, failure: &Failure) {
    let pause = match failure.class {
        RetryClass::RetryAfter(pause) | RetryClass::Later(pause) => pause.min(PAUSES.max),
        // No jitter: one post of an outlet is withdrawn at a time.
        _ => PAUSES.delay(due.attempts, 1.0),
    };
    tracing::warn!(outlet = due.outlet, reason = failure.reason, ?pause, "a revocation is tried again");
    let (record, reason) = (&engine.process.record, model::storable(&failure.reason));
    // Where this fails the claim runs out, and another try begins then.
    if let Err(error) = record.postpone_revocation(due.publication_id, &reason, pause).await {
        tracing::debug!(%error, "the postponement of a revocation could not be noted");
    }
}
