//! People at the gateway: `crates/gateway/src/resolve.rs`, `people.rs` and `runs.rs`. Each request reads, then commits, then
//! tells whoever is to go on; the gateway may die in between.

use crate::record::Change;
use crate::state::{Doubt, Due, Loaded, Request, RowState, RunState, Settled, State, Step};
use crate::{Mistake, Protocol};

/// What a person wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Publish it.
    Approve,
    /// Do not.
    Reject,
    /// End the run.
    Cancel,
    /// The post arrived.
    Delivered,
    /// Send the post again.
    Resend,
    /// Give the post up.
    Abandon,
}

/// What each of the two people may want: one goes on with what is asked, the other would rather end it.
const WISHES: [&[Wish]; 2] = [
    &[Wish::Approve, Wish::Delivered, Wish::Resend],
    &[Wish::Approve, Wish::Reject, Wish::Cancel, Wish::Abandon],
];

impl State {
    /// What a person may begin.
    pub(crate) fn wishes(&self, person: usize, protocol: &Protocol, out: &mut Vec<Wish>) {
        let record = &self.record;
        let asked = |about| record.question.is_some_and(|question| question.about == about);
        let unknown = record.row.is_some_and(|row| row.state == RowState::Unknown);
        out.extend(WISHES[person].iter().copied().filter(|wish| match wish {
            Wish::Approve | Wish::Reject => asked(Doubt::Content),
            Wish::Cancel => protocol.bounds.cancels && record.run.state.is_open(),
            Wish::Delivered | Wish::Abandon => unknown,
            Wish::Resend => unknown && asked(Doubt::Publication) && self.history.resends == 0,
        }));
    }

    /// Reads what a request is about.
    pub(crate) fn begin(&mut self, person: usize, wish: Wish) {
        let read = self.record.run.loaded();
        let row = self.record.row.map_or(0, |row| row.id);
        let settle = |answer| Request::Settle { read, row, answer };
        self.people[person] = match wish {
            Wish::Approve => Request::Decide { read, approve: true },
            Wish::Reject => Request::Decide { read, approve: false },
            Wish::Cancel => Request::Cancel { read },
            Wish::Delivered => settle(Settled::Delivered),
            Wish::Resend => settle(Settled::Resend),
            Wish::Abandon => settle(Settled::Abandon),
        };
    }

    /// Goes on with a request.
    pub(crate) fn carry_on(&mut self, person: usize, protocol: &Protocol) {
        let next = match self.people[person] {
            Request::None => Request::None,
            Request::Decide { read, approve } => {
                let compares = !protocol.makes(Mistake::ResumeWithoutCompareAndSet);
                let change = if approve {
                    Change::on(protocol.after(read.step), Due::Now)
                } else {
                    Change::stop(read.step, RunState::Rejected)
                };
                if read.state == RunState::Waiting && self.advance(read, change, compares) {
                    self.record.question = None;
                    self.record.run.approved |= approve;
                    self.history.decided |= approve;
                    if approve { Request::Wake } else { Request::None }
                } else {
                    Request::None
                }
            }
            Request::Cancel { read } => {
                let publishing = self.record.row.is_some_and(|row| row.state == RowState::Sent);
                let refused = publishing && !protocol.makes(Mistake::CancelWithoutLedger);
                if !refused && self.advance(read, Change::stop(read.step, RunState::Cancelled), true) {
                    self.record.question = None;
                }
                Request::None
            }
            Request::Settle { read, row, answer } => self.settle_by_person(read, row, answer, protocol),
            Request::Wake => {
                self.redis.wakes += 1;
                Request::None
            }
            Request::Add(seq) => {
                self.add(seq);
                Request::None
            }
        };
        self.people[person] = next;
    }

    fn settle_by_person(&mut self, read: Loaded, id: u8, answer: Settled, protocol: &Protocol) -> Request {
        let Some(mut row) = self.record.row.filter(|row| row.id == id && row.state == RowState::Unknown)
        else {
            return Request::None;
        };
        let waits = read.state == RunState::Waiting && read.step == Step::Publish;
        (row.state, row.overdue, row.resend) = match answer {
            Settled::Delivered => (RowState::Confirmed, row.overdue, false),
            Settled::Resend => (RowState::Sent, true, true),
            Settled::Abandon => (RowState::Abandoned, row.overdue, false),
        };
        if !waits {
            // The run moved on: the ledger alone is settled, and nothing is sent any more. Unless the run came to wait for
            // this very answer since it was read: then the person is to look again.
            let asks = self.record.question.is_some_and(|question| question.about == Doubt::Publication);
            let settles = !asks || protocol.makes(Mistake::SettledAlone);
            if settles && answer != Settled::Resend {
                self.record.row = Some(row);
                self.record.run.links += 1;
            }
            return Request::None;
        }
        let change = match answer {
            Settled::Delivered => Change::stop(read.step, RunState::Published),
            Settled::Resend => Change::on(read.step, Due::Now),
            Settled::Abandon => Change::stop(read.step, RunState::Rejected),
        };
        if !self.advance(read, change, true) {
            return Request::None;
        }
        if answer == Settled::Resend {
            self.record.stamps += 1;
            row.deadline = self.record.stamps;
            self.history.resends += 1;
        }
        self.record.row = Some(row);
        self.record.question = None;
        if answer == Settled::Resend { Request::Add(self.record.run.seq) } else { Request::None }
    }

    /// Only by mistake: a question that was open for too long is answered by nobody.
    pub(crate) fn take_silence_for_leave(&mut self, protocol: &Protocol) {
        let run = self.record.run;
        let step = protocol.after(run.step);
        if self.advance(run.loaded(), Change::on(step, Due::Now), true) {
            self.record.question = None;
            self.record.run.approved = true;
            self.add(self.record.run.seq);
        }
    }
}
