//! A feed that others write to as well as this fleet.

use redis::Value;

use crate::entry::{entries, list, number};
use crate::{Delivery, EntryId, Error, PlannerStream, Streams};

/// The field by which a fleet knows its own entries.
pub const FLEET_FIELD: &str = "fleet";

/// Entries looked at in one call: Redis does nothing else meanwhile.
const AT_ONCE: usize = 200;

/// What others add to a feed, as one planner reads it. It is trimmed only below what the planners have acknowledged.
#[derive(Debug)]
pub struct SharedFeed {
    stream: PlannerStream,
    streams: Streams,
    own: String,
    length: usize,
}

impl Streams {
    /// A feed that others write to: `own` is this fleet's id, `length` how many entries are kept, about.
    #[must_use]
    pub fn shared_feed(&self, name: &str, consumer: &str, own: &str, length: usize) -> SharedFeed {
        let stream = self.planner_stream(name, consumer);
        SharedFeed { stream, streams: self.clone(), own: own.to_owned(), length }
    }
}

impl SharedFeed {
    /// The feed as a stream, for letters.
    #[must_use]
    pub fn stream(&self) -> &PlannerStream {
        &self.stream
    }

    /// What others added since, and what another planner left behind; and whether there may be more. Does not wait.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn read(&mut self) -> Result<(Vec<Delivery>, bool), Error> {
        let left = self.stream.take_over(AT_ONCE).await?;
        if !left.is_empty() {
            return Ok((left, true));
        }
        let mut call = self.streams.inner.scripts.others.key(self.stream.key());
        call.arg(&self.stream.group).arg(&self.stream.consumer).arg(&self.own).arg(AT_ONCE).arg(self.length);
        let mut connection = self.streams.connection("the feed of others").await?;
        let answer: Value =
            call.invoke_async(&mut connection).await.map_err(Error::redis("the feed of others"))?;
        let strange = || Error::Answer { doing: "the feed of others", answer: "not a page".to_owned() };
        let mut parts = list(answer).ok_or_else(strange)?.into_iter();
        let seen = parts.next().and_then(|seen| number(&seen)).ok_or_else(strange)?;
        let others = entries(parts.next().unwrap_or(Value::Nil), "the feed of others")?;
        let others = others.into_iter().map(|(id, fields)| Delivery { id, fields, deliveries: 1 }).collect();
        let more = usize::try_from(seen).is_ok_and(|seen| seen == AT_ONCE);
        Ok((others, more))
    }

    /// Acknowledges an entry, which stays for others to read.
    ///
    /// # Errors
    /// Unavailable: the entry is read again, and its work is idempotent.
    pub async fn acknowledge(&self, id: &EntryId) -> Result<(), Error> {
        let mut connection = self.streams.connection("an acknowledgement").await?;
        redis::cmd("XACK")
            .arg(self.stream.key())
            .arg(&self.stream.group)
            .arg(&id.0)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("an acknowledgement"))
    }
}
