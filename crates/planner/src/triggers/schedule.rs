//! The clock: a schedule whose time has come fires, and its next time is set, in one transaction; so of several planners
//! one does.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use fleet::Process;
use record::{FiringKind, NewFiring};
use serde_json::json;
use tokio::sync::Notify;

use super::PAUSE;
use super::known::Known;
use crate::error::RoundError;

/// Watches the clock until the process stops.
pub(crate) async fn run(process: Process, stored: Arc<Notify>) {
    while !process.shutdown.is_cancelled() {
        if let Err(error) = round(&process, &stored).await {
            tracing::warn!(%error, "schedules could not be looked at; tried again");
        }
        process.idle(PAUSE).await;
    }
}

async fn round(process: &Process, stored: &Notify) -> Result<(), RoundError> {
    let due = process.record.due_triggers().await?;
    if due.is_empty() {
        return Ok(());
    }
    let known = Known::read(&process.record).await?;
    for (name, meant_for, now) in due {
        // What a newer build registered is left to it.
        let (Some(clock), Some(tenant)) = (known.clocks.get(&name), known.tenants.get(&name)) else {
            continue;
        };
        let firing = firing(&name, tenant, meant_for);
        if process.record.fire_schedule(&firing, meant_for, clock.after(now)).await? {
            stored.notify_one();
        }
    }
    Ok(())
}

fn firing(name: &str, tenant: &str, meant_for: DateTime<Utc>) -> NewFiring {
    let time = meant_for.to_rfc3339_opts(SecondsFormat::Secs, true);
    NewFiring {
        trigger: name.to_owned(),
        tenant: tenant.to_owned(),
        request_id: time.clone(),
        origin: time.clone(),
        kind: FiringKind::Scheduled,
        cause: time.clone(),
        input: json!({ "scheduled_for": time }).to_string(),
        follows: None,
        meant_for: Some(meant_for),
        traceparent: None,
    }
}
