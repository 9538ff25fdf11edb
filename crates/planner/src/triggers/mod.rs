//! Triggers: by hand or by an entry of `planner:triggers`, by the clock, and by events of this fleet's runs or of others.
//!
//! Whatever fires a trigger is first stored as a firing, once per trigger and request id. Each firing is then concluded, by
//! one planner, as exactly one of run, merged, suppressed, in the transaction that admits its run.

mod conclude;
pub(crate) mod config;
mod entries;
mod outside;
mod reactive;
mod schedule;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet::{Fault, Process};
use rails::{Projection, Watch};
use record::NewTrigger;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub(crate) use reactive::Reactive;

use crate::clock::Clock;
use crate::config::Section;
use config::Trigger;

/// Pause between looks at the clock and at open firings, and after trouble.
const PAUSE: Duration = Duration::from_secs(1);

/// The configured triggers, compiled.
#[derive(Debug)]
pub(crate) struct Triggers {
    clocks: BTreeMap<String, Clock>,
    tenants: BTreeMap<String, String>,
    reactive: Arc<Reactive>,
    /// Rung when a firing was stored.
    stored: Notify,
}

/// Checks the configured triggers and makes exactly them the active ones.
///
/// # Errors
/// [`Fault`] of kind usage that names the trigger; unavailable where the record is away.
pub(crate) async fn register(process: &Process, section: &Section) -> Result<Arc<Triggers>, Fault> {
    let mut clocks = BTreeMap::new();
    let mut watches = Vec::new();
    let mut names = BTreeSet::new();
    for trigger in &section.triggers {
        let place = format!("planner.triggers.{}", trigger.name);
        let wrong = |why: String| Fault::usage(format!("{place}: {why}"));
        if !names.insert(&trigger.name) {
            return Err(wrong("it is there twice".to_owned()));
        }
        check(trigger, section).map_err(wrong)?;
        if let Some(schedule) = &trigger.schedule {
            clocks.insert(trigger.name.clone(), Clock::parse(&place, &schedule.cron, &schedule.timezone)?);
        }
        if let Some(on) = &trigger.on {
            let watch = Watch::compile(&on.kind, on.when.as_deref()).map_err(wrong)?;
            watches.push((trigger.clone(), on.from, watch));
        }
    }
    let now = process.record.server().await?.now;
    let registrations = section.triggers.iter().map(|trigger| {
        Ok(NewTrigger {
            name: trigger.name.clone(),
            tenant: trigger.tenant.clone(),
            definition: serde_json::to_string(trigger).map_err(|e| Fault::bug(e.to_string()))?,
            next_at: clocks.get(&trigger.name).map(|clock| clock.after(now)),
        })
    });
    process.record.register_triggers(&registrations.collect::<Result<Vec<_>, Fault>>()?).await?;
    let since = process.record.triggers().await?.into_iter().map(|t| (t.name, t.registered_at)).collect();
    Ok(Arc::new(Triggers {
        clocks,
        tenants: section.triggers.iter().map(|t| (t.name.clone(), t.tenant.clone())).collect(),
        reactive: Arc::new(Reactive::new(watches, &since)),
        stored: Notify::new(),
    }))
}

fn check(trigger: &Trigger, section: &Section) -> Result<(), String> {
    model::SourceName::parse(&trigger.name)
        .map_err(|_| "a name is 1 to 200 bytes of plain text".to_owned())?;
    model::SourceName::parse(&trigger.source).map_err(|e| e.to_string())?;
    if trigger.schedule.is_some() && trigger.on.is_some() {
        return Err("it has a schedule and waits for events; write two triggers".to_owned());
    }
    Projection::compile(trigger.payload.clone(), &trigger.project).map_err(|e| format!("project.{e}"))?;
    let serves = |intent: &crate::config::Intent| {
        (intent.tenant == "*" || intent.tenant == trigger.tenant)
            && rails::glob_matches(&intent.source, &trigger.source)
    };
    match section.intents.iter().any(serves) {
        true => Ok(()),
        false => Err(format!("no intent serves its source `{}`", trigger.source)),
    }
}

/// Fires and concludes until the process stops.
pub(crate) async fn run(process: Process, triggers: Arc<Triggers>, fleet_id: String, feed_length: usize) {
    let mut tasks = JoinSet::new();
    tasks.spawn(schedule::run(process.clone(), Arc::clone(&triggers)));
    tasks.spawn(entries::run(process.clone(), Arc::clone(&triggers)));
    tasks.spawn(outside::run(process.clone(), Arc::clone(&triggers), fleet_id, feed_length));
    tasks.spawn(conclude::run(process, triggers));
    tasks.join_all().await;
}

impl Triggers {
    /// The reactive ones.
    pub(crate) fn reactive(&self) -> Arc<Reactive> {
        Arc::clone(&self.reactive)
    }
}

/// Waits a while, or until the process stops.
async fn pause(process: &Process) {
    tokio::select! {
        () = process.shutdown.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}
