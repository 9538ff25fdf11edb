//! The clock: a schedule whose time has come fires, and its next time is set, in one transaction; so of several planners
//! one does.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, Utc};
use fleet::Process;
use record::{FiringKind, NewFiring};
use serde_json::json;

use super::{Triggers, pause};
use crate::error::RoundError;

/// Watches the clock until the process stops.
pub(crate) async fn run(process: Process, triggers: Arc<Triggers>) {
    while !process.shutdown.is_cancelled() && !triggers.clocks.is_empty() {
        if let Err(error) = round(&process, &triggers).await {
            tracing::warn!(%error, "schedules could not be looked at; tried again");
        }
        pause(&process).await;
    }
}

async fn round(process: &Process, triggers: &Triggers) -> Result<(), RoundError> {
    for (name, meant_for, now) in process.record.due_triggers().await? {
        // Another planner's configuration may have others.
        let (Some(clock), Some(tenant)) = (triggers.clocks.get(&name), triggers.tenants.get(&name)) else {
            continue;
        };
        let firing = firing(&name, tenant, meant_for);
        if process.record.fire_schedule(&firing, meant_for, clock.after(now)).await? {
            triggers.stored.notify_one();
        }
    }
    Ok(())
}

fn firing(name: &str, tenant: &str, meant_for: DateTime<Utc>) -> NewFiring {
    let time = meant_for.to_rfc3339_opts(SecondsFormat::Secs, true);
    NewFiring {
        trigger: name.to_owned(),
        tenant: tenant.to_owned(),
        request_id: format!("schedule/{time}"),
        kind: FiringKind::Scheduled,
        cause: time.clone(),
        input: json!({ "scheduled_for": time }).to_string(),
        follows: None,
        meant_for: Some(meant_for),
        traceparent: None,
    }
}
