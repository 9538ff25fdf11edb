//! Noticing that the record was put back from a backup, and nobody said so.

use record::Record;
use streams::Streams;
use uuid::Uuid;

use crate::Fault;

/// Refuses a record that lacks what the streams know to have been published.
///
/// # Errors
/// [`Fault`] of kind unavailable, with the remedy.
pub async fn refuse_unsaid_restore(record: &Record, streams: &Streams) -> Result<(), Fault> {
    let confirmed: Vec<Uuid> =
        streams.confirmed_last().await?.iter().filter_map(|id| Uuid::parse_str(id).ok()).collect();
    if confirmed.is_empty() || record.absent_publications(&confirmed).await? == 0 {
        return Ok(());
    }
    Err(Fault::unavailable(
        "the record lacks posts that went out: it was put back from a backup, and without being told a fleet would post \
         again what it lacks. Stop the fleet and run `tidemill restored`; where this Redis is another fleet's, correct redis.url",
    ))
}
