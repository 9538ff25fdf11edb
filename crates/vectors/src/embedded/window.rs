//! The entries by id, and which of them leave.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::WindowConfig;
use super::arena::{Arena, Meta};
use super::codes::Code;
use super::nearest::{Scan, nearest};
use crate::{Entry, Neighbour};

/// The oldest leave by this share of the window, so that finding them costs next to nothing per entry.
const SHARE: usize = 64;

pub(crate) struct Window {
    config: WindowConfig,
    arena: Arena,
    slots: HashMap<Uuid, u32>,
    /// A small number for each tenant and model that occurred. Never forgotten: there are few of them.
    spaces: HashMap<String, HashMap<String, u32>>,
    space_count: u32,
    /// No entry was received before; microseconds since 1970.
    oldest: i64,
}

impl std::fmt::Debug for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Window")
            .field("config", &self.config)
            .field("len", &self.len())
            .field("spaces", &self.space_count)
            .finish_non_exhaustive()
    }
}

impl Window {
    pub(crate) fn new(config: WindowConfig) -> Self {
        Self {
            config,
            arena: Arena::new(config.dimensions),
            slots: HashMap::new(),
            spaces: HashMap::new(),
            space_count: 0,
            oldest: i64::MAX,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.arena.len()
    }

    /// The number of a tenant and model, if either has ever had an entry.
    pub(crate) fn space(&self, tenant: &str, model: &str) -> Option<u32> {
        self.spaces.get(tenant)?.get(model).copied()
    }

    pub(crate) fn upsert(&mut self, entry: &Entry, code: &Code) {
        let meta = Meta {
            id: entry.id,
            run_id: entry.run_id,
            received_at: entry.received_at.timestamp_micros(),
            space: self.space_or_new(&entry.tenant, &entry.model),
            inverse_length: code.inverse_length,
        };
        self.oldest = self.oldest.min(meta.received_at);
        if let Some(&slot) = self.slots.get(&entry.id) {
            self.arena.replace(slot as usize, meta, code);
            return;
        }
        let slot = self.arena.push(meta, code);
        self.slots.insert(entry.id, slot as u32);
    }

    fn space_or_new(&mut self, tenant: &str, model: &str) -> u32 {
        if let Some(space) = self.space(tenant, model) {
            return space;
        }
        let space = self.space_count;
        self.space_count += 1;
        self.spaces.entry(tenant.to_owned()).or_default().insert(model.to_owned(), space);
        space
    }

    pub(crate) fn remove(&mut self, id: &Uuid) {
        let Some(slot) = self.slots.remove(id) else { return };
        if let Some(moved) = self.arena.swap_remove(slot as usize) {
            self.slots.insert(moved, slot);
        }
    }

    /// Makes the window fit its configuration.
    pub(crate) fn evict(&mut self, now: DateTime<Utc>) {
        let surplus = self.len().saturating_sub(self.config.max_count);
        if surplus > 0 {
            self.evict_oldest(surplus + self.config.max_count / SHARE);
        }
        // Queries do not see the expired, so they may stay until looking for them is worth it.
        let overdue = self.cutoff(now, self.config.max_age / SHARE as u32);
        if self.oldest < overdue {
            self.evict_before(self.cutoff(now, Duration::ZERO));
        }
    }

    fn evict_before(&mut self, cutoff: i64) {
        let expired: Vec<Uuid> =
            self.arena.metas().filter(|meta| meta.received_at < cutoff).map(|meta| meta.id).collect();
        expired.iter().for_each(|id| self.remove(id));
        self.oldest = self.arena.metas().map(|meta| meta.received_at).min().unwrap_or(i64::MAX);
    }

    fn evict_oldest(&mut self, count: usize) {
        let mut ages: Vec<(i64, Uuid, Uuid)> =
            self.arena.metas().map(|meta| (meta.received_at, meta.run_id, meta.id)).collect();
        if count < ages.len() {
            ages.select_nth_unstable(count);
            ages.truncate(count);
        }
        ages.iter().for_each(|(_, _, id)| self.remove(id));
    }

    /// Microseconds since 1970: what was received before is older than `max_age` by more than `grace`.
    fn cutoff(&self, now: DateTime<Utc>, grace: Duration) -> i64 {
        let age = TimeDelta::from_std(self.config.max_age.saturating_add(grace)).unwrap_or(TimeDelta::MAX);
        now.checked_sub_signed(age).map_or(i64::MIN, |cutoff| cutoff.timestamp_micros())
    }

    pub(crate) fn scan(
        &self,
        space: u32,
        now: DateTime<Utc>,
        k: usize,
        before: Option<(DateTime<Utc>, Uuid)>,
    ) -> Scan {
        let before = before.map(|(at, run)| (at.timestamp_micros(), run));
        Scan { space, cutoff: self.cutoff(now, Duration::ZERO), k, before }
    }

    pub(crate) fn nearest(&self, code: &Code, scan: Scan) -> Vec<Neighbour> {
        nearest(&self.arena, code, scan)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        // hashbrown: at most 7 of 8 buckets in use, a byte of control for each.
        let buckets = (self.slots.capacity() * 8 / 7).next_power_of_two();
        self.arena.memory_bytes() + buckets * (size_of::<(Uuid, u32)>() + 1)
    }
}
