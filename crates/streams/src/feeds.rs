//! Adding entries: jobs to work streams, words to capped feeds.

use std::time::Duration;

use model::{EntryFields, Job};

use crate::moves::member;
use crate::{Error, Streams};

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

    /// Wakes the planner: an escalation was resolved.
    ///
    /// # Errors
    /// Unavailable: the reconciler resumes the run later.
    pub async fn wake_planner(&self, escalation: uuid::Uuid) -> Result<(), Error> {
        let fields = [("escalation".to_owned(), escalation.to_string())];
        self.feed(crate::HITL_RESOLUTION, &fields, 1_000_000).await
    }
}
