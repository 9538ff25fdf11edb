//! The active triggers, as the record has them: whichever planner's configuration they came from, every planner fires them.

use std::collections::BTreeMap;

use rails::{CatchUp, Watch};
use record::Record;

use super::config::Trigger;
use super::reactive::{Reactive, Waiting};
use crate::clock::Clock;

/// The active triggers that this build can read, compiled.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The tenant of each, by name.
    pub(crate) tenants: BTreeMap<String, String>,
    /// When each fires that has a schedule, and what becomes of times that passed.
    pub(crate) clocks: BTreeMap<String, (Clock, CatchUp)>,
    /// Those that wait for events.
    pub(crate) reactive: Reactive,
}

impl Known {
    /// Reads them. To be read after what may fire them was: what happened since a trigger was registered finds it here.
    pub(crate) async fn read(record: &Record) -> Result<Self, record::Error> {
        let mut known = Self::default();
        let mut waiting = Vec::new();
        for row in record.triggers().await?.into_iter().filter(|row| row.active) {
            let Ok(trigger) = serde_json::from_str::<Trigger>(&row.definition) else {
                tracing::debug!(trigger = row.name, "a newer build registered it, and fires it");
                continue;
            };
            if let Ok(Some(clock)) = trigger.clock(&row.name) {
                let catch_up =
                    trigger.schedule.as_ref().map(|schedule| schedule.catch_up).unwrap_or_default();
                known.clocks.insert(row.name.clone(), (clock, catch_up));
            }
            if let Some(on) = &trigger.on
                && let Ok(watch) = Watch::compile(&on.kind, on.when.as_deref())
            {
                let (name, tenant) = (row.name.clone(), row.tenant.clone());
                waiting.push(Waiting { name, tenant, from: on.from, watch, since: row.registered_at });
            }
            known.tenants.insert(row.name, row.tenant);
        }
        known.reactive = Reactive(waiting);
        Ok(known)
    }
}
