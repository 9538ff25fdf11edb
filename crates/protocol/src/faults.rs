//! What may go wrong outside the protocol, and what it leaves.

use crate::state::{Doing, Entry, Held, Redis, Request, Resume, Round, State};
use crate::{Action, Outcome, Plan, Protocol, Work};

/// What may go wrong outside the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A worker dies.
    Crash,
    /// A worker is told to stop, and its time is over.
    Stop,
    /// A worker is slow: its entry is taken over, or the deadline of its claim passes, and it goes on.
    Slow,
    /// The answer to a call is lost, and the call is made again.
    LostReply,
    /// A handler fails, or an outlet cannot be reached.
    Failure,
    /// The outlet's answer is waited for in vain.
    Silence,
    /// The planner dies.
    PlannerDies,
    /// The gateway dies.
    GatewayDies,
    /// Redis comes back empty.
    Forget,
    /// Redis comes back as it was.
    Older,
    /// Redis loses who holds an entry.
    Strand,
}

/// A fault, where it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A worker dies.
    Crash(usize),
    /// A worker gives back what it has, and ends.
    Stop(usize),
    /// A worker's entry is taken over though its process lives, by this worker.
    Slow(usize, u8),
    /// The deadline of a claim passes while a worker is at work.
    SlowSender,
    /// The reconciler begins a round while a worker is at work.
    SlowJob,
    /// A worker's call is carried out, and its answer lost.
    LostReply(usize),
    /// A handler fails, or an outlet cannot be reached.
    Failure(usize),
    /// A worker waits for an outlet's answer no longer.
    Silence(usize),
    /// The planner dies.
    PlannerDies,
    /// The gateway dies with a person's request.
    GatewayDies(usize),
    /// Redis comes back empty.
    Forget,
    /// Redis comes back as it was.
    Older,
    /// Redis loses who holds the entry with this id.
    Strand(u8),
}

impl Protocol {
    pub(crate) fn faults(&self, state: &State, out: &mut Vec<Action>) {
        if state.faults == 0 {
            return;
        }
        let mut faults = Vec::new();
        let has = |kind| self.bounds.kinds.contains(&kind);
        for (index, worker) in state.workers.iter().enumerate() {
            if worker.hand.is_none() {
                continue;
            }
            if has(FaultKind::Crash) {
                faults.push(Fault::Crash(index));
            }
            if has(FaultKind::Stop) {
                faults.push(Fault::Stop(index));
            }
            if has(FaultKind::LostReply) && state.calls(index) {
                faults.push(Fault::LostReply(index));
            }
            if has(FaultKind::Failure) && state.may_fail(index) {
                faults.push(Fault::Failure(index));
            }
            if has(FaultKind::Silence) && matches!(worker.doing, Doing::Await(..)) {
                faults.push(Fault::Silence(index));
            }
        }
        if has(FaultKind::Slow) {
            for worker in 0..2 {
                let mut takeovers = Vec::new();
                state.takeovers(worker, &mut takeovers);
                faults.extend(takeovers.iter().filter(|one| one.1).map(|one| Fault::Slow(worker, one.0)));
            }
            if !state.is_quiet() && state.deadline_runs() {
                faults.push(Fault::SlowSender);
            }
            if !state.is_quiet() && state.may_reconcile(self) {
                faults.push(Fault::SlowJob);
            }
        }
        if has(FaultKind::PlannerDies) && (state.resume != Resume::Idle || state.round != Round::Idle) {
            faults.push(Fault::PlannerDies);
        }
        for (index, request) in state.people.iter().enumerate() {
            if has(FaultKind::GatewayDies) && matches!(request, Request::Wake | Request::Add(_)) {
                faults.push(Fault::GatewayDies(index));
            }
        }
        if has(FaultKind::Forget) && state.redis != Redis::default() {
            faults.push(Fault::Forget);
        }
        if has(FaultKind::Older) && state.backup.as_ref().is_some_and(|backup| *backup != state.redis) {
            faults.push(Fault::Older);
        }
        if has(FaultKind::Strand) {
            let pending = |entry: &&Entry| matches!(entry.held, Held::By { .. });
            faults.extend(state.redis.entries.iter().filter(pending).map(|entry| Fault::Strand(entry.id)));
        }
        out.extend(faults.into_iter().map(Action::Fault));
    }

    pub(crate) fn befall(&self, state: &mut State, fault: Fault) {
        match fault {
            Fault::Crash(worker) => state.crash(worker),
            Fault::Stop(worker) => {
                state.give_back(worker, self);
                state.crash(worker);
            }
            Fault::Slow(worker, entry) => state.take_over(worker, entry, self),
            Fault::SlowSender => state.pass_deadline(),
            Fault::SlowJob => state.plan(Plan::Begin, self),
            Fault::LostReply(worker) => {
                let before = state.workers[worker];
                state.step(worker, Work::Commit, self);
                state.workers[worker] = before;
            }
            Fault::Failure(worker) => match state.workers[worker].doing {
                Doing::Handle(_) => state.step(worker, Work::Report(Outcome::Retry), self),
                Doing::Ask(loaded, _) => {
                    state.workers[worker].doing = Doing::Commit(loaded, Outcome::Retry);
                }
                _ => state.step(worker, Work::NotSent, self),
            },
            Fault::Silence(worker) => state.step(worker, Work::TimeOut, self),
            Fault::PlannerDies => (state.resume, state.round) = (Resume::Idle, Round::Idle),
            Fault::GatewayDies(person) => {
                state.people[person] = Request::None;
                state.history.relies_on_reconciler = true;
            }
            Fault::Forget => state.come_back_as(Redis::default()),
            Fault::Older => {
                if let Some(backup) = state.backup.take() {
                    state.come_back_as(backup);
                }
            }
            Fault::Strand(id) => {
                if let Some(entry) = state.redis.entry(id) {
                    entry.held = Held::Nobody;
                    state.history.relies_on_reconciler = true;
                }
            }
        }
    }
}

impl State {
    fn come_back_as(&mut self, redis: Redis) {
        self.redis = redis;
        // What the reconciler saw was another Redis.
        if let Some(suspect) = self.round.suspect() {
            suspect.there = false;
        }
        self.history.relies_on_reconciler = true;
    }

    /// Whether a worker is in a call whose answer may be lost.
    fn calls(&self, worker: usize) -> bool {
        use crate::state::Doing::{Claim, Commit, Leave, Reclaim, Settle, Withdraw};
        let doing = self.workers[worker].doing;
        matches!(doing, Commit(..) | Claim(_) | Reclaim(..) | Withdraw(..) | Settle(..) | Leave(_))
    }

    fn may_fail(&self, worker: usize) -> bool {
        use crate::state::Doing::{Ask, Handle, Send};
        matches!(self.workers[worker].doing, Handle(_) | Send(..) | Ask(..))
    }
}
