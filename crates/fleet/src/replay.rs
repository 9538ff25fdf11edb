//! Another life for dead letters: a run goes on at the step it died at, an entry is added again as it was.

use std::time::Duration;

use model::{Actor, RunId};
use rails::{Facts, Signal};
use record::{Advance, BranchKey, DeadLetter, Item, LoadedRun, Record, Routed};
use streams::Streams;

use crate::{Fault, Process, Workflows, jobs};

/// How often a replayed letter is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The origin of letters that are documents of a polled source.
#[must_use]
pub fn source_letter(source: &str) -> String {
    format!("{SOURCE}{source}")
}

const SOURCE: &str = "source:";

/// Gives letters another life.
#[derive(Debug)]
pub struct Replayer {
    record: Record,
    streams: Streams,
    workflows: Workflows,
    actor: Actor,
}

/// What became of a letter that was replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Its run goes on.
    Run(RunId),
    /// Its entry was added again.
    Entry {
        /// To this stream.
        stream: String,
        /// Under this id.
        entry: String,
    },
}

impl Replayer {
    /// Replays in the name of a person.
    #[must_use]
    pub fn new(record: Record, streams: Streams, person: &str) -> Self {
        Self { workflows: Workflows::new(record.clone()), record, streams, actor: Actor::person(person) }
    }

    /// Begins runs in the name of this process.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        let (record, streams) = (process.record.clone(), process.streams.clone());
        Self { workflows: Workflows::new(record.clone()), record, streams, actor: process.actor.clone() }
    }

    /// Replays a letter, once.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where it was replayed or discarded before, or its run moved on.
    pub async fn replay(&self, letter: &DeadLetter) -> Result<Replayed, Fault> {
        if !letter.is_open() {
            return Err(Fault::usage(format!(
                "letter {} was replayed or discarded before",
                letter.dead_letter_id
            )));
        }
        if let Some(source) = letter.stream.as_deref().and_then(|stream| stream.strip_prefix(SOURCE)) {
            return Err(Fault::usage(format!(
                "letter {} is a document of the source `{source}`, which is polled again by itself; discard the letter",
                letter.dead_letter_id
            )));
        }
        match (letter.run, &letter.stream) {
            (Some(run), _) => {
                let key = BranchKey { run, branch: letter.branch };
                self.run(key).await.map(|()| Replayed::Run(run))
            }
            (None, Some(stream)) => self.entry(letter, stream).await,
            (None, None) => Err(Fault::bug("the letter names neither run nor stream")),
        }
    }

    /// The entry is added again as it was. One that was never adopted gets the request id it would have had, so that it
    /// becomes one run however often it is replayed.
    async fn entry(&self, letter: &DeadLetter, stream: &str) -> Result<Replayed, Fault> {
        let mut fields = letter.fields.clone();
        if model::UpstreamEntry::recognises(&fields) && !fields.iter().any(|(name, _)| name == b"request_id")
        {
            let entry = letter.entry_id.as_deref().unwrap_or_default();
            let request_id = record::upstream_request_id(stream, entry, &fields);
            fields.push((b"request_id".to_vec(), request_id.into_bytes()));
        }
        let entry = self.streams.add_raw(stream, &fields).await?;
        self.record.mark_letter_replayed(letter.dead_letter_id).await?;
        Ok(Replayed::Entry { stream: stream.to_owned(), entry })
    }

    /// The run, or its branch, goes on at the step it died at, with a fresh `seq`. Where the run died with its branch, the run
    /// is meant.
    async fn run(&self, key: BranchKey) -> Result<(), Fault> {
        let moved = || Fault::usage(format!("run {} is not dead any more", key.run));
        let mut loaded = self.record.load_one(key.run, &[]).await?.ok_or_else(moved)?;
        if key.branch != 0 && loaded.state.is_open() {
            loaded = self.record.load_branch(key, &[]).await?.ok_or_else(moved)?;
        }
        self.revive(loaded, &Signal::Replay, "replayed").await
    }

    /// An ended run goes through again from a step on. What it published before is not published twice: the ledger's keys
    /// stay.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where the run is open, or its workflow has no such step.
    pub async fn rerun(&self, run: LoadedRun, step: &str) -> Result<(), Fault> {
        self.revive(run, &Signal::Rerun { step }, "sent_again").await
    }

    /// Opens the branches of a run whose workflow begins with a fork.
    ///
    /// # Errors
    /// [`Fault`] of kind usage where that happened before.
    pub async fn begin(&self, run: RunId) -> Result<(), Fault> {
        let gone = || Fault::usage(format!("there is no run {run}"));
        let loaded = self.record.load_one(run, &[]).await?.ok_or_else(gone)?;
        self.revive(loaded, &Signal::Replay, "begun").await
    }

    async fn revive(
        &self,
        mut loaded: LoadedRun,
        signal: &Signal<'_>,
        what: &'static str,
    ) -> Result<(), Fault> {
        let run = loaded.run;
        let moved = |why: &dyn std::fmt::Display| Fault::usage(format!("run {run} cannot go on: {why}"));
        let workflow = self.workflows.get(&loaded.pipeline_version).await?;
        crate::remember(&self.record, &mut loaded, &workflow).await?;
        let item = Item::of(loaded);
        let route = |run: &LoadedRun, facts: &Facts| {
            let transition = rails::advance(&workflow, &run.standing(), signal, &Default::default(), facts)
                .map_err(|impossible| moved(&impossible))?;
            let advance = Advance::by(self.actor.clone(), what);
            Ok::<_, Fault>(Routed { transition, delay: Duration::ZERO, advance })
        };
        let won = self.record.replay(&item, route).await?;
        let won = won.ok_or_else(|| moved(&"it moved on in the meantime"))?;
        jobs::set_going(&self.streams, &workflow, &item.run, &won).await;
        Ok(())
    }

    /// Waits until a replayed letter has got past the place where it died, or died again: then its new reason. `None`
    /// means that it got past, or did not die within `limit`.
    ///
    /// # Errors
    /// [`Fault`] where the record is away.
    pub async fn outcome(&self, replayed: &Replayed, limit: Duration) -> Result<Option<String>, Fault> {
        let until = tokio::time::Instant::now() + limit;
        let began = match replayed {
            Replayed::Run(run) => self.record.run(*run).await?.map(|run| run.step),
            Replayed::Entry { .. } => None,
        };
        loop {
            match replayed {
                Replayed::Run(run) => match self.record.run(*run).await? {
                    Some(run) if run.state == "dead" => return Ok(Some(run.reason)),
                    Some(run) if run.state == "running" && Some(&run.step) == began.as_ref() => {}
                    _ => return Ok(None),
                },
                Replayed::Entry { stream, entry } => {
                    if let Some(letter) = self.record.letter_of_entry(stream, entry).await? {
                        return Ok(Some(letter.reason));
                    }
                    if !self.streams.has_entry(stream, entry).await? {
                        // It is off its stream: a letter would have been written before.
                        let letter = self.record.letter_of_entry(stream, entry).await?;
                        return Ok(letter.map(|letter| letter.reason));
                    }
                }
            }
            if tokio::time::Instant::now() >= until {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
