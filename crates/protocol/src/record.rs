//! The transactions of `crates/record`, each one step.

use crate::state::{
    Claim, Doing, Doubt, Due, Hand, Loaded, Outcome, Question, Row, RowState, Run, RunState, State, Step, To,
    Verdict,
};
use crate::{Mistake, Protocol};

/// Where a transition leads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) state: RunState,
    pub(crate) step: Step,
    pub(crate) due: Due,
}

impl Change {
    /// On to a step, or there again.
    pub(crate) fn on(step: Step, due: Due) -> Self {
        Self { state: RunState::Running, step, due }
    }

    /// To a wait or an end.
    pub(crate) fn stop(at: Step, state: RunState) -> Self {
        Self { state, step: at, due: Due::Now }
    }
}

impl Run {
    pub(crate) fn loaded(&self) -> Loaded {
        Loaded { seq: self.seq, links: self.links, state: self.state, step: self.step }
    }

    /// Where the job goes that the run stands at, for whoever holds an entry by this delivery.
    pub(crate) fn present(&self, by: u8) -> To {
        match (self.state, self.due) {
            (RunState::Running, Due::Now) => To::Next(self.seq),
            (RunState::Running, Due::Later | Due::AtDeadline) => To::Retry(self.seq),
            _ => To::Nowhere { by },
        }
    }

    /// Where an entry goes whose job is still to be done: back, as one that was delivered. A new one would be taken for a copy
    /// of no worth, were somebody who lost the entry to move the run on.
    pub(crate) fn again(&self, by: u8, protocol: &Protocol) -> To {
        if protocol.makes(Mistake::RequeuedAsNew) { self.present(by) } else { To::Back }
    }
}

impl State {
    /// `compare_and_set.rs`: moves the run on, where it stands as it was loaded.
    pub(crate) fn advance(&mut self, from: Loaded, change: Change, compares: bool) -> bool {
        let run = &mut self.record.run;
        if compares && run.loaded() != (Loaded { step: run.step, ..from }) {
            return false;
        }
        let bit = 1 << u32::from(from.seq).min(31);
        self.history.left_twice |= self.history.left & bit != 0;
        self.history.left |= bit;
        let Change { state, step, due } = change;
        *run = Run { seq: run.seq + 1, state, step, due, ..*run };
        true
    }

    /// The record's part of comparing an entry with its run: `decide.rs`.
    pub(crate) fn compare(&self, hand: Hand, most: u8) -> Doing {
        let (run, by) = (&self.record.run, hand.deliveries);
        let to_delete = Doing::Leave(To::Nowhere { by });
        if run.seq == hand.seq {
            return match run.state {
                RunState::Running if by > most => Doing::Commit(run.loaded(), Outcome::Poisoned),
                RunState::Running => Doing::Handle(run.loaded()),
                _ => to_delete,
            };
        }
        if run.seq == hand.seq + 1 && by > 1 { Doing::Leave(run.present(by)) } else { to_delete }
    }

    /// Commits what a handler reported; `false` where the compare-and-set lost.
    pub(crate) fn commit(&mut self, from: Loaded, outcome: Outcome, protocol: &Protocol) -> bool {
        let at = from.step;
        let change = match outcome {
            Outcome::Done => Change::on(protocol.after(at), Due::Now),
            Outcome::Retry => Change::on(at, Due::Later),
            Outcome::Postponed => Change::on(at, Due::AtDeadline),
            Outcome::Escalate => Change::stop(at, RunState::Waiting),
            Outcome::Fail | Outcome::Poisoned => Change::stop(at, RunState::Dead),
        };
        if !self.advance(from, change, !protocol.makes(Mistake::NoCompareAndSet)) {
            return false;
        }
        match (outcome, at) {
            (Outcome::Done, Step::Judge) => {
                self.record.run.approved = true;
                self.history.ruled = true;
            }
            // What was approved is another content.
            (Outcome::Done, Step::Rewrite) => self.record.run.approved = false,
            (Outcome::Escalate, _) => self.ask(Doubt::Content),
            (Outcome::Fail | Outcome::Poisoned, _) => {
                self.record.letter = !protocol.makes(Mistake::LetterAfterDeath);
            }
            _ => {}
        }
        true
    }

    pub(crate) fn ask(&mut self, about: Doubt) {
        self.record.question = Some(Question { seq: self.record.run.seq, about });
    }

    /// A claim, under the run's lock, with its `seq` checked and its approval found.
    pub(crate) fn claim(&mut self, from: Loaded, by: u8, protocol: &Protocol) -> Doing {
        let run = self.record.run;
        let stands = run.seq == from.seq && run.state == from.state;
        if !stands && !protocol.makes(Mistake::ClaimWithoutSeq) {
            // Whoever moved it on may have died before the hand-over, and this entry be all that is left of the job.
            return if protocol.makes(Mistake::StaleClaimDeletes) {
                Doing::Leave(To::Nowhere { by })
            } else {
                Doing::Reload(from)
            };
        }
        if let Some(row) = self.record.row.filter(|row| row.state != RowState::Rejected) {
            return found(from, row, protocol);
        }
        if !run.approved && !protocol.makes(Mistake::ClaimWithoutApproval) {
            return Doing::Commit(from, Outcome::Fail);
        }
        if protocol.makes(Mistake::SentAfterSending) {
            return Doing::Send(from, Claim { row: 0, deadline: 0, resend: false, found: None });
        }
        Doing::Send(from, self.insert_row())
    }

    pub(crate) fn insert_row(&mut self) -> Claim {
        self.record.stamps += 1;
        let stamp = self.record.stamps;
        let state = RowState::Sent;
        let row = Row { id: stamp, deadline: stamp, overdue: false, resend: false, state };
        self.record.row = Some(row);
        self.history.claimed_for_none |= !self.record.run.state.is_open();
        seen(&row)
    }

    /// Takes over a row past its deadline; the deadline that was read is the claim's identity.
    pub(crate) fn reclaim(
        &mut self,
        from: Loaded,
        claim: Claim,
        may_have_it: bool,
        protocol: &Protocol,
    ) -> Option<Claim> {
        let run = self.record.run;
        let row = self.record.row.as_mut()?;
        let same = row.id == claim.row && row.deadline == claim.deadline;
        if run.seq != from.seq
            || run.state != from.state
            || !same
            || row.state != RowState::Sent
            || !row.overdue
        {
            return None;
        }
        self.record.stamps += 1;
        *row = Row { deadline: self.record.stamps, overdue: false, resend: false, ..*row };
        let as_found = may_have_it || !protocol.makes(Mistake::ReclaimedRowWithdrawn);
        let found = as_found.then_some((claim.deadline, claim.resend));
        Some(Claim { found, ..seen(row) })
    }

    /// Gives a claim back of which nothing was sent: as it was found, or else it is as if it had never been.
    pub(crate) fn withdraw(&mut self, claim: Claim) {
        let Some(row) = &mut self.record.row else { return };
        if row.id != claim.row || row.deadline != claim.deadline || row.state != RowState::Sent {
            return;
        }
        match claim.found {
            Some((deadline, resend)) => *row = Row { deadline, resend, overdue: true, ..*row },
            None => self.record.row = None,
        }
    }

    /// Writes the outlet's answer and, in the same transaction, the run's transition; `false` where that lost.
    pub(crate) fn settle(
        &mut self,
        from: Loaded,
        claim: Claim,
        verdict: Verdict,
        protocol: &Protocol,
    ) -> bool {
        let claim = if claim.row == 0 { self.insert_row() } else { claim };
        let mine = |row: &&mut Row| row.id == claim.row;
        let confirms = verdict == Verdict::Confirmed;
        let mut settled = false;
        let mut late = false;
        if let Some(row) = self.record.row.as_mut().filter(mine) {
            if !confirms && row.state == RowState::Sent && row.deadline != claim.deadline {
                return false;
            }
            late = confirms && row.state == RowState::Unknown && !protocol.makes(Mistake::LateAnswerDropped);
            settled = row.state == RowState::Sent || late;
            if settled {
                row.state = match verdict {
                    Verdict::Confirmed => RowState::Confirmed,
                    Verdict::Rejected => RowState::Rejected,
                    Verdict::Unknown => RowState::Unknown,
                };
            }
        }
        let unsettled = [RowState::Unknown, RowState::Rejected];
        let stands = self.record.row.is_some_and(|row| !unsettled.contains(&row.state));
        self.history.confirmation_dropped |= confirms && !stands;
        let is_there = self.record.row.is_some_and(|row| row.id == claim.row);
        if !is_there && !protocol.makes(Mistake::VanishedRowSettled) {
            return false;
        }
        let compares = !protocol.makes(Mistake::NoCompareAndSet);
        // Whoever settles the row knows what became of the post, whatever the ledger added to the chain meanwhile. Whoever
        // finds it settled loses by what was added, and looks again.
        let fresh = settled && !protocol.makes(Mistake::SettledByChain);
        let links = if fresh { self.record.run.links } else { from.links };
        let state = match verdict {
            Verdict::Confirmed => RunState::Published,
            Verdict::Rejected => RunState::Dead,
            Verdict::Unknown => RunState::Waiting,
        };
        let won = self.advance(Loaded { links, ..from }, Change::stop(from.step, state), compares);
        match verdict {
            Verdict::Rejected if won => self.record.letter = !protocol.makes(Mistake::LetterAfterDeath),
            Verdict::Unknown if won => self.ask(Doubt::Publication),
            _ => {}
        }
        if late && !won {
            self.answer_for_the_person();
        }
        if settled && !won {
            self.record.run.links += 1;
        }
        won
    }

    /// The run waits to be told what is known by now.
    fn answer_for_the_person(&mut self) {
        let run = self.record.run;
        let asked = self.record.question.is_some_and(|asked| asked.about == Doubt::Publication);
        if run.state == RunState::Waiting && asked {
            self.advance(run.loaded(), Change::stop(run.step, RunState::Published), true);
            self.record.question = None;
        }
    }

    /// A row past its deadline whose run will not ask for it.
    pub(crate) fn is_abandoned(&self) -> bool {
        let run = &self.record.run;
        let asks = run.state == RunState::Running && run.step == Step::Publish;
        !asks && self.record.row.is_some_and(|row| row.state == RowState::Sent && row.overdue)
    }
}

fn seen(row: &Row) -> Claim {
    Claim { row: row.id, deadline: row.deadline, resend: row.resend, found: None }
}

/// A row of the same key is there: what it says decides.
fn found(from: Loaded, row: Row, protocol: &Protocol) -> Doing {
    let claim = seen(&row);
    match row.state {
        RowState::Confirmed => Doing::Settle(from, claim, Verdict::Confirmed),
        RowState::Sent if !row.overdue => Doing::Commit(from, Outcome::Postponed),
        RowState::Sent if protocol.makes(Mistake::BlindResend) => Doing::Send(from, claim),
        RowState::Sent => Doing::Ask(from, claim),
        RowState::Unknown => Doing::Settle(from, claim, Verdict::Unknown),
        RowState::Rejected | RowState::Abandoned => Doing::Settle(from, claim, Verdict::Rejected),
    }
}
