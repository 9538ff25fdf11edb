//! Polled sources: each entry of a feed becomes an event, once.
//!
//! Whoever advances a source's `next_at` polls it, so of several planners one does. A poll that fails is noted and made
//! again at the next time; it never holds up another source.

use std::time::Duration;

use feeds::{Document, Entry, Fetched, Fetcher, Limits, Validators};
use fleet::{Arrival, Door, Fault, Process};
use model::{Failure, NewEvent};
use record::{NewDeadLetter, PauseKind, Poll};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::clock::Clock;
use crate::config::Source;
use crate::error::RoundError;

/// What the entry ids of letters begin with that are beginnings of documents.
const CUT: &str = "cut/";
/// How often the clock is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Events committed at once.
const GROUP: usize = 100;

/// A source, ready to be polled.
#[derive(Debug, Clone)]
pub(crate) struct Polled {
    config: Source,
    clock: Clock,
    fetcher: Fetcher,
}

/// Checks the configured sources.
///
/// # Errors
/// [`Fault`] of kind usage: a name twice, a cron or time zone that is none.
pub(crate) fn check(sources: &[Source]) -> Result<Vec<Polled>, Fault> {
    let mut names = std::collections::BTreeSet::new();
    sources
        .iter()
        .map(|source| {
            let place = format!("planner.sources.{}", source.name);
            if !names.insert(&source.name) {
                return Err(Fault::usage(format!("{place} is there twice")));
            }
            let limits = Limits {
                timeout: source.timeout,
                size: source.max_size,
                allow_private: source.allow_private,
            };
            let fetcher = Fetcher::new(limits).map_err(|e| Fault::bug(format!("{place}: {e}")))?;
            Ok(Polled {
                clock: Clock::parse(&place, &source.cron, &source.timezone)?,
                config: source.clone(),
                fetcher,
            })
        })
        .collect()
}

/// Polls until the process stops.
pub(crate) async fn run(process: Process, sources: Vec<Polled>) {
    let mut polls = JoinSet::new();
    while !process.shutdown.is_cancelled() {
        let paused = |source: &&Polled| !process.pauses.has(PauseKind::Source, &source.config.name);
        for source in sources.iter().filter(paused) {
            match process.record.claim_poll(&source.config.name, source.clock.after(chrono::Utc::now())).await
            {
                Ok(Some(poll)) => {
                    polls.spawn(source.clone().poll(process.clone(), poll));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, source = source.config.name, "a source cannot be looked at")
                }
            }
        }
        while polls.try_join_next().is_some() {}
        process.idle(LOOK).await;
    }
    polls.shutdown().await;
}

impl Polled {
    async fn poll(self, process: Process, known: Poll) {
        let name = self.config.name.clone();
        let noted = match self.read(&process, known).await {
            Ok((poll, new)) => {
                tracing::info!(source = name, new, "polled");
                process.record.polled(&name, Ok(&poll)).await
            }
            Err(failure) => {
                tracing::warn!(source = name, reason = failure.reason, "a poll failed");
                process.record.polled(&name, Err(&failure.reason)).await
            }
        };
        if let Err(error) = noted {
            tracing::warn!(%error, source = name, "the poll could not be noted");
        }
    }

    /// What the document said of itself, and how many of its entries were new.
    async fn read(&self, process: &Process, known: Poll) -> Result<(Poll, usize), Failure> {
        let Source { name, url, .. } = &self.config;
        let validators = Validators { etag: known.etag.clone(), last_modified: known.last_modified.clone() };
        let (bytes, poll, cut) = match self.fetcher.fetch(url, &validators).await? {
            Fetched::Unchanged => return Ok((known, 0)),
            Fetched::Document(bytes, Validators { etag, last_modified }) => {
                (bytes, Poll { etag, last_modified }, None)
            }
            Fetched::Beginning(bytes, failure) => (bytes, Poll::default(), Some(failure)),
        };
        let away = |e: RoundError| Failure::unavailable(e.to_string());
        let (document, bytes) = parse(bytes, url.clone()).await?;
        let (entries, broken) = match document {
            Ok(document) => {
                (document.entries, document.broken.map(|reason| format!("it breaks off: {reason}")))
            }
            Err(failure) => (vec![], Some(failure.reason)),
        };
        let new = self.let_in(process, &entries).await?;
        match (cut, broken) {
            (Some(failure), _) => {
                bury_beginning(process, name, &bytes, &failure.reason).await.map_err(away)?;
                tracing::info!(source = name, new, "polled in part");
                Err(failure)
            }
            (None, Some(reason)) => {
                bury(process, name, &bytes, &reason).await.map_err(away)?;
                Ok((poll, new))
            }
            (None, None) => Ok((poll, new)),
        }
    }

    async fn let_in(&self, process: &Process, entries: &[Entry]) -> Result<usize, Failure> {
        let door = Door::new(process);
        let mut new = 0;
        for group in entries.chunks(GROUP) {
            let mut arrivals: Vec<Arrival> = Vec::with_capacity(group.len());
            for entry in group {
                let event = NewEvent::from_upstream(
                    &self.config.name,
                    &entry.identity.to_hex(),
                    entry.payload.to_string().as_bytes(),
                );
                match event {
                    Ok(event) => arrivals.push(
                        door.draw_up(event, &self.config.tenant, None)
                            .await
                            .map_err(|e| Failure::transient(e.to_string()))?,
                    ),
                    Err(error) => {
                        let bytes = entry.payload.to_string();
                        bury(process, &self.config.name, bytes.as_bytes(), &error.to_string())
                            .await
                            .map_err(|e| Failure::unavailable(e.to_string()))?;
                    }
                }
            }
            new += door.let_in(&arrivals).await.map_err(|e| Failure::unavailable(e.to_string()))?;
        }
        Ok(new)
    }
}

/// Reads a document in a thread of its own, and gives its bytes back. One at a time: each may take a multiple of its length.
async fn parse(bytes: Vec<u8>, url: String) -> Result<(Result<Document, Failure>, Vec<u8>), Failure> {
    static ONE: Semaphore = Semaphore::const_new(1);
    let died = |e: &dyn std::fmt::Display| Failure::transient(format!("its reading ended: {e}"));
    let turn = ONE.acquire().await.map_err(|e| died(&e))?;
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        (feeds::parse(&bytes, Some(&url)), bytes)
    })
    .await
    .map_err(|e| died(&e))
}

fn document_letter(source: &str, entry_id: String, bytes: &[u8], reason: String) -> NewDeadLetter {
    NewDeadLetter {
        stream: fleet::source_letter(source),
        entry_id,
        reason,
        fields: vec![(b"document".to_vec(), bytes.to_vec())],
    }
}

/// Keeps what cannot be read, once.
async fn bury(process: &Process, source: &str, bytes: &[u8], reason: &str) -> Result<(), RoundError> {
    let entry_id = model::sha256(&[bytes]).to_hex();
    process.bury(&document_letter(source, entry_id, bytes, reason.to_owned())).await?;
    Ok(())
}

/// Keeps the beginning of a document, once, and one a day at most: what drips, or never ends, differs at each poll.
async fn bury_beginning(
    process: &Process,
    source: &str,
    bytes: &[u8],
    reason: &str,
) -> Result<(), RoundError> {
    let entry_id = format!("{CUT}{}", model::sha256(&[bytes]).to_hex());
    let letter = document_letter(source, entry_id, bytes, format!("it was cut off: {reason}"));
    process.bury_daily(&letter, CUT).await?;
    Ok(())
}
