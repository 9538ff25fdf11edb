//! Triggers: by hand or by an entry of `planner:triggers`, by the clock, and by events of this fleet's runs or of others.
//!
//! Whatever fires a trigger is first stored as a firing, once per trigger and request id. Each firing is then concluded, by
//! one planner, as exactly one of run, merged, suppressed, in the transaction that admits its run.

mod conclude;
pub(crate) mod config;
mod entries;
mod known;
mod outside;
mod reactive;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet::{Fault, Process};
use rails::{Projection, Watch};
use record::{EVERY_TENANT, NewTrigger};
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use known::Known;

use crate::clock::Clock;
use crate::config::Section;
use config::Trigger;

/// Pause between looks at the clock and at open firings, and after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// A trigger, and when it fires if it has a schedule.
type Clocked<'a> = (&'a Trigger, Option<Clock>);

/// Checks the configured triggers.
///
/// # Errors
/// [`Fault`] of kind usage that names the trigger.
pub(crate) fn check(section: &Section) -> Result<Vec<Clocked<'_>>, Fault> {
    let mut names = BTreeSet::new();
    section
        .triggers
        .iter()
        .map(|trigger| {
            let place = format!("planner.triggers.{}", trigger.name);
            let wrong = |why: String| Fault::usage(format!("{place}: {why}"));
            if !names.insert(&trigger.name) {
                return Err(wrong("it is there twice".to_owned()));
            }
            fits(trigger, section).map_err(wrong)?;
            Ok((trigger, trigger.clock(&place)?))
        })
        .collect()
}

/// Makes exactly these triggers the active ones.
///
/// # Errors
/// [`Fault`] of kind unavailable where the record is away.
pub(crate) async fn register(process: &Process, triggers: Vec<Clocked<'_>>) -> Result<(), Fault> {
    let now = process.record.server().await?.now;
    let before: BTreeMap<String, String> =
        process.record.triggers().await?.into_iter().map(|t| (t.name, t.definition)).collect();
    let mut registrations = Vec::with_capacity(triggers.len());
    for (trigger, clock) in triggers {
        let wrong = |why: String| Fault::usage(format!("planner.triggers.{}: {why}", trigger.name));
        served(process, trigger).await?.map_err(wrong)?;
        let written = |trigger: &Trigger| serde_json::to_string(trigger);
        let definition = written(trigger).map_err(|e| Fault::bug(e.to_string()))?;
        // An older build may have written it in another way.
        let known = before.get(&trigger.name).and_then(|json| serde_json::from_str(json).ok());
        registrations.push(NewTrigger {
            name: trigger.name.clone(),
            tenant: trigger.tenant.clone(),
            next_at: clock.map(|clock| clock.after(now)),
            changed: known.as_ref().and_then(|known| written(known).ok()).as_ref() != Some(&definition),
            definition,
        });
    }
    Ok(process.record.register_triggers(&registrations).await?)
}

fn fits(trigger: &Trigger, section: &Section) -> Result<(), String> {
    model::SourceName::parse(&trigger.name)
        .map_err(|_| "a name is 1 to 200 bytes of plain text".to_owned())?;
    model::SourceName::parse(&trigger.source).map_err(|e| e.to_string())?;
    if trigger.schedule.is_some() && trigger.on.is_some() {
        return Err("it has a schedule and waits for events; write two triggers".to_owned());
    }
    if let Some(on) = &trigger.on {
        Watch::compile(&on.kind, on.when.as_deref())?;
    }
    trigger.naming()?;
    Projection::compile(trigger.payload.clone(), &trigger.project).map_err(|e| format!("project.{e}"))?;
    let serves = |intent: &crate::config::Intent| {
        (intent.tenant == "*" || intent.tenant == trigger.tenant)
            && rails::glob_matches(&intent.source, &trigger.source)
    };
    if trigger.workflow.is_none() && !section.intents.iter().any(serves) {
        return Err(format!("no intent serves its source `{}`", trigger.source));
    }
    Ok(())
}

/// Whether the workflow that it names is active.
async fn served(process: &Process, trigger: &Trigger) -> Result<Result<(), String>, record::Error> {
    let Some(name) = &trigger.workflow else { return Ok(Ok(())) };
    let active = process.record.active_workflows().await?;
    let of = |tenant: &str| active.get(tenant).is_some_and(|known| known.contains_key(name));
    if of(&trigger.tenant) || of(EVERY_TENANT) {
        return Ok(Ok(()));
    }
    Ok(Err(format!("no workflow `{name}` is active for its tenant `{}`", trigger.tenant)))
}

/// Fires and concludes until the process stops.
pub(crate) async fn run(process: Process, fleet_id: String, feed_length: usize) {
    // Rung when a firing was stored.
    let stored = Arc::new(Notify::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(schedule::run(process.clone(), Arc::clone(&stored)));
    tasks.spawn(entries::run(process.clone(), Arc::clone(&stored)));
    tasks.spawn(outside::run(process.clone(), Arc::clone(&stored), fleet_id, feed_length));
    tasks.spawn(conclude::run(process, stored));
    // A panic goes on to the planner, which ends by it.
    tasks.join_all().await;
}
