//! The side that adds tasks and counts what was done.

use std::collections::HashMap;

use apalis::prelude::*;
use apalis_redis::{ConnectionManager, RedisStorage};
use driver::{Event, Fault, Peer, STAGES};
use serde::Deserialize;

use crate::{Payload, config};

/// Tasks whose arguments are asked for at once.
const TASKS: usize = 1000;

/// The producer.
pub(crate) struct Apalis {
    storage: RedisStorage<Payload>,
    redis: ConnectionManager,
}

/// A task's arguments: an event's payload or the result of the step before.
#[derive(Deserialize)]
struct Given {
    event: usize,
    stage: Option<String>,
}

impl Apalis {
    pub(crate) async fn connect(url: &str) -> Result<Self, Fault> {
        let redis = apalis_redis::connect(url).await?;
        Ok(Self { storage: RedisStorage::new(redis.clone()).with_config(config()), redis })
    }
}

impl Peer for Apalis {
    async fn offer(&self, events: Vec<Event>) -> Result<(), Fault> {
        let payloads: Vec<Payload> =
            events.iter().map(|event| serde_json::from_str(&event.payload)).collect::<Result<_, _>>()?;
        self.storage.clone().push_bulk(payloads).await?;
        Ok(())
    }

    /// Counts, for every event, the tasks that were done: one with its payload, then one with each step's result but the
    /// last, which the workflow keeps nowhere.
    async fn mismatches(&self, first: usize, count: usize) -> Result<usize, Fault> {
        let mut redis = self.redis.clone();
        let config = config();
        let done: Vec<String> =
            redis::cmd("SMEMBERS").arg(config.done_jobs_set()).query_async(&mut redis).await?;
        let mut steps: HashMap<usize, Vec<usize>> = HashMap::new();
        for ids in done.chunks(TASKS) {
            let given: Vec<String> =
                redis::cmd("HMGET").arg(config.job_data_hash()).arg(ids).query_async(&mut redis).await?;
            for arguments in given {
                let given: Given = serde_json::from_str(&arguments)?;
                let before = |stage: &str| STAGES.iter().position(|known| *known == stage);
                let step = given.stage.as_deref().and_then(before).map_or(0, |before| before + 1);
                steps.entry(given.event).or_default().push(step);
            }
        }
        let whole = |event: &usize| {
            steps.get(event).is_some_and(|steps| {
                let mut steps = steps.clone();
                steps.sort_unstable();
                steps == [0, 1, 2, 3]
            })
        };
        Ok((first..first + count).filter(|event| !whole(event)).count())
    }
}
