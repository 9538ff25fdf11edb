//! Calm: what becomes of a state in which nothing goes wrong any more.
//!
//! One fair course is followed from it: everyone goes on, clocks pass, people answer, and the reconciler looks last. That a
//! run comes to its end by it, from every state that faults can lead to, is more than that it can: nobody has to be lucky.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use crate::state::{Doing, Request, Round, RowState, State};
use crate::{Action, Outcome, Plan, Protocol, Wish, Work};

/// Steps that the calm may take: several times what it takes.
const PATIENCE: usize = 200;
/// Parts of what is known, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// States that are known to settle. All of one course do, so each state is looked at about once.
#[derive(Debug)]
pub(crate) struct Calm {
    shards: [Mutex<Prints>; SHARDS],
}

impl Default for Calm {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Calm {
    fn shard(&self, print: u64) -> std::sync::MutexGuard<'_, Prints> {
        let shard = &self.shards[usize::try_from(print % SHARDS as u64).unwrap_or_default()];
        // Every change is one call: a panic elsewhere leaves none half made.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn knows(&self, print: u64) -> bool {
        self.shard(print).contains(&print)
    }

    fn learn(&self, prints: Vec<u64>) {
        for print in prints {
            self.shard(print).insert(print);
        }
    }
}

fn print(state: &State) -> u64 {
    let mut mixer = Mixer::default();
    state.hash(&mut mixer);
    mixer.finish()
}

type Prints = HashSet<u64, BuildHasherDefault<Mixer>>;

/// A quick hash of many small numbers, none of which anybody chooses: each is multiplied in, and the halves folded.
#[derive(Debug, Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.write_u64(number.unsigned_abs() as u64);
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = u128::from(self.0 ^ number ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (mixed as u64) ^ ((mixed >> 64) as u64).rotate_left(17);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Protocol {
    /// Whether the run comes to its end, and leaves nothing behind, once faults have ceased.
    pub(crate) fn settles(&self, state: &State) -> bool {
        // Faults that might still happen make no difference here.
        let mut state = State { faults: 0, backup: None, ..state.clone() };
        let mut passed = Vec::new();
        let mut actions = Vec::new();
        for _ in 0..PATIENCE {
            let print = print(&state);
            if self.calm.knows(print) || state.is_settled() {
                self.calm.learn(passed);
                return true;
            }
            passed.push(print);
            self.steps(&state, &mut actions);
            let next = actions.drain(..).filter_map(|action| Some((rank(&state, action)?, action)));
            let Some((_, action)) = next.min_by_key(|(rank, _)| *rank) else { return false };
            self.apply(&mut state, action);
            state = state.canonical();
        }
        false
    }
}

impl State {
    /// Whether the run ended, its post is settled, nobody is at it, and Redis holds nothing of it.
    fn is_settled(&self) -> bool {
        let row_settled =
            self.record.row.is_none_or(|row| !matches!(row.state, RowState::Sent | RowState::Unknown));
        !self.record.run.state.is_open()
            && row_settled
            && self.record.question.is_none()
            && self.redis == crate::state::Redis::default()
            && self.workers.iter().all(|worker| worker.hand.is_none())
            && self.round == Round::Idle
            && self.people == [Request::None; 2]
    }
}

/// What comes first in the calm; `None` for what does not happen in it.
fn rank(state: &State, action: Action) -> Option<u8> {
    Some(match action {
        Action::Worker(_, Work::Report(outcome)) if outcome != Outcome::Done => return None,
        Action::Worker(_, Work::Abandon) => return None,
        Action::Worker(worker, Work::Send) if is_late(state, worker) => return None,
        Action::Worker(_, Work::Read) => 5,
        Action::Worker(worker, Work::TakeOver(_)) => {
            if state.workers[worker].hand.is_some() {
                return None;
            }
            6
        }
        Action::Worker(..) => 0,
        Action::Answer(_) | Action::Arrive => 1,
        Action::Gateway(_) => 2,
        Action::Planner(Plan::Begin) => 12,
        Action::Planner(_) => 3,
        Action::Promote(_) => 7,
        Action::DuePasses => 8,
        Action::DeadlinePasses => 9,
        Action::Wish(_, Wish::Approve | Wish::Delivered) => 10,
        Action::Wish(..) | Action::GoAstray | Action::Save | Action::Fault(_) => return None,
    })
}

/// Whether a worker's claim is past its deadline: it does not send any more.
fn is_late(state: &State, worker: usize) -> bool {
    let Doing::Send(_, claim) = state.workers[worker].doing else { return false };
    state.row_of(claim).is_none_or(|row| row.overdue || row.deadline != claim.deadline) && claim.row != 0
}
