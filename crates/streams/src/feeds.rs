//! Adding entries: jobs to work streams, words to capped feeds.

use std::time::Duration;

use model::{EntryFields, Job};

use crate::moves::member;
use crate::{Error, Streams};

/// How long a tail waits for entries, in milliseconds.
const TAIL_MS: usize = 1000;

/// A follower of a feed, on a connection of its own.
#[derive(Debug)]
pub struct Tail {
    connection: redis::aio::MultiplexedConnection,
    key: String,
    after: String,
}

impl Tail {
    /// What came since; none after a second without any.
    ///
    /// # Errors
    /// Unavailable: follow anew from the last id that was seen.
    pub async fn next(&mut self, count: usize) -> Result<Vec<Tailed>, Error> {
        let answer: Option<redis::streams::StreamReadReply> = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(count)
            .arg("BLOCK")
            .arg(TAIL_MS)
            .arg("STREAMS")
            .arg(&self.key)
            .arg(&self.after)
            .query_async(&mut self.connection)
            .await
            .map_err(Error::redis("the tail of a feed"))?;
        let entries = answer.into_iter().flat_map(|answer| answer.keys).flat_map(|key| key.ids);
        let tailed: Vec<Tailed> = entries
            .map(|entry| {
                let field = |name: &str| entry.get::<String>(name).unwrap_or_default();
                let (tenant, fleet) = (field("tenant"), field(crate::FLEET_FIELD));
                Tailed { tenant, fleet, event: field("event"), id: entry.id.clone() }
            })
            .collect();
        if let Some(last) = tailed.last() {
            self.after.clone_from(&last.id);
        }
        Ok(tailed)
    }
}

/// An entry of the feed of everything that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tailed {
    /// Its id on the stream.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// The fleet that told it; empty for what others did.
    pub fleet: String,
    /// The CloudEvent, JSON.
    pub event: String,
}

impl Streams {
    pub(crate) async fn make_group(&self, key: &str, group: &str) -> Result<(), Error> {
        let mut connection = self.connection("making a group").await?;
        let made: Result<(), redis::RedisError> = redis::cmd("XGROUP")
            .arg("CREATE")
            .arg(key)
            .arg(group)
            .arg("0")
            .arg("MKSTREAM")
            .query_async(&mut connection)
            .await;
        match made {
            Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
            made => made.map_err(Error::redis("making a group")),
        }
    }

    /// Adds jobs to a worker type's stream.
    ///
    /// # Errors
    /// Unavailable: some may have been added. A job that is added twice is harmless.
    pub async fn add(&self, worker: &str, partition: u16, jobs: &[Job]) -> Result<(), Error> {
        let key = self.keys(worker, partition)?.stream;
        let mut pipe = redis::pipe();
        for job in jobs {
            pipe.cmd("XADD").arg(&key).arg("*").arg(job.encode()).ignore();
        }
        let mut connection = self.connection("adding jobs").await?;
        pipe.query_async(&mut connection).await.map_err(Error::redis("adding jobs"))
    }

    /// Adds an entry as it was, to a stream by its key.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn add_raw(&self, key: &str, fields: &EntryFields) -> Result<String, Error> {
        let mut connection = self.connection("adding an entry").await?;
        let mut command = redis::cmd("XADD");
        command.arg(key).arg("*");
        for (name, value) in fields {
            command.arg(name).arg(value);
        }
        command.query_async(&mut connection).await.map_err(Error::redis("adding an entry"))
    }

    /// Whether a stream, by its full key, still has an entry.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn has_entry(&self, key: &str, id: &str) -> Result<bool, Error> {
        let mut connection = self.connection("looking for an entry").await?;
        let found: Vec<redis::Value> = redis::cmd("XRANGE")
            .arg(key)
            .arg(id)
            .arg(id)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("looking for an entry"))?;
        Ok(!found.is_empty())
    }

    /// Adds a job to the retry set of a worker type's stream, unless it is there.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn add_retry(
        &self,
        worker: &str,
        partition: u16,
        job: &Job,
        after: Duration,
    ) -> Result<(), Error> {
        let mut call = self.inner.scripts.add_retry.key(self.keys(worker, partition)?.retry);
        call.arg(crate::lane::millis(after)).arg(member(job));
        let mut connection = self.connection("adding a retry").await?;
        call.invoke_async(&mut connection).await.map_err(Error::redis("adding a retry"))
    }

    /// Adds to a capped feed for outsiders.
    ///
    /// # Errors
    /// Unavailable: the table behind the feed has it.
    pub async fn feed(&self, name: &str, fields: &[(String, String)], longest: usize) -> Result<(), Error> {
        let mut connection = self.connection("a feed").await?;
        redis::cmd("XADD")
            .arg(self.inner.names.plain(name))
            .arg("MAXLEN")
            .arg("~")
            .arg(longest)
            .arg("*")
            .arg(fields)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("a feed"))
    }

    /// Adds several entries to a feed, in order. Its [`SharedFeed`](crate::SharedFeed) keeps it short.
    ///
    /// # Errors
    /// Unavailable: some may have been added.
    pub async fn feed_all(&self, name: &str, entries: &[Vec<(&str, String)>]) -> Result<(), Error> {
        let key = self.inner.names.plain(name);
        let mut pipe = redis::pipe();
        for fields in entries {
            pipe.cmd("XADD").arg(&key).arg("*").arg(fields).ignore();
        }
        let mut connection = self.connection("a feed").await?;
        pipe.query_async(&mut connection).await.map_err(Error::redis("a feed"))
    }

    /// Follows a feed from after an entry id (`0-0` for its beginning).
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tail(&self, name: &str, after: &str) -> Result<Tail, Error> {
        let connection = self.patient_connection().await?;
        Ok(Tail { connection, key: self.inner.names.plain(name), after: after.to_owned() })
    }

    /// The id of a feed's newest entry; `0-0` where it has none.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn newest(&self, name: &str) -> Result<String, Error> {
        let mut connection = self.connection("the end of a feed").await?;
        let answer: redis::streams::StreamRangeReply = redis::cmd("XREVRANGE")
            .arg(self.inner.names.plain(name))
            .arg("+")
            .arg("-")
            .arg("COUNT")
            .arg(1)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("the end of a feed"))?;
        Ok(answer.ids.first().map_or_else(|| "0-0".to_owned(), |entry| entry.id.clone()))
    }

    /// Wakes the planner: an escalation was resolved.
    ///
    /// # Errors
    /// Unavailable: the reconciler resumes the run later.
    pub async fn wake_planner(&self, escalation: uuid::Uuid) -> Result<(), Error> {
        let fields = [("escalation".to_owned(), escalation.to_string())];
        self.feed(crate::HITL_RESOLUTION, &fields, 1_000_000).await
    }
}
