//! A process of consumers, one for each stage.

use std::path::Path;
use std::sync::Arc;

use chasquimq::{Bytes, Consumer, ConsumerConfig, HandlerError, Job, Producer};
use driver::{Fault, NoteEnds, STAGES, result_of, terminated};
use tokio_util::sync::CancellationToken;

use crate::producer;

/// Consumes until SIGTERM.
pub(crate) async fn work(url: &str, ends: &Path) -> Result<(), Fault> {
    let ends = Arc::new(NoteEnds::open(ends)?);
    let stop = CancellationToken::new();
    let mut consumers = tokio::task::JoinSet::new();
    for (index, stage) in STAGES.into_iter().enumerate() {
        let next = match STAGES.get(index + 1) {
            Some(next) => Some(Arc::new(producer(url, next).await?)),
            None => None,
        };
        // Nobody listens to events, nothing is delayed and nothing repeats.
        let config = ConsumerConfig {
            queue_name: stage.to_owned(),
            store_results: true,
            events_enabled: false,
            delayed_enabled: false,
            run_scheduler: false,
            ..ConsumerConfig::default()
        };
        let ends = ends.clone();
        let handler = move |job: Job<String>| {
            let (next, ends) = (next.clone(), ends.clone());
            async move {
                done(stage, job, next, &ends)
                    .await
                    .map_err(|fault| HandlerError::new(std::io::Error::other(fault)))
            }
        };
        consumers.spawn(Consumer::new(url, config).run(handler, stop.clone()));
    }
    tokio::select! {
        Some(ended) = consumers.join_next() => ended??,
        signal = terminated() => signal?,
    }
    stop.cancel();
    while let Some(ended) = consumers.join_next().await {
        ended??;
    }
    Ok(())
}

/// A stage: adds the next stage's job under the same id, so that its result is found by it, and gives its own result.
async fn done(
    stage: &str,
    job: Job<String>,
    next: Option<Arc<Producer<String>>>,
    ends: &NoteEnds,
) -> Result<Bytes, Fault> {
    let event = event_of(&job.payload)?;
    let result = result_of(event, stage);
    match next {
        Some(next) => drop(next.add_with_id(job.id, result.clone()).await?),
        None => ends.note(event)?,
    }
    Ok(Bytes::from(result))
}

/// The number at the head of every payload and result.
fn event_of(payload: &str) -> Result<usize, Fault> {
    let number = payload.strip_prefix(r#"{"event":"#).and_then(|rest| rest.split_once(','));
    Ok(number.ok_or("a payload without its event")?.0.parse()?)
}
