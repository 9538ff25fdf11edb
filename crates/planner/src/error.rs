//! Trouble of one round of the planner's work: it is tried again with the next round, but for what can never be done.

use fleet::Process;
use record::{Handling, NewDeadLetter};
use streams::{Delivery, PlannerStream};

/// A round of clock work failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    #[error("{0}")]
    Record(#[from] record::Error),
    #[error("{0}")]
    Streams(#[from] streams::Error),
}

/// Stores an entry that means nothing as a dead letter, and on the stream's dead-letter stream.
pub(crate) async fn bury(
    process: &Process,
    stream: &PlannerStream,
    delivery: &Delivery,
    reason: &str,
) -> Result<(), RoundError> {
    process
        .bury(&NewDeadLetter {
            stream: stream.key().to_owned(),
            entry_id: delivery.id.to_string(),
            reason: reason.to_owned(),
            fields: delivery.fields.clone(),
        })
        .await?;
    Ok(stream.add_letter(delivery, reason).await?)
}

/// An entry that the record refuses for good is a dead letter; a record that is away is tried again.
pub(crate) async fn or_bury<T>(
    process: &Process,
    stream: &PlannerStream,
    delivery: &Delivery,
    stored: Result<T, record::Error>,
) -> Result<(), RoundError> {
    match stored {
        Err(error) if error.handling() == Handling::Culprit => {
            bury(process, stream, delivery, &error.to_string()).await
        }
        stored => Ok(stored.map(drop)?),
    }
}
