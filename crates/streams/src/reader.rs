//! The reader of new entries: its own connection, no response timeout, never cancelled in mid-call.

use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use crate::entry::{entries, list};
use crate::{Delivery, Error, Streams};

/// How long a read waits for entries, in milliseconds.
const BLOCK_MS: usize = 1000;
/// After this a call that has not answered is abandoned, by closing its connection: entries it may still be given
/// belong to this consumer and are taken over once they were idle.
const WATCHDOG: Duration = Duration::from_secs(15);

/// Reads new entries of one stream for one consumer.
#[derive(Debug)]
pub struct Reader {
    streams: Streams,
    key: String,
    group: String,
    consumer: String,
    connection: Option<MultiplexedConnection>,
}

impl Reader {
    pub(crate) fn new(streams: Streams, key: String, group: String, consumer: String) -> Self {
        Self { streams, key, group, consumer, connection: None }
    }

    /// Up to `count` new entries; none after a second without any. A group that is gone is made anew.
    ///
    /// Not cancel-safe: entries that a dropped call was given stay pending until they are taken over. Await it to its end.
    ///
    /// # Errors
    /// Unavailable; the caller waits before it calls again.
    pub async fn read(&mut self, count: usize) -> Result<Vec<Delivery>, Error> {
        match self.try_read(count).await {
            Err(error) if error.is_no_group() => {
                self.streams.make_group(&self.key, &self.group).await?;
                Ok(vec![])
            }
            Err(error) => {
                self.connection = None;
                Err(error)
            }
            read => read,
        }
    }

    async fn try_read(&mut self, count: usize) -> Result<Vec<Delivery>, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(self.streams.patient_connection().await?),
        };
        let mut command = redis::cmd("XREADGROUP");
        command
            .arg("GROUP")
            .arg(&self.group)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(count)
            .arg("BLOCK")
            .arg(BLOCK_MS)
            .arg("STREAMS")
            .arg(&self.key)
            .arg(">");
        let answer: Value = tokio::time::timeout(WATCHDOG, command.query_async(connection))
            .await
            .map_err(|_| Error::Connection {
                doing: "reading",
                why: format!("no answer within {WATCHDOG:?}"),
            })?
            .map_err(Error::redis("reading"))?;
        let Some(of_stream) = first_stream(answer) else { return Ok(vec![]) };
        let deliveries = entries(of_stream, "reading")?
            .into_iter()
            .map(|(id, fields)| Delivery { id, fields, deliveries: 1 })
            .collect();
        Ok(deliveries)
    }
}

/// `[[key, entries]]`, or a map, or nothing.
fn first_stream(answer: Value) -> Option<Value> {
    match answer {
        Value::Map(pairs) => pairs.into_iter().next().map(|(_, entries)| entries),
        answer => list(list(answer)?.into_iter().next()?)?.into_iter().nth(1),
    }
}
