//! Streams outside the partitions that the planner reads: add first, then acknowledge.

use std::time::Duration;

use crate::lane::DEAD_LETTERS_KEPT;
use crate::moves::letter_fields;
use crate::names::group_of;
use crate::{Delivery, EntryId, Error, Reader, Streams};

/// An entry that another planner has not acknowledged for this long is taken over.
const TAKEOVER: Duration = Duration::from_secs(30);

/// A planner stream, as one planner sees it.
#[derive(Debug)]
pub struct PlannerStream {
    streams: Streams,
    key: String,
    pub(crate) group: String,
    pub(crate) consumer: String,
    reader: Reader,
}

impl Streams {
    /// A planner stream, as one planner sees it.
    #[must_use]
    pub fn planner_stream(&self, name: &str, consumer: &str) -> PlannerStream {
        let (key, group) = (self.inner.names.plain(name), group_of(name));
        let reader = Reader::new(self.clone(), key.clone(), group.clone(), consumer.to_owned());
        PlannerStream { streams: self.clone(), key, group, consumer: consumer.to_owned(), reader }
    }
}

impl PlannerStream {
    /// The stream's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// New entries, and those that another planner left behind; none after a second without any.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn read(&mut self, count: usize) -> Result<Vec<Delivery>, Error> {
        let left = self.take_over(count).await?;
        if left.is_empty() { self.reader.read(count).await } else { Ok(left) }
    }

    pub(crate) async fn take_over(&self, count: usize) -> Result<Vec<Delivery>, Error> {
        let mut call = self.streams.inner.scripts.claim.key(&self.key);
        call.arg(&self.group)
            .arg(&self.consumer)
            .arg(crate::lane::millis(TAKEOVER))
            .arg("0-0")
            .arg(count)
            .arg(i64::MAX)
            .arg(count);
        let mut connection = self.streams.connection("a takeover").await?;
        let answer = call.invoke_async(&mut connection).await.map_err(Error::redis("a takeover"));
        match answer {
            Err(error) if error.is_no_group() => {
                self.streams.make_group(&self.key, &self.group).await?;
                Ok(vec![])
            }
            answer => Ok(crate::lane::claimed(answer?).map(|claimed| claimed.deliveries).unwrap_or_default()),
        }
    }

    /// Adds a letter to the stream's dead-letter stream, which is capped; the table behind it is the truth.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn add_letter(&self, delivery: &Delivery, reason: &str) -> Result<(), Error> {
        let mut command = redis::cmd("XADD");
        command.arg(format!("{}:dlq", self.key)).arg("MAXLEN").arg("~").arg(DEAD_LETTERS_KEPT).arg("*");
        for (name, value) in letter_fields(&delivery.fields, &self.key, &delivery.id, reason) {
            command.arg(name).arg(value);
        }
        let mut connection = self.streams.connection("a dead letter").await?;
        command.query_async(&mut connection).await.map_err(Error::redis("a dead letter"))
    }

    /// Acknowledges and deletes an entry whose work is done.
    ///
    /// # Errors
    /// Unavailable: the entry is read again, and its work is idempotent.
    pub async fn acknowledge(&self, id: &EntryId) -> Result<(), Error> {
        let mut connection = self.streams.connection("an acknowledgement").await?;
        redis::pipe()
            .atomic()
            .cmd("XACK")
            .arg(&self.key)
            .arg(&self.group)
            .arg(&id.0)
            .ignore()
            .cmd("XDEL")
            .arg(&self.key)
            .arg(&id.0)
            .ignore()
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("an acknowledgement"))
    }
}
