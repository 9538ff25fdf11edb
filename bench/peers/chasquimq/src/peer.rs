//! The side that adds jobs and reads the results.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use chasquimq::{JobId, Producer};
use driver::{Event, Fault, Peer, STAGES, result_of};

use crate::producer;

/// How many results are asked for at once.
const RESULTS: usize = 256;

/// A producer for each stage; the first adds jobs, all read results.
pub(crate) struct Chasqui {
    stages: Vec<Producer<String>>,
    ids: Mutex<HashMap<usize, JobId>>,
}

impl Chasqui {
    pub(crate) async fn connect(url: &str) -> Result<Self, Fault> {
        let stages = STAGES.iter().map(|stage| producer(url, stage));
        Ok(Self { stages: futures::future::try_join_all(stages).await?, ids: Mutex::default() })
    }
}

impl Peer for Chasqui {
    async fn offer(&self, events: Vec<Event>) -> Result<(), Fault> {
        let (events, payloads): (Vec<usize>, Vec<String>) =
            events.into_iter().map(|event| (event.event, event.payload)).unzip();
        let ids = self.stages[0].add_bulk(payloads).await?;
        self.ids.lock().map_err(|_| "a poisoned lock")?.extend(events.into_iter().zip(ids));
        Ok(())
    }

    async fn mismatches(&self, first: usize, count: usize) -> Result<usize, Fault> {
        let known = self.ids.lock().map_err(|_| "a poisoned lock")?.clone();
        let (events, ids): (Vec<usize>, Vec<JobId>) =
            (first..first + count).filter_map(|event| Some((event, known.get(&event)?.clone()))).unzip();
        let mut wrong: HashSet<usize> =
            (first..first + count).filter(|event| !known.contains_key(event)).collect();
        for (stage, queue) in STAGES.iter().zip(&self.stages) {
            for (events, ids) in events.chunks(RESULTS).zip(ids.chunks(RESULTS)) {
                let results = queue.get_result_bulk(ids).await?;
                let kept = events.iter().zip(results);
                wrong.extend(kept.filter_map(|(event, result)| {
                    let expected = result_of(*event, stage);
                    result.is_none_or(|result| result != expected.as_bytes()).then_some(*event)
                }));
            }
        }
        Ok(wrong.len())
    }
}
