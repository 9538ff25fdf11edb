//! One partition of a work stream, as one consumer sees it.

use std::time::Duration;

use model::EntryFields;
use redis::{ScriptInvocation, Value};

use crate::entry::{self, list, number, text};
use crate::moves::member;
use crate::names::Keys;
use crate::{Delivery, Destination, EntryId, Error, Move, Moved, Reader, Streams};

/// Letters that a dead-letter stream keeps; the table behind it keeps all.
pub(crate) const DEAD_LETTERS_KEPT: usize = 100_000;
/// Fields of a letter that its stream carries, at most: Lua cannot pass on more than about 8,000 words. The table behind
/// the stream has all.
const LETTER_FIELDS: usize = 1000;
/// Deliveries after which an entry is a suspect: from its second redelivery it is handled alone.
pub const SHARED_DELIVERIES: i64 = 2;
/// No entry has a higher id, but one: after that one Redis looks at nothing, not even at the consumer.
const LAST_ID: &str = "18446744073709551615-18446744073709551614";
/// What a given-back entry pretends to have been idle for: longer than any takeover time.
const GIVEN_BACK_IDLE: Duration = Duration::from_secs(7 * 24 * 3600);

/// One partition of a work stream, as one consumer sees it.
#[derive(Debug, Clone)]
pub struct Lane {
    streams: Streams,
    keys: Keys,
    partition: u16,
    consumer: String,
}

/// What a takeover brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// Where the next takeover goes on; `0-0` when everything was looked at.
    pub cursor: String,
    /// The entries, held by this consumer now.
    pub deliveries: Vec<Delivery>,
}

impl Lane {
    pub(crate) fn new(streams: Streams, keys: Keys, partition: u16, consumer: String) -> Self {
        Self { streams, keys, partition, consumer }
    }

    /// The stream's key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.keys.stream
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> u16 {
        self.partition
    }

    /// Makes the consumer group where it is missing; it begins with the first entry of the stream.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn ensure_group(&self) -> Result<(), Error> {
        self.streams.make_group(&self.keys.stream, &self.keys.group).await
    }

    /// A reader of new entries, on a connection of its own.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader::new(
            self.streams.clone(),
            self.keys.stream.clone(),
            self.keys.group.clone(),
            self.consumer.clone(),
        )
    }

    /// Takes over entries that nobody renewed for `idle`; of suspects, which were delivered often without an outcome, at
    /// most `suspects`.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn claim(
        &self,
        idle: Duration,
        cursor: &str,
        count: usize,
        suspects: usize,
    ) -> Result<Claimed, Error> {
        let mut call = self.streams.inner.scripts.claim.key(&self.keys.stream);
        call.arg(&self.keys.group)
            .arg(&self.consumer)
            .arg(millis(idle))
            .arg(cursor)
            .arg(suspects)
            .arg(SHARED_DELIVERIES)
            .arg(count);
        let answer = match self.run(&call, "a takeover").await {
            Err(error) if error.is_no_group() => {
                self.ensure_group().await?;
                return Ok(Claimed { cursor: "0-0".to_owned(), deliveries: vec![] });
            }
            answer => answer?,
        };
        claimed(answer).ok_or(Error::Answer { doing: "a takeover", answer: "something else".to_owned() })
    }

    /// Shows that this consumer lives, though it may have nothing to do: before Redis 7.2 a read that brings nothing neither
    /// makes a consumer nor is noted with it. What is asked for here is its own entries after the last possible id: none.
    ///
    /// # Errors
    /// Unavailable; `NOGROUP`, where the reader makes the group anew.
    pub async fn show_presence(&self) -> Result<(), Error> {
        let doing = "showing presence";
        let mut connection = self.streams.connection(doing).await?;
        let _nothing: Value = redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(&self.keys.group)
            .arg(&self.consumer)
            .arg("COUNT")
            .arg(1)
            .arg("STREAMS")
            .arg(&self.keys.stream)
            .arg(LAST_ID)
            .query_async(&mut connection)
            .await
            .map_err(Error::redis(doing))?;
        Ok(())
    }

    /// Renews held entries; returns those that are no longer held by this consumer and delivery.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn heartbeat(&self, held: &[(EntryId, i64)]) -> Result<Vec<EntryId>, Error> {
        let mut call = self.streams.inner.scripts.heartbeat.key(&self.keys.stream);
        call.arg(&self.keys.group).arg(&self.consumer);
        for (id, deliveries) in held {
            call.arg(&id.0).arg(deliveries);
        }
        match self.run(&call, "a heartbeat").await {
            Err(error) if error.is_no_group() => Ok(held.iter().map(|(id, _)| id.clone()).collect()),
            answer => {
                Ok(list(answer?).unwrap_or_default().into_iter().filter_map(text).map(EntryId).collect())
            }
        }
    }

    /// Gives held entries back: whoever looks next may take them over.
    ///
    /// # Errors
    /// Unavailable: they are taken over once they were idle for long enough.
    pub async fn give_back(&self, held: &[(EntryId, i64)]) -> Result<(), Error> {
        if held.is_empty() {
            return Ok(());
        }
        let mut call = self.streams.inner.scripts.give_back.key(&self.keys.stream);
        call.arg(&self.keys.group).arg(&self.consumer).arg(millis(GIVEN_BACK_IDLE));
        for (id, deliveries) in held {
            call.arg(&id.0).arg(deliveries);
        }
        self.run(&call, "giving entries back").await?;
        Ok(())
    }

    /// Deletes this consumer, and the neutral one of given-back entries, where they hold nothing.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn leave(&self) -> Result<(), Error> {
        let mut call = self.streams.inner.scripts.leave.key(&self.keys.stream);
        call.arg(&self.keys.group).arg(&self.consumer).arg("given-back");
        self.run(&call, "leaving a group").await?;
        Ok(())
    }

    /// Moves up to `limit` due retries back into the stream; returns how many.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn promote(&self, limit: usize) -> Result<usize, Error> {
        let mut call = self.streams.inner.scripts.promote.key(&self.keys.retry);
        call.key(&self.keys.stream).key(&self.keys.dlq).arg(limit);
        let moved = self.run(&call, "promoting retries").await?;
        Ok(number(&moved).and_then(|n| usize::try_from(n).ok()).unwrap_or(0))
    }

    /// Moves a group of entries in one step each. One answer per move, in order.
    ///
    /// # Errors
    /// Unavailable; what was moved before a lost reply answers `Gone` when it is moved again.
    pub async fn hand_over(&self, moves: &[Move]) -> Result<Vec<Moved>, Error> {
        let call = self.hand_over_call(moves);
        let answer = match self.run(&call, "a hand-over").await {
            Err(error) if error.is_no_group() => return Ok(vec![Moved::Gone; moves.len()]),
            answer => answer?,
        };
        let answers: Vec<Moved> = list(answer)
            .unwrap_or_default()
            .into_iter()
            .filter_map(text)
            .map(|answer| match answer.as_str() {
                "moved" => Moved::Done,
                "not_owner" => Moved::NotOwner,
                "gone" => Moved::Gone,
                refused => Moved::Refused(refused.trim_start_matches("refused:").to_owned()),
            })
            .collect();
        if answers.len() == moves.len() {
            return Ok(answers);
        }
        Err(Error::Answer {
            doing: "a hand-over",
            answer: format!("{} answers to {} moves", answers.len(), moves.len()),
        })
    }

    fn hand_over_call(&self, moves: &[Move]) -> ScriptInvocation<'_> {
        let mut call = self.streams.inner.scripts.hand_over.key(&self.keys.stream);
        call.key(&self.keys.retry).key(&self.keys.dlq);
        let mut downstream: Vec<String> = Vec::new();
        let mut arguments = Vec::with_capacity(moves.len() * 16);
        for one in moves {
            arguments.extend([one.id.0.clone().into_bytes(), one.deliveries.to_string().into_bytes()]);
            match &one.to {
                Destination::Nowhere => arguments.push(b"x".to_vec()),
                Destination::Retry { job, after } => arguments.extend([
                    b"r".to_vec(),
                    millis(*after).max(1).to_string().into_bytes(),
                    member(job).into_bytes(),
                ]),
                Destination::DeadLetter { fields } => {
                    arguments.push(b"d".to_vec());
                    // The last ones say where the letter came from and why.
                    push_fields(&mut arguments, &fields[fields.len().saturating_sub(LETTER_FIELDS)..]);
                }
                Destination::Next { worker, partition, job } => {
                    let key = match self.streams.keys(worker, *partition) {
                        Ok(keys) => keys.stream,
                        Err(error) => {
                            arguments.extend([b"h".to_vec(), error.to_string().into_bytes()]);
                            continue;
                        }
                    };
                    let at = downstream.iter().position(|known| *known == key).unwrap_or_else(|| {
                        downstream.push(key);
                        downstream.len() - 1
                    });
                    arguments.extend([b"n".to_vec(), (at + 4).to_string().into_bytes()]);
                    let fields: EntryFields = job
                        .encode()
                        .into_iter()
                        .map(|(k, v)| (k.as_bytes().to_vec(), v.into_bytes()))
                        .collect();
                    push_fields(&mut arguments, &fields);
                }
            }
        }
        for key in downstream {
            call.key(key);
        }
        call.arg(&self.keys.group).arg(&self.consumer).arg(DEAD_LETTERS_KEPT).arg(arguments);
        call
    }

    async fn run(&self, call: &ScriptInvocation<'_>, doing: &'static str) -> Result<Value, Error> {
        let mut connection = self.streams.connection(doing).await?;
        call.invoke_async(&mut connection).await.map_err(Error::redis(doing))
    }
}

fn push_fields(arguments: &mut Vec<Vec<u8>>, fields: &[(Vec<u8>, Vec<u8>)]) {
    arguments.push((fields.len() * 2).to_string().into_bytes());
    arguments.extend(fields.iter().flat_map(|(name, value)| [name.clone(), value.clone()]));
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

pub(crate) fn claimed(answer: Value) -> Option<Claimed> {
    let mut parts = list(answer)?.into_iter();
    let cursor = text(parts.next()?)?;
    let deliveries = list(parts.next()?)?
        .into_iter()
        .map(|one| {
            let mut parts = list(one)?.into_iter();
            let id = EntryId(text(parts.next()?)?);
            let deliveries = number(&parts.next()?)?;
            Some(Delivery { id, deliveries, fields: entry::fields(parts.next()?)? })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Claimed { cursor, deliveries })
}
