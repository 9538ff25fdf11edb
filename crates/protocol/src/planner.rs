//! The planner: `crates/planner/src/resume.rs` and `reconcile.rs`. Any number of planners may be at work; the model has one,
//! which dies and begins anew.

use crate::state::{Due, Held, Resume, Round, RowState, RunState, Seq, State, Suspect};
use crate::{Mistake, Protocol};

/// Entries beyond which the reconciler adds nothing.
const HIGH_WATER: usize = 4;

/// A step of the planner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Reads a wake-up, and the present job of the run that it names.
    ReadWakeUp,
    /// Goes on with a wake-up: adds the job, then acknowledges.
    Resume,
    /// Begins a round: reads the overdue jobs from the record.
    Begin,
    /// Looks through the stream or the retry set.
    Look,
    /// Looks in the record whether the run stands there still.
    LookAgain,
    /// Adds what is missing.
    Add,
    /// Deletes entries that nobody will ever be given.
    Clear,
    /// Gives up rows of the ledger whose sender is gone and whose run moved on.
    GiveUp,
    /// Only by mistake: takes the silence of a person for leave.
    TakeSilenceForLeave,
}

impl State {
    pub(crate) fn planning(&self, protocol: &Protocol, out: &mut Vec<Plan>) {
        match self.resume {
            Resume::Idle if self.redis.wakes > 0 => out.push(Plan::ReadWakeUp),
            Resume::Idle => {}
            Resume::Woken(_) | Resume::Acting(_) => out.push(Plan::Resume),
        }
        match self.round {
            Round::Idle => {
                if self.is_quiet() && self.may_reconcile(protocol) {
                    out.push(Plan::Begin);
                }
            }
            Round::Begun(_) | Round::Half(_) => out.push(Plan::Look),
            Round::Missing(_) => out.push(Plan::LookAgain),
            Round::Adding(_) => out.push(Plan::Add),
        }
        if self.redis.entries.first().is_some_and(|entry| entry.held == Held::Nobody) {
            out.push(Plan::Clear);
        }
        if self.is_abandoned() && !protocol.makes(Mistake::RowsLeftSent) {
            out.push(Plan::GiveUp);
        }
        if protocol.makes(Mistake::SilenceApproves) && self.record.question.is_some() {
            out.push(Plan::TakeSilenceForLeave);
        }
    }

    /// Whether the run's job may be overdue.
    pub(crate) fn may_reconcile(&self, protocol: &Protocol) -> bool {
        let run = &self.record.run;
        let is_due = run.state == RunState::Running && run.due == Due::Now;
        self.round == Round::Idle && is_due && !protocol.makes(Mistake::NobodyReconciles)
    }

    pub(crate) fn plan(&mut self, plan: Plan, protocol: &Protocol) {
        match plan {
            Plan::ReadWakeUp => {
                let run = &self.record.run;
                let present = (run.state == RunState::Running).then_some((run.seq, run.due));
                self.resume = Resume::Woken(present);
            }
            Plan::Resume => self.resume(protocol),
            Plan::Begin => {
                let seq = self.record.run.seq;
                let suspect = Suspect { seq, there: self.redis.has(seq) };
                let blind = protocol.makes(Mistake::ReconcilerWithoutCompare);
                self.round = if blind { Round::Adding(suspect) } else { Round::Begun(suspect) };
            }
            Plan::Look => self.look(protocol),
            Plan::LookAgain => {
                let Round::Missing(suspect) = self.round else { return };
                let run = &self.record.run;
                let stands = run.state == RunState::Running && run.seq == suspect.seq;
                self.round = if stands { Round::Adding(suspect) } else { Round::Idle };
            }
            Plan::Add => {
                let Round::Adding(suspect) = self.round else { return };
                self.round = Round::Idle;
                if self.redis.entries.len() < HIGH_WATER {
                    self.history.added_needlessly |= suspect.there;
                    self.add(suspect.seq);
                }
            }
            Plan::Clear => self.redis.entries.retain(|entry| entry.held != Held::Nobody),
            Plan::GiveUp => {
                if let Some(row) = &mut self.record.row {
                    row.state = RowState::Unknown;
                    self.record.run.links += 1;
                }
            }
            Plan::TakeSilenceForLeave => self.take_silence_for_leave(protocol),
        }
    }

    /// Adds first, acknowledges then.
    fn resume(&mut self, protocol: &Protocol) {
        let acknowledges_first = protocol.makes(Mistake::WakeUpAcknowledgedFirst);
        match self.resume {
            Resume::Idle => {}
            Resume::Woken(present) => {
                if acknowledges_first {
                    self.redis.wakes = self.redis.wakes.saturating_sub(1);
                } else {
                    self.add_present(present);
                }
                self.resume = Resume::Acting(present);
            }
            Resume::Acting(present) => {
                if acknowledges_first {
                    self.add_present(present);
                } else {
                    self.redis.wakes = self.redis.wakes.saturating_sub(1);
                }
                self.resume = Resume::Idle;
            }
        }
    }

    fn add_present(&mut self, present: Option<(Seq, Due)>) {
        match present {
            Some((seq, Due::Now)) => self.add(seq),
            Some((seq, _)) => self.redis.add_retry(seq),
            None => {}
        }
    }

    /// A job that stays what it is goes from the retry set to the stream, and never back: who looks in this order misses none.
    fn look(&mut self, protocol: &Protocol) {
        let (first, suspect) = match self.round {
            Round::Begun(suspect) => (true, suspect),
            Round::Half(suspect) => (false, suspect),
            _ => return,
        };
        let at_retries = first != protocol.makes(Mistake::RetriesReadLast);
        let found = if at_retries {
            self.redis.retries.contains(&suspect.seq)
        } else {
            self.redis.entries.retain(|entry| entry.held != Held::Nobody);
            self.redis.in_stream(suspect.seq)
        };
        self.round = match (found, first) {
            (true, _) => Round::Idle,
            (false, true) => Round::Half(suspect),
            (false, false) => Round::Missing(suspect),
        };
    }

    /// What the reconciler's suspect stands for is no longer there all the time.
    pub(crate) fn watch_suspect(&mut self) {
        let redis = &self.redis;
        if let Some(suspect) = self.round.suspect() {
            suspect.there &= redis.has(suspect.seq);
        }
    }
}
