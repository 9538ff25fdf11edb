//! The hand-over protocol as a model that a checker walks through, every state of it.
//!
//! One run goes from `judge` to `publish`. Two worker processes, a planner with its reconciler, two people at the gateway, an
//! outlet, the record and Redis are each a handful of small values ([`State`]); each step of `ARCHITECTURE.md`, _The
//! hand-over protocol_, is an action of its own ([`Action`]), and between any two of them a process may die, stop or be slow,
//! an answer may be lost, and Redis may forget. How much of that happens in one walk is bounded ([`Bounds`]), so that there
//! are finitely many states, and the [`invariants`] are held against every one. [`Mistake`]s are protocols that are wrong in
//! one place; the checker finds each, which shows that it would find others.
//!
//! The crate stands beside `testkit`, since it is a library that no shipped program uses, and not in `tests`, which builds
//! the whole fleet: it needs the checker alone, and none of Tidemill's crates. What it says of them is kept true by who
//! changes them; each file names the files that it models.

mod bounds;
mod calm;
mod faults;
mod people;
mod planner;
mod properties;
mod record;
mod redis;
mod state;
mod worker;

use std::sync::Arc;

use stateright::{Model, Property};

use calm::Calm;
use state::{Answer, Due, RunState, Seq};

pub use bounds::Bounds;
pub use faults::{Fault, FaultKind};
pub use people::Wish;
pub use planner::Plan;
pub use properties::{examples, invariants, names};
pub use state::{Outcome, State, Step};
pub use worker::Work;

/// The protocol, right or with mistakes.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// How far it is walked.
    bounds: Bounds,
    /// What is wrong with it.
    mistakes: Vec<Mistake>,
    /// Whether it is examples that the checker looks for.
    shows: bool,
    calm: Arc<Calm>,
}

/// What an outlet can do for whoever asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OutletKind {
    /// It cannot say what it has.
    CannotTell,
    /// It says what it has, and takes a second copy.
    Tells,
    /// It says what it has, and refuses a second copy.
    Deduplicates,
    /// It refuses the content, and says so.
    Refuses,
}

/// One thing that is wrong with the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mistake {
    /// The hand-over acknowledges, and adds in another call.
    AckBeforeAdd,
    /// The hand-over asks neither who holds the entry nor by which delivery.
    NoFence,
    /// A worker hands over, and commits then.
    HandOverBeforeCommit,
    /// A worker commits whatever has become of the run.
    NoCompareAndSet,
    /// A takeover does not count as a delivery.
    TakeoverUncounted,
    /// What is given back counts as never delivered.
    GivenBackAsNew,
    /// An entry that was found to be behind at its first delivery is deleted, though it was delivered anew since.
    DeletionByLaterDelivery,
    /// Who finds that the run moved on as it claims deletes its entry, without a look at how far.
    StaleClaimDeletes,
    /// A job that is still to be done is added anew, and its entry deleted.
    RequeuedAsNew,
    /// The ledger's row is written once the outlet has answered.
    SentAfterSending,
    /// Who finds an overdue row sends again without asking.
    BlindResend,
    /// A claim looks for no approval.
    ClaimWithoutApproval,
    /// A claim does not compare the run with what was loaded.
    ClaimWithoutSeq,
    /// A worker that settles compares the run's chain with what it loaded, to which the ledger may have added since.
    SettledByChain,
    /// An outlet's late confirmation of a row that is `unknown` by then is dropped.
    LateAnswerDropped,
    /// A cancellation does not look whether a post is under way.
    CancelWithoutLedger,
    /// A decision moves the run on, whatever has become of it.
    ResumeWithoutCompareAndSet,
    /// Who took a row over, and sent nothing, deletes it where the outlet had nothing, though its first sender may still send.
    ReclaimedRowWithdrawn,
    /// Who asked about a row that its sender gave back meanwhile makes the run wait for an answer about it.
    VanishedRowSettled,
    /// A person's answer about a post settles the ledger alone, though the run came to wait for it since it was read.
    SettledAlone,
    /// The planner acknowledges a wake-up, and adds the job then.
    WakeUpAcknowledgedFirst,
    /// An escalation that nobody answers in time counts as approved.
    SilenceApproves,
    /// A run dies, and its letter is written in another transaction.
    LetterAfterDeath,
    /// The reconciler adds what is overdue without a look at what is there.
    ReconcilerWithoutCompare,
    /// The reconciler looks through the stream first and through the retry set then.
    RetriesReadLast,
    /// There is no reconciler.
    NobodyReconciles,
    /// Nobody settles rows whose sender is gone and whose run moved on.
    RowsLeftSent,
}

/// Where the code is not what the model holds right: `ARCHITECTURE.md` says what each costs.
pub const OF_THE_CODE: [Mistake; 4] = [
    Mistake::RequeuedAsNew,
    Mistake::LateAnswerDropped,
    Mistake::SettledByChain,
    Mistake::ReclaimedRowWithdrawn,
];

/// A step of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Of a worker.
    Worker(usize, Work),
    /// Of the planner.
    Planner(Plan),
    /// A person begins a request: what it is about is read.
    Wish(usize, Wish),
    /// The gateway goes on with a person's request.
    Gateway(usize),
    /// The outlet gets what a worker sends, and answers.
    Answer(usize),
    /// The outlet gets what nobody waits for any more.
    Arrive,
    /// What nobody waits for any more is lost on its way.
    GoAstray,
    /// A retry goes back to the stream.
    Promote(u8),
    /// The run's job is due.
    DuePasses,
    /// The deadline of the ledger's row passes.
    DeadlinePasses,
    /// Redis writes what it will come back as.
    Save,
    /// A fault.
    Fault(Fault),
}

impl Protocol {
    /// The right one.
    #[must_use]
    pub fn right(bounds: Bounds) -> Self {
        Self { bounds, mistakes: vec![], shows: false, calm: Arc::default() }
    }

    /// One that is wrong in these places.
    #[must_use]
    pub fn wrong(bounds: Bounds, mistakes: &[Mistake]) -> Self {
        Self { mistakes: mistakes.to_vec(), ..Self::right(bounds) }
    }

    /// The right one, in which the checker looks for examples.
    #[must_use]
    pub fn shown(bounds: Bounds) -> Self {
        Self { shows: true, ..Self::right(bounds) }
    }

    pub(crate) fn makes(&self, mistake: Mistake) -> bool {
        self.mistakes.contains(&mistake)
    }

    /// The step after this one.
    pub(crate) fn after(&self, step: Step) -> Step {
        if step == Step::Judge && self.bounds.rewrites { Step::Rewrite } else { Step::Publish }
    }

    /// What happens without a fault.
    fn steps(&self, state: &State, out: &mut Vec<Action>) {
        for worker in 0..state.workers.len() {
            let mut work = Vec::new();
            state.work(worker, self, &mut work);
            out.extend(work.into_iter().map(|work| Action::Worker(worker, work)));
            let mut takeovers = Vec::new();
            state.takeovers(worker, &mut takeovers);
            let free = takeovers.into_iter().filter(|(_, is_held)| !is_held);
            out.extend(free.map(|(id, _)| Action::Worker(worker, Work::TakeOver(id))));
            if let state::Doing::Await(_, _, Answer::UnderWay) = state.workers[worker].doing {
                out.push(Action::Answer(worker));
            }
        }
        if state.outlet.adrift > 0 {
            out.extend([Action::Arrive, Action::GoAstray]);
        }
        let mut plans = Vec::new();
        state.planning(self, &mut plans);
        out.extend(plans.into_iter().map(Action::Planner));
        for person in 0..state.people.len() {
            if state.people[person] != state::Request::None {
                out.push(Action::Gateway(person));
                continue;
            }
            let mut wishes = Vec::new();
            state.wishes(person, self, &mut wishes);
            out.extend(wishes.into_iter().map(|wish| Action::Wish(person, wish)));
        }
        out.extend(state.promotable().map(Action::Promote));
        if state.may_become_due() {
            out.push(Action::DuePasses);
        }
        if state.deadline_runs() && state.is_quiet() {
            out.push(Action::DeadlinePasses);
        }
    }

    fn apply(&self, state: &mut State, action: Action) {
        match action {
            Action::Worker(worker, work) => state.step(worker, work, self),
            Action::Planner(plan) => state.plan(plan, self),
            Action::Wish(person, wish) => state.begin(person, wish),
            Action::Gateway(person) => state.carry_on(person, self),
            Action::Answer(worker) => state.answer(worker),
            Action::Arrive => {
                state.outlet.adrift -= 1;
                state.outlet.get();
            }
            Action::GoAstray => state.outlet.adrift -= 1,
            Action::Promote(seq) => state.promote(seq),
            Action::DuePasses => state.record.run.due = Due::Now,
            Action::DeadlinePasses => state.pass_deadline(),
            Action::Save => state.backup = Some(state.redis.clone()),
            Action::Fault(fault) => {
                state.faults -= 1;
                self.befall(state, fault);
            }
        }
        state.watch_suspect();
    }
}

impl State {
    fn answer(&mut self, worker: usize) {
        if let state::Doing::Await(_, _, answer) = &mut self.workers[worker].doing {
            *answer = self.outlet.get();
        }
    }

    pub(crate) fn pass_deadline(&mut self) {
        if let Some(row) = &mut self.record.row {
            row.overdue = true;
        }
    }

    pub(crate) fn deadline_runs(&self) -> bool {
        self.record.row.is_some_and(|row| !row.overdue)
    }

    /// Whether nobody is at work. Deadlines of claims and the reconciler's patience are long beside what a living process
    /// takes: where they end while one is at work, it is slow.
    pub(crate) fn is_quiet(&self) -> bool {
        self.workers.iter().all(|worker| worker.hand.is_none())
            && !self
                .people
                .iter()
                .any(|request| matches!(request, state::Request::Wake | state::Request::Add(_)))
            && self.redis.wakes == 0
            && self.resume == state::Resume::Idle
    }

    fn may_become_due(&self) -> bool {
        match self.record.run.due {
            Due::Now => false,
            Due::Later => self.record.run.state == RunState::Running,
            Due::AtDeadline => self.record.run.state == RunState::Running && !self.deadline_runs(),
        }
    }

    /// Retries whose time has come. What the run no longer stands at is due some time.
    fn promotable(&self) -> impl Iterator<Item = Seq> {
        let run = &self.record.run;
        let due = run.due == Due::Now || run.state != RunState::Running;
        self.redis.retries.iter().copied().filter(move |seq| due || *seq != run.seq)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.bounds.outlets.iter().map(|outlet| State::new(&self.bounds, *outlet)).collect()
    }

    fn actions(&self, state: &State, out: &mut Vec<Action>) {
        self.steps(state, out);
        self.faults(state, out);
        if state.faults > 0 && state.backup.is_none() && self.bounds.kinds.contains(&FaultKind::Older) {
            out.push(Action::Save);
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        self.apply(&mut next, action);
        Some(next.canonical())
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.record.run.seq <= 12 && state.record.stamps <= 8
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.shows { examples() } else { invariants() }
    }
}
