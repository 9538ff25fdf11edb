//! `GET /v1/fleet`: streams, backlogs, consumers, the oldest job.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use record::{OpenBreaker, Pause};
use serde::Serialize;
use streams::WorkStream;
use utoipa::ToSchema;

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;
use crate::openapi::Always;

#[derive(Serialize, ToSchema)]
pub(crate) struct Fleet {
    /// One for each worker type.
    streams: Vec<Stage>,
    /// Runs of the tenant by state.
    runs: BTreeMap<String, i64>,
    /// What people paused.
    pauses: Vec<Pause>,
    /// What is out, as far as live processes say so.
    breakers: Vec<OpenBreaker>,
}

/// The stream of a worker type.
#[derive(Serialize, ToSchema)]
struct Stage {
    worker: &'static str,
    /// The steps that it does, of every registered workflow.
    steps: BTreeSet<String>,
    stream: String,
    /// Entries in it.
    backlog: u64,
    /// Entries it was ever given.
    added: u64,
    /// Jobs that wait to be tried again.
    retries: u64,
    /// Entries in its dead-letter stream.
    dead_letters: u64,
    /// Age of its oldest entry, in milliseconds.
    oldest_ms: u64,
    consumers: Vec<Consumer>,
}

/// A process that reads the stream.
#[derive(Serialize, ToSchema)]
struct Consumer {
    name: String,
    /// Entries it holds.
    pending: u64,
    /// Milliseconds since it last asked for anything.
    idle_ms: u64,
    partition: u16,
}

/// Shows streams, backlogs, consumers, pauses and what is out.
#[utoipa::path(get, operation_id = "show_fleet", path = "/v1/fleet", tag = "operating", responses((status = 200, description = "The fleet", body = Fleet), Always))]
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Fleet>, Problem> {
    caller.must("read")?;
    let mut steps = app.workflows.steps().await?;
    let mut stages = Vec::new();
    for stream in streams::WORK_STREAMS {
        let steps = steps.remove(stream.worker).unwrap_or_default();
        stages.push(stage(&app.process.streams, stream, steps).await?);
    }
    let record = &app.process.record;
    Ok(Json(Fleet {
        streams: stages,
        runs: record.run_counts(Some(caller.tenant())).await?.into_iter().collect(),
        pauses: record.pauses().await?,
        breakers: record.open_breakers().await?,
    }))
}

async fn stage(
    streams: &streams::Streams,
    of: &'static WorkStream,
    steps: BTreeSet<String>,
) -> Result<Stage, Problem> {
    let backlog = streams.backlog(of.worker).await?;
    let mut consumers = Vec::new();
    for partition in 0..streams.partitions() {
        for consumer in streams.consumers(of.worker, partition).await? {
            consumers.push(Consumer {
                name: consumer.name,
                pending: consumer.pending,
                idle_ms: consumer.idle_ms,
                partition,
            });
        }
    }
    Ok(Stage {
        worker: of.worker,
        steps,
        stream: format!("{}:{}", of.base, of.kind),
        backlog: backlog.stream,
        added: streams.entries_added(of.worker).await?,
        retries: backlog.retry,
        dead_letters: backlog.dead_letters,
        oldest_ms: backlog.oldest_ms,
        consumers,
    })
}
