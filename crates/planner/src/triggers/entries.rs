//! Entries of `planner:triggers`: each is stored as a firing, then acknowledged.

use std::sync::Arc;

use fleet::Process;
use model::TriggerEntry;
use record::{FiringKind, NewFiring};
use serde_json::Value;
use streams::{Delivery, PLANNER_TRIGGERS, PlannerStream};
use tokio::sync::Notify;

use super::PAUSE;
use super::known::Known;
use crate::error::{RoundError, bury, or_bury};

/// Entries read at once.
const READ: usize = 64;

/// Takes entries until the process stops.
pub(crate) async fn run(process: Process, stored: Arc<Notify>) {
    let mut stream = process.streams.planner_stream(PLANNER_TRIGGERS, &process.consumer);
    while !process.shutdown.is_cancelled() {
        if let Err(error) = round(&process, &stored, &mut stream).await {
            tracing::warn!(%error, "triggers could not be read; tried again");
            process.idle(PAUSE).await;
        }
    }
}

async fn round(process: &Process, stored: &Notify, stream: &mut PlannerStream) -> Result<(), RoundError> {
    let deliveries = stream.read(READ).await?;
    if deliveries.is_empty() {
        return Ok(());
    }
    let known = Known::read(&process.record).await?;
    for delivery in deliveries {
        take(process, &known, stream, &delivery).await?;
        stream.acknowledge(&delivery.id).await?;
        stored.notify_one();
    }
    Ok(())
}

async fn take(
    process: &Process,
    known: &Known,
    stream: &PlannerStream,
    delivery: &Delivery,
) -> Result<(), RoundError> {
    match firing(known, stream.key(), delivery) {
        Ok(firing) => {
            let stored = process.record.fire(std::slice::from_ref(&firing)).await;
            or_bury(process, stream, delivery, stored).await
        }
        Err(reason) => bury(process, stream, delivery, &reason).await,
    }
}

fn firing(known: &Known, key: &str, delivery: &Delivery) -> Result<NewFiring, String> {
    let entry = TriggerEntry::decode(&delivery.fields).map_err(|e| format!("it fires nothing: {e}"))?;
    let Some(tenant) = known.tenants.get(&entry.trigger) else {
        return Err(format!("no trigger is called `{}`", entry.trigger));
    };
    if entry.tenant.as_ref().is_some_and(|named| named != tenant) {
        return Err(format!("the trigger `{}` is another tenant's", entry.trigger));
    }
    let request_id = entry
        .request_id
        .unwrap_or_else(|| record::upstream_request_id(key, &delivery.id.to_string(), &delivery.fields));
    Ok(NewFiring {
        tenant: tenant.clone(),
        cause: format!("{key} {}", delivery.id),
        kind: FiringKind::Manual,
        input: Value::Object(entry.input).to_string(),
        trigger: entry.trigger,
        origin: request_id.clone(),
        request_id,
        follows: None,
        meant_for: None,
        backfill: None,
        traceparent: entry.traceparent,
    })
}
