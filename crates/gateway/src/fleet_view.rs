//! `GET /v1/fleet`: streams, backlogs, consumers, the oldest job.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::App;
use crate::auth::Caller;
use crate::error::Problem;

/// Shows the fleet.
pub(crate) async fn show(State(app): State<App>, caller: Caller) -> Result<Json<Value>, Problem> {
    caller.must("read")?;
    let streams = &app.process.streams;
    let mut shown = Vec::new();
    for stream in streams::WORK_STREAMS {
        let backlog = streams.backlog(stream.worker).await?;
        let mut consumers = Vec::new();
        for partition in 0..streams.partitions() {
            for consumer in streams.consumers(stream.worker, partition).await? {
                consumers.push(json!({
                    "name": consumer.name, "pending": consumer.pending, "idle_ms": consumer.idle_ms, "partition": partition,
                }));
            }
        }
        shown.push(json!({
            "worker": stream.worker,
            "stream": format!("{}:{}", stream.base, stream.kind),
            "backlog": backlog.stream,
            "added": streams.entries_added(stream.worker).await?,
            "retries": backlog.retry,
            "dead_letters": backlog.dead_letters,
            "oldest_ms": backlog.oldest_ms,
            "consumers": consumers,
        }));
    }
    let counts: serde_json::Map<String, Value> = app
        .process
        .record
        .run_counts(Some(caller.tenant()))
        .await?
        .into_iter()
        .map(|(state, count)| (state, json!(count)))
        .collect();
    let pauses = app.process.record.pauses().await?;
    Ok(Json(json!({ "streams": shown, "runs": counts, "pauses": pauses })))
}
