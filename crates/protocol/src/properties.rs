//! What holds in every state, and what is to be seen in some: the invariants of `ARCHITECTURE.md`, each where the model can
//! break it.

use stateright::Property;

use crate::Protocol;
use crate::state::{Doing, Doubt, Held, Owner, Request, Resume, Round, RowState, RunState, State, To};

/// The names of the properties.
pub mod names {
    /// A run advances once per transition.
    pub const ONCE: &str = "a run advances once per transition";
    /// A job is never nowhere.
    pub const SOMEWHERE: &str = "a job is never nowhere";
    /// Nothing is published without an approval.
    pub const APPROVED: &str = "nothing is published without an approval";
    /// Silence never approves.
    pub const SPOKEN: &str = "silence never approves";
    /// The outlet gets a post once, unless a person orders it again.
    pub const ONE_POST: &str = "the outlet gets a post once, unless a person orders it again";
    /// What the outlet confirms stands in the ledger.
    pub const CONFIRMED: &str = "what the outlet confirms stands in the ledger";
    /// Nothing is claimed for a run that ended.
    pub const CLAIMED: &str = "nothing is claimed for a run that ended";
    /// A run ends beside no claim that its post is under way.
    pub const LEDGER: &str = "a run that a person ended has no post under way";
    /// A published run has a confirmed post.
    pub const PUBLISHED: &str = "a published run has a confirmed post";
    /// A dead run has a letter.
    pub const LETTER: &str = "a dead run has a letter";
    /// The reconciler adds only what is missing.
    pub const MISSING: &str = "the reconciler adds only what is missing";
    /// So many faults cost so many tries.
    pub const BOUNDED: &str = "so many faults cost so many tries";
    /// Once nothing goes wrong any more, the run ends and Redis is empty.
    pub const SETTLES: &str = "once nothing goes wrong any more, the run ends and Redis is empty";
}

/// What the checker holds against every state.
#[must_use]
pub fn invariants() -> Vec<Property<Protocol>> {
    use names::*;
    vec![
        Property::<Protocol>::always(ONCE, |_, state| !state.history.left_twice),
        Property::<Protocol>::always(SOMEWHERE, |_, state| state.job_is_somewhere()),
        Property::<Protocol>::always(APPROVED, |_, state| !state.history.sent_unapproved),
        Property::<Protocol>::always(SPOKEN, |_, state| {
            !state.record.run.approved || state.history.ruled || state.history.decided
        }),
        Property::<Protocol>::always(ONE_POST, |_, state| state.outlet.posts() <= 1 + state.history.resends),
        Property::<Protocol>::always(CONFIRMED, |_, state| !state.history.confirmation_dropped),
        Property::<Protocol>::always(CLAIMED, |_, state| !state.history.claimed_for_none),
        Property::<Protocol>::always(LEDGER, |_, state| {
            let ended = matches!(state.record.run.state, RunState::Cancelled | RunState::Rejected);
            !ended || state.row_state() != Some(RowState::Sent)
        }),
        Property::<Protocol>::always(PUBLISHED, |_, state| {
            state.record.run.state != RunState::Published || state.row_state() == Some(RowState::Confirmed)
        }),
        Property::<Protocol>::always(LETTER, |_, state| {
            state.record.run.state != RunState::Dead || state.record.letter
        }),
        Property::<Protocol>::always(MISSING, |_, state| !state.history.added_needlessly),
        Property::<Protocol>::always(BOUNDED, |_, state| {
            state.record.run.seq < 12 && state.record.stamps < 8
        }),
        Property::<Protocol>::always(SETTLES, |protocol, state| protocol.settles(state)),
    ]
}

/// What the checker is to come across, or else it has not looked far enough.
#[must_use]
pub fn examples() -> Vec<Property<Protocol>> {
    vec![
        Property::<Protocol>::sometimes("a run is published", |_, state| {
            state.record.run.state == RunState::Published
        }),
        Property::<Protocol>::sometimes("a run dies", |_, state| state.record.run.state == RunState::Dead),
        Property::<Protocol>::sometimes("a run is cancelled", |_, state| {
            state.record.run.state == RunState::Cancelled
        }),
        Property::<Protocol>::sometimes("a post is unknown", |_, state| {
            state.row_state() == Some(RowState::Unknown)
        }),
        Property::<Protocol>::sometimes("a post was refused", |_, state| {
            state.row_state() == Some(RowState::Rejected)
        }),
        Property::<Protocol>::sometimes("a person orders a post again", |_, state| state.history.resends > 0),
        Property::<Protocol>::sometimes("a person is asked about content", |_, state| {
            state.is_asked(Doubt::Content)
        }),
        Property::<Protocol>::sometimes("a person is asked about a post", |_, state| {
            state.is_asked(Doubt::Publication)
        }),
        Property::<Protocol>::sometimes("a decided run is resumed", |_, state| {
            matches!(state.resume, Resume::Acting(Some(_))) && state.history.decided
        }),
        Property::<Protocol>::sometimes("two people want the same run", |_, state| {
            state
                .people
                .iter()
                .all(|request| matches!(request, Request::Decide { .. } | Request::Cancel { .. }))
        }),
        Property::<Protocol>::sometimes("a worker loses the compare-and-set", |_, state| {
            state.workers.iter().any(|worker| matches!(worker.doing, Doing::Reload(_)))
        }),
        Property::<Protocol>::sometimes("a worker hands over what is not its own", |_, state| {
            (0..2).any(|worker| state.is_zombie(worker))
        }),
        Property::<Protocol>::sometimes("a committed job is only handed over", |_, state| {
            state.workers.iter().any(|worker| {
                let hands_on = matches!(worker.doing, Doing::Leave(To::Next(seq) | To::Retry(seq)) if seq == state.record.run.seq);
                hands_on && worker.hand.is_some_and(|hand| hand.deliveries > 1)
            })
        }),
        Property::<Protocol>::sometimes(
            "the reconciler adds what is missing",
            |_, state| matches!(state.round, Round::Adding(suspect) if !suspect.there),
        ),
        Property::<Protocol>::sometimes("a sender finds the outlet has it", |_, state| {
            state.workers.iter().any(|worker| matches!(worker.doing, Doing::Ask(..)))
                && state.outlet.accepted > 0
        }),
        Property::<Protocol>::sometimes("a claim is taken over", |_, state| {
            state.record.row.is_some_and(|row| row.deadline != row.id)
        }),
    ]
}

impl State {
    fn row_state(&self) -> Option<RowState> {
        self.record.row.map(|row| row.state)
    }

    fn is_asked(&self, about: Doubt) -> bool {
        self.record.question.is_some_and(|question| question.about == about)
    }

    /// Whether a worker is about to hand over an entry that another holds.
    fn is_zombie(&self, worker: usize) -> bool {
        let (Doing::Leave(_), Some(hand)) = (self.workers[worker].doing, self.workers[worker].hand) else {
            return false;
        };
        self.redis.entries.iter().any(|entry| {
            entry.id == hand.entry
                && !matches!(entry.held, Held::By { owner: Owner::Worker(owner), .. } if owner == worker)
        })
    }

    /// Whether a running run's job is in a place that leads it on: in the stream or the retry set, as an entry that will be
    /// handed over only, as a wake-up, or in the hands of somebody alive who is about to add it.
    fn job_is_somewhere(&self) -> bool {
        let run = &self.record.run;
        if run.state != RunState::Running || self.history.relies_on_reconciler {
            return true;
        }
        let behind =
            |entry: &crate::state::Entry| entry.seq + 1 == run.seq && matches!(entry.held, Held::By { .. });
        let woken = match self.resume {
            Resume::Idle => self.redis.wakes > 0,
            Resume::Woken(present) => self.redis.wakes > 1 || present.is_some_and(|(seq, _)| seq == run.seq),
            Resume::Acting(_) => self.redis.wakes > 1,
        };
        let by_gateway = self.people.iter().any(|request| match request {
            Request::Wake => true,
            Request::Add(seq) => *seq == run.seq,
            _ => false,
        });
        let late = |doing| matches!(doing, Doing::AddLate(seq) if seq == run.seq);
        let early = |doing| matches!(doing, Doing::CommitLate(..));
        self.redis.has(run.seq)
            || self.redis.entries.iter().any(behind)
            || woken
            || by_gateway
            || self.workers.iter().any(|worker| late(worker.doing) || early(worker.doing))
    }
}
