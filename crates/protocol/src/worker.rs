//! What a worker process does: `crates/fleet/src/worker`, one step at a time. Between any two of them the process may die,
//! stop, or be so slow that its entry is taken over.

use crate::state::{
    Answer, Claim, Doing, Held, Loaded, Outcome, Owner, Row, Sent, State, Step, To, Verdict, Worker,
};
use crate::{Mistake, OutletKind, Protocol};

/// A step of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Reads a new entry.
    Read,
    /// Takes over the entry with this id.
    TakeOver(u8),
    /// Notices that its entry was taken over, and lets the handler go.
    Abandon,
    /// Compares the entry with its run.
    Load,
    /// The handler reports.
    Report(Outcome),
    /// The handler plans an effect.
    Plan,
    /// Commits.
    Commit,
    /// Claims the effect in the ledger.
    Claim,
    /// Sends.
    Send,
    /// Finds that too little time is left to send.
    TooLate,
    /// Fails before the first byte leaves.
    NotSent,
    /// Hears the outlet's answer.
    Hear,
    /// Waits for the answer no longer.
    TimeOut,
    /// Asks the outlet whether it has the post.
    Ask,
    /// Takes over a row of the ledger.
    Reclaim,
    /// Gives a claim back.
    Withdraw,
    /// Settles.
    Settle,
    /// Looks at the run again after it lost.
    Reload,
    /// Hands over.
    HandOver,
}

impl State {
    /// What a worker may do, faults apart.
    pub(crate) fn work(&self, worker: usize, protocol: &Protocol, out: &mut Vec<Work>) {
        let Worker { hand, doing } = self.workers[worker];
        match doing {
            Doing::Nothing => {
                if self.redis.entries.iter().any(|entry| entry.held == Held::New) {
                    out.push(Work::Read);
                }
            }
            Doing::Load => out.push(Work::Load),
            Doing::Handle(loaded) => {
                match loaded.step {
                    Step::Judge => {
                        out.extend([Outcome::Done, Outcome::Escalate, Outcome::Fail].map(Work::Report));
                    }
                    Step::Rewrite => out.push(Work::Report(Outcome::Done)),
                    Step::Publish => out.push(Work::Plan),
                }
                if hand.is_some_and(|hand| self.is_lost(worker, hand.entry, hand.deliveries)) {
                    out.push(Work::Abandon);
                }
            }
            Doing::Commit(..) | Doing::CommitLate(..) => out.push(Work::Commit),
            Doing::Claim(_) => out.push(Work::Claim),
            Doing::Send(_, claim) => {
                out.push(Work::Send);
                if self.row_of(claim).is_none_or(|row| row.overdue || row.deadline != claim.deadline)
                    && !protocol.makes(Mistake::SentAfterSending)
                {
                    out.push(Work::TooLate);
                }
            }
            Doing::Await(_, _, Answer::UnderWay) => {}
            Doing::Await(..) => out.push(Work::Hear),
            Doing::Ask(..) => out.push(Work::Ask),
            Doing::Reclaim(..) => out.push(Work::Reclaim),
            Doing::Withdraw(..) => out.push(Work::Withdraw),
            Doing::Settle(..) => out.push(Work::Settle),
            Doing::Reload(_) => out.push(Work::Reload),
            Doing::Leave(_) | Doing::AddLate(_) | Doing::WriteLetter => out.push(Work::HandOver),
        }
    }

    /// Entries that a worker may take over: of processes that are gone, and of those that live and do not hold them. One that
    /// a living process holds costs a fault: that process is slow.
    pub(crate) fn takeovers(&self, worker: usize, out: &mut Vec<(u8, bool)>) {
        let hand = self.workers[worker].hand;
        for entry in &self.redis.entries {
            let Held::By { owner, .. } = entry.held else { continue };
            if hand.is_some_and(|hand| hand.entry != entry.id) {
                continue;
            }
            let is_held = match owner {
                Owner::Gone => false,
                Owner::Worker(owner) => self.workers[owner].hand.is_some_and(|hand| hand.entry == entry.id),
            };
            out.push((entry.id, is_held));
        }
    }

    fn is_lost(&self, worker: usize, id: u8, deliveries: u8) -> bool {
        let mine = Held::By { owner: Owner::Worker(worker), deliveries };
        !self.redis.entries.iter().any(|entry| entry.id == id && entry.held == mine)
    }

    pub(crate) fn row_of(&self, claim: Claim) -> Option<Row> {
        self.record.row.filter(|row| row.id == claim.row)
    }

    /// Takes a step.
    pub(crate) fn step(&mut self, worker: usize, work: Work, protocol: &Protocol) {
        let Some(hand) = self.workers[worker].hand else {
            match work {
                Work::TakeOver(id) => self.take_over(worker, id, protocol),
                _ => self.read(worker),
            }
            return;
        };
        let doing = match (work, self.workers[worker].doing) {
            (Work::TakeOver(id), _) => return self.take_over(worker, id, protocol),
            (Work::Abandon, _) => return self.workers[worker] = Worker::IDLE,
            (_, Doing::Load) => self.compare(hand, protocol.bounds.most_deliveries),
            (Work::Report(outcome), Doing::Handle(loaded)) => Doing::Commit(loaded, outcome),
            (_, Doing::Handle(loaded)) => Doing::Claim(loaded),
            (_, Doing::Commit(loaded, outcome)) => {
                if protocol.makes(Mistake::HandOverBeforeCommit) {
                    self.hand_over(worker, To::Next(loaded.seq + 1), protocol);
                    self.workers[worker].hand = Some(hand);
                    Doing::CommitLate(loaded, outcome)
                } else if self.commit(loaded, outcome, protocol) {
                    self.won(hand.deliveries, protocol)
                } else {
                    Doing::Reload(loaded)
                }
            }
            (_, Doing::CommitLate(loaded, outcome)) => {
                self.commit(loaded, outcome, protocol);
                return self.workers[worker] = Worker::IDLE;
            }
            (_, Doing::Claim(loaded)) => self.claim(loaded, hand.deliveries, protocol),
            (Work::TooLate, Doing::Send(loaded, _)) => Doing::Commit(loaded, Outcome::Retry),
            (Work::NotSent, Doing::Send(loaded, claim)) => Doing::Withdraw(loaded, claim),
            (_, Doing::Send(loaded, claim)) => {
                self.history.sent_unapproved |= !self.record.run.approved;
                Doing::Await(loaded, claim, Answer::UnderWay)
            }
            (Work::TimeOut, Doing::Await(loaded, _, answer)) => {
                self.outlet.adrift += u8::from(answer == Answer::UnderWay);
                Doing::Commit(loaded, Outcome::Postponed)
            }
            (_, Doing::Await(loaded, claim, answer)) => {
                let refused = answer == Answer::Refused;
                Doing::Settle(loaded, claim, if refused { Verdict::Rejected } else { Verdict::Confirmed })
            }
            (_, Doing::Ask(loaded, claim)) => self.ask_outlet(loaded, claim),
            (_, Doing::Reclaim(loaded, claim, sent)) => {
                match self.reclaim(loaded, claim, sent == Sent::Perhaps, protocol) {
                    Some(claim) => Doing::Send(loaded, claim),
                    None => Doing::Commit(loaded, Outcome::Retry),
                }
            }
            (_, Doing::Withdraw(loaded, claim)) => {
                self.withdraw(claim);
                Doing::Commit(loaded, Outcome::Retry)
            }
            (_, Doing::Settle(loaded, claim, verdict)) => {
                if self.settle(loaded, claim, verdict, protocol) {
                    self.won(hand.deliveries, protocol)
                } else {
                    Doing::Reload(loaded)
                }
            }
            (_, Doing::Reload(loaded)) => self.reloaded(loaded, hand.deliveries, protocol),
            (_, Doing::Leave(to)) => return self.hand_over(worker, to, protocol),
            (_, Doing::AddLate(seq)) => {
                self.add(seq);
                return self.workers[worker] = Worker::IDLE;
            }
            (_, Doing::WriteLetter) => {
                self.record.letter = true;
                self.after_win(hand.deliveries)
            }
            (_, Doing::Nothing) => return,
        };
        self.workers[worker].doing = doing;
    }

    /// Where a winner's entry goes.
    fn won(&self, by: u8, protocol: &Protocol) -> Doing {
        let died = self.record.run.state == crate::state::RunState::Dead;
        if died && protocol.makes(Mistake::LetterAfterDeath) {
            Doing::WriteLetter
        } else {
            self.after_win(by)
        }
    }

    fn after_win(&self, by: u8) -> Doing {
        Doing::Leave(self.record.run.present(by))
    }

    /// One ahead means that the job was committed, by this worker or by one that may have died before its hand-over. At the
    /// same place the chain alone grew: the job is still to be done.
    fn reloaded(&self, from: Loaded, by: u8, protocol: &Protocol) -> Doing {
        let run = &self.record.run;
        Doing::Leave(match run.seq {
            seq if seq == from.seq && run.state == from.state => run.again(by, protocol),
            seq if seq == from.seq + 1 => run.present(by),
            _ => To::Nowhere { by },
        })
    }

    /// The sender of an overdue row is gone. Sending again is right where a person ordered it, or where the outlet has nothing
    /// and would itself refuse a second copy.
    fn ask_outlet(&self, from: Loaded, claim: Claim) -> Doing {
        let sent = match self.outlet.kind {
            OutletKind::CannotTell => Sent::Perhaps,
            _ if self.outlet.accepted > 0 => return Doing::Settle(from, claim, Verdict::Confirmed),
            _ => Sent::Nothing,
        };
        let repeats = sent == Sent::Nothing && self.outlet.kind == OutletKind::Deduplicates;
        if claim.resend || repeats {
            Doing::Reclaim(from, claim, sent)
        } else {
            Doing::Settle(from, claim, Verdict::Unknown)
        }
    }

    /// A process dies: what it held stays pending, what it sent is under way still.
    pub(crate) fn crash(&mut self, worker: usize) {
        if let Doing::Await(_, _, Answer::UnderWay) = self.workers[worker].doing {
            self.outlet.adrift += 1;
        }
        self.workers[worker] = Worker::IDLE;
        self.redis.bereave(worker);
        if let Some(backup) = &mut self.backup {
            backup.bereave(worker);
        }
    }
}
