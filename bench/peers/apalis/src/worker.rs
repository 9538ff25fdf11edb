//! A process of workers.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis::prelude::*;
use apalis_redis::RedisStorage;
use apalis_workflow::SteppedFlow;
use driver::{Fault, NoteEnds, result_of, terminated};
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::{BATCH, Kept, Payload, config};

/// How often an idle worker looks for tasks.
const LOOK: Duration = Duration::from_millis(5);

/// Wakes a worker that waits for tasks, as `poll_with_interval` would. That of apalis 1.0.0 sometimes does not: where its
/// timer has run out while a fetch was under way that brought nothing, the timer it sets then wakes nobody, and the worker
/// sleeps until its next heartbeat, for up to 30 seconds.
#[derive(Default)]
struct EveryTick(Option<Interval>);

/// A clone of a worker's backend adds tasks and waits for none.
impl Clone for EveryTick {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PollStrategy for EveryTick {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let ticks = self.0.get_or_insert_with(|| {
            let mut ticks = interval(LOOK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut due = false;
        while ticks.poll_tick(cx).is_ready() {
            due = true;
        }
        if due { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

/// Does steps until SIGTERM.
pub(crate) async fn work(url: &str, ends: &Path) -> Result<(), Fault> {
    let ends = Arc::new(NoteEnds::open(ends)?);
    let storage: RedisStorage<Payload> =
        RedisStorage::new(apalis_redis::connect(url).await?).with_config(config());
    let flow = SteppedFlow::new("bench").and_then(etl).and_then(embedding).and_then(judge).and_then(publish);
    let worker = WorkerBuilder::new(format!("worker-{}", std::process::id()))
        .backend(storage.poll_with_strategy(EveryTick::default()))
        .concurrency(BATCH)
        .parallelize(tokio::spawn)
        .data(ends)
        .build(flow);
    tokio::select! {
        ended = worker.run() => ended.map_err(Into::into),
        signal = terminated() => signal,
    }
}

fn kept(event: usize, stage: &str) -> Result<Kept, BoxDynError> {
    Ok(serde_json::from_str(&result_of(event, stage))?)
}

async fn etl(given: Payload) -> Result<Kept, BoxDynError> {
    kept(given.event, "etl")
}

async fn embedding(given: Kept) -> Result<Kept, BoxDynError> {
    kept(given.event, "embedding")
}

async fn judge(given: Kept) -> Result<Kept, BoxDynError> {
    kept(given.event, "judge")
}

async fn publish(given: Kept, ends: Data<Arc<NoteEnds>>) -> Result<Kept, BoxDynError> {
    let result = kept(given.event, "publish")?;
    ends.note(given.event)?;
    Ok(result)
}
