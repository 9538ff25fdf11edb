//! Looking: backlogs, consumers, and the pages that the reconciler reads.

use std::collections::HashSet;

use model::{EntryFields, Job};
use redis::Value;

use crate::entry::{entries, list, number, text};
use crate::moves::job_of;
use crate::{EntryId, Error, Streams};

/// What waits for a worker type, over all partitions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Entries in the streams.
    pub stream: u64,
    /// Entries in the retry sets.
    pub retry: u64,
    /// Entries in the dead-letter streams.
    pub dead_letters: u64,
    /// Age of the oldest stream entry, in milliseconds.
    pub oldest_ms: u64,
}

/// Counts of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Survey {
    /// Entries in the stream.
    pub stream: u64,
    /// Entries in the retry set.
    pub retry: u64,
}

/// A page of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its entries.
    pub entries: Vec<PageEntry>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<EntryId>,
}

/// An entry on a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageEntry {
    /// Its id.
    pub id: EntryId,
    /// Its fields.
    pub fields: EntryFields,
    /// Whether it was delivered and nobody holds it: it will never be delivered again.
    pub unheld: bool,
}

/// A page of a retry set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPage {
    /// Its jobs.
    pub jobs: Vec<Job>,
    /// Where the next page begins; 0 after the last.
    pub next: u64,
}

/// A consumer that has shown nothing of itself for so many milliseconds is taken for dead.
pub const SILENT_MS: u64 = 30_000;

/// A consumer of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// Its name.
    pub name: String,
    /// Entries it holds.
    pub pending: u64,
    /// Milliseconds since it last asked for anything.
    pub idle_ms: u64,
}

fn unsigned(value: Option<&Value>) -> u64 {
    value.and_then(number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0)
}

impl Streams {
    /// What waits for a worker type.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn backlog(&self, worker: &str) -> Result<Backlog, Error> {
        let mut total = Backlog::default();
        for partition in 0..self.partitions() {
            let one = self.count(worker, partition).await?;
            total.stream += one.stream;
            total.retry += one.retry;
            total.dead_letters += one.dead_letters;
            total.oldest_ms = total.oldest_ms.max(one.oldest_ms);
        }
        Ok(total)
    }

    async fn count(&self, worker: &str, partition: u16) -> Result<Backlog, Error> {
        let keys = self.keys(worker, partition)?;
        let mut call = self.inner.scripts.survey.key(keys.stream);
        call.key(keys.retry).key(keys.dlq);
        let mut connection = self.connection("counting").await?;
        let answer: Value = call.invoke_async(&mut connection).await.map_err(Error::redis("counting"))?;
        let counts = list(answer).unwrap_or_default();
        Ok(Backlog {
            stream: unsigned(counts.first()),
            retry: unsigned(counts.get(1)),
            dead_letters: unsigned(counts.get(2)),
            oldest_ms: unsigned(counts.get(3)),
        })
    }

    /// Counts one partition.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn survey(&self, worker: &str, partition: u16) -> Result<Survey, Error> {
        let counts = self.count(worker, partition).await?;
        Ok(Survey { stream: counts.stream, retry: counts.retry })
    }

    /// A page of a worker type's stream, after `cursor`, as it stands at one moment.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn page(
        &self,
        worker: &str,
        partition: u16,
        cursor: Option<EntryId>,
        count: usize,
    ) -> Result<Page, Error> {
        let keys = self.keys(worker, partition)?;
        let start = cursor.map_or_else(|| "-".to_owned(), |id| format!("({id}"));
        let mut call = self.inner.scripts.page.key(keys.stream);
        call.arg(keys.group).arg(start).arg(count);
        let mut connection = self.connection("a page").await?;
        let answer: Value = call.invoke_async(&mut connection).await.map_err(Error::redis("a page"))?;
        let mut parts = list(answer).unwrap_or_default().into_iter();
        let found = entries(parts.next().unwrap_or(Value::Nil), "a page")?;
        let unheld: HashSet<String> =
            parts.next().and_then(list).unwrap_or_default().into_iter().filter_map(text).collect();
        let next = if found.len() == count { found.last().map(|(id, _)| id.clone()) } else { None };
        let entries = found
            .into_iter()
            .map(|(id, fields)| PageEntry { unheld: unheld.contains(&id.0), id, fields })
            .collect();
        Ok(Page { entries, next })
    }

    /// The consumers of a worker type's group in one partition.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn consumers(&self, worker: &str, partition: u16) -> Result<Vec<ConsumerInfo>, Error> {
        let keys = self.keys(worker, partition)?;
        let consumers = self.info("CONSUMERS", &keys.stream, Some(&keys.group)).await?;
        Ok(consumers
            .into_iter()
            .filter_map(|fields| {
                Some(ConsumerInfo {
                    name: fields.get("name").cloned().and_then(text)?,
                    pending: unsigned(fields.get("pending")),
                    idle_ms: unsigned(fields.get("idle")),
                })
            })
            .collect())
    }

    /// Entries that a worker type's streams were ever given.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn entries_added(&self, worker: &str) -> Result<u64, Error> {
        let mut added = 0;
        for partition in 0..self.partitions() {
            let key = self.keys(worker, partition)?.stream;
            let mut connection = self.connection("a look at a stream").await?;
            let answer: Result<Value, redis::RedisError> =
                redis::cmd("XINFO").arg("STREAM").arg(key).query_async(&mut connection).await;
            // A stream that does not exist was given nothing.
            let fields = answer.ok().and_then(pairs).unwrap_or_default();
            added += unsigned(fields.get("entries-added"));
        }
        Ok(added)
    }

    async fn info(
        &self,
        what: &str,
        stream: &str,
        group: Option<&str>,
    ) -> Result<Vec<std::collections::HashMap<String, Value>>, Error> {
        let mut connection = self.connection("a look at a group").await?;
        let answer: Result<Value, redis::RedisError> =
            redis::cmd("XINFO").arg(what).arg(stream).arg(group).query_async(&mut connection).await;
        let answer = match answer {
            // A stream or group that does not exist has nothing to tell.
            Err(error) if error.code() == Some("NOGROUP") || error.to_string().contains("no such key") => {
                Value::Nil
            }
            answer => answer.map_err(Error::redis("a look at a group"))?,
        };
        Ok(list(answer).unwrap_or_default().into_iter().filter_map(pairs).collect())
    }

    /// Deletes entries that were delivered and that nobody holds; returns how many.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn delete_unheld(&self, worker: &str, partition: u16, ids: &[EntryId]) -> Result<u64, Error> {
        let keys = self.keys(worker, partition)?;
        let mut call = self.inner.scripts.delete_unheld.key(keys.stream);
        call.arg(keys.group);
        for id in ids {
            call.arg(&id.0);
        }
        let mut connection = self.connection("deleting entries").await?;
        let deleted: Value =
            call.invoke_async(&mut connection).await.map_err(Error::redis("deleting entries"))?;
        Ok(unsigned(Some(&deleted)))
    }

    /// A page of the jobs in a worker type's retry set, from `cursor`, which is 0 at first. A job that waits all the
    /// while is on one page at least.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn waiting_retries(
        &self,
        worker: &str,
        partition: u16,
        cursor: u64,
        count: usize,
    ) -> Result<RetryPage, Error> {
        let key = self.keys(worker, partition)?.retry;
        let mut connection = self.connection("a look at the retries").await?;
        let (next, members): (u64, Vec<(Vec<u8>, f64)>) = redis::cmd("ZSCAN")
            .arg(key)
            .arg(cursor)
            .arg("COUNT")
            .arg(count)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis("a look at the retries"))?;
        let jobs = members.iter().filter_map(|(member, _)| job_of(std::str::from_utf8(member).ok()?));
        Ok(RetryPage { jobs: jobs.collect(), next })
    }
}

fn pairs(value: Value) -> Option<std::collections::HashMap<String, Value>> {
    match value {
        Value::Map(pairs) => pairs.into_iter().map(|(k, v)| Some((text(k)?, v))).collect(),
        value => {
            let mut items = list(value)?.into_iter();
            let mut found = std::collections::HashMap::new();
            while let (Some(name), Some(value)) = (items.next(), items.next()) {
                found.insert(text(name)?, value);
            }
            Some(found)
        }
    }
}
