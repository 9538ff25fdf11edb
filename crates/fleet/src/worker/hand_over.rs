//! The hand-over lane: one script call moves a group of entries from their stream to where they belong.

use std::sync::Arc;
use std::time::Duration;

use streams::{Destination, Move, Moved};
use tokio::sync::mpsc;

use super::held::Entry;
use super::{Engine, breaker};
use crate::Handler;

/// An entry and where it goes.
#[derive(Debug)]
pub(crate) struct Leaving {
    entry: Entry,
    to: Destination,
    /// How often the entry had been delivered when that was decided.
    deliveries: i64,
}

impl Leaving {
    pub(crate) fn new(entry: Entry, to: Destination) -> Self {
        let deliveries = entry.deliveries();
        Self { entry, to, deliveries }
    }
}

/// Messages taken at once, at most.
const MESSAGES: usize = 64;

/// Hands over until every sender is gone.
pub(crate) async fn run<H: Handler>(
    engine: Arc<Engine<H>>,
    mut leaving: mpsc::UnboundedReceiver<Vec<Leaving>>,
) {
    let limit = engine.config().group;
    let mut messages = Vec::with_capacity(MESSAGES);
    while leaving.recv_many(&mut messages, MESSAGES).await > 0 {
        crate::failpoint::reach("hand_over");
        let mut lanes: Vec<Vec<Leaving>> = engine.lanes.iter().map(|_| Vec::new()).collect();
        for leaving in messages.drain(..).flatten() {
            lanes[leaving.entry.lane].push(leaving);
        }
        for (lane, mut of_lane) in lanes.into_iter().enumerate() {
            while !of_lane.is_empty() {
                let rest = of_lane.split_off(of_lane.len().min(limit));
                move_all(&engine, lane, std::mem::replace(&mut of_lane, rest)).await;
            }
        }
        crate::failpoint::reach("handed_over");
    }
}

/// How long an entry is held that Redis refused to move: it is out of memory, most likely.
const HELD: Duration = Duration::from_secs(1);

/// Moves a group of one lane, again and again until it is answered or the process gives up.
async fn move_all<H: Handler>(engine: &Arc<Engine<H>>, lane: usize, leaving: Vec<Leaving>) {
    let (entries, mut moves): (Vec<Entry>, Vec<Move>) = leaving
        .into_iter()
        .map(|Leaving { entry, to, deliveries }| {
            let one = Move { id: entry.id.clone(), deliveries, to };
            (entry, one)
        })
        .unzip();
    let mut pace = breaker::pace();
    loop {
        // Where this process took over what it holds itself, it holds it still. But whether an entry asks for nothing depends
        // on how often it was delivered: one that was delivered again is looked at again.
        for (one, entry) in moves.iter_mut().zip(&entries) {
            if !matches!(one.to, Destination::Nowhere) {
                one.deliveries = entry.deliveries();
            }
        }
        match engine.lanes[lane].hand_over(&moves).await {
            Ok(answers) => {
                answers.iter().for_each(|answer| count(engine, answer));
                let refused: Vec<Leaving> = entries
                    .into_iter()
                    .zip(moves)
                    .zip(&answers)
                    .filter(|(_, answer)| matches!(answer, Moved::Refused(_)))
                    .map(|((entry, one), _)| Leaving { entry, to: one.to, deliveries: one.deliveries })
                    .collect();
                return hold(engine, refused);
            }
            Err(error) => tracing::warn!(%error, jobs = moves.len(), "a hand-over failed; it is tried again"),
        }
        tokio::select! {
            () = engine.give_up.cancelled() => return,
            () = tokio::time::sleep(breaker::next(&mut pace)) => {}
        }
    }
}

/// Tries refused moves again after a while; the lane does not wait for them.
fn hold<H: Handler>(engine: &Arc<Engine<H>>, refused: Vec<Leaving>) {
    if refused.is_empty() {
        return;
    }
    let engine = Arc::clone(engine);
    tokio::spawn(async move {
        tokio::select! {
            () = engine.give_up.cancelled() => {}
            () = tokio::time::sleep(HELD) => engine.leave_all(refused),
        }
    });
}

fn count<H: Handler>(engine: &Engine<H>, answer: &Moved) {
    let name = match answer {
        Moved::Done => "moved",
        Moved::NotOwner => "not_owner",
        Moved::Gone => "gone",
        Moved::Refused(reason) => {
            tracing::warn!(reason, "Redis refused a hand-over; the entry is held");
            "refused"
        }
    };
    engine.process.metrics.hand_overs.get_or_create(&Engine::<H>::job_labels(name)).inc();
}
