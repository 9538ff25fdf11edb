//! What there is at one moment: the record, Redis, the processes, the outlet, people, and what has happened so far.

use crate::{Bounds, OutletKind};

/// How often a run or a job was moved on.
pub(crate) type Seq = u8;
/// The id of a stream entry. A lower one was added earlier.
pub(crate) type EntryId = u8;
/// The id of an entry that neither Redis nor its backup has, whoever still holds it.
const GONE: EntryId = EntryId::MAX;

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    pub(crate) record: Record,
    pub(crate) redis: Redis,
    /// What Redis would come back as, where it comes back older.
    pub(crate) backup: Option<Redis>,
    pub(crate) workers: [Worker; 2],
    pub(crate) resume: Resume,
    pub(crate) round: Round,
    pub(crate) people: [Request; 2],
    pub(crate) outlet: Outlet,
    pub(crate) history: History,
    /// Faults that may still happen.
    pub(crate) faults: u8,
}

/// PostgreSQL, as far as one run goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) run: Run,
    /// The open escalation.
    pub(crate) question: Option<Question>,
    /// The ledger's row of the run's key.
    pub(crate) row: Option<Row>,
    /// Rows and deadlines that were written so far: each has the number of its own.
    pub(crate) stamps: u8,
    /// Whether the run has a dead letter.
    pub(crate) letter: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub(crate) seq: Seq,
    /// Links of its chain beside those of its transitions.
    pub(crate) links: u8,
    pub(crate) state: RunState,
    pub(crate) step: Step,
    pub(crate) due: Due,
    /// Whether its present content has an approval.
    pub(crate) approved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RunState {
    Running,
    Waiting,
    Published,
    Rejected,
    Cancelled,
    Dead,
}

impl RunState {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Running | Self::Waiting)
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// The step that approves, or asks a person.
    Judge,
    /// A step that makes another content of what was approved.
    Rewrite,
    /// The step with the effect outside.
    Publish,
}

/// When a run's job is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Due {
    Now,
    /// After a back-off.
    Later,
    /// Once the deadline of the ledger's row has passed.
    AtDeadline,
}

/// An open escalation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) seq: Seq,
    pub(crate) about: Doubt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Doubt {
    /// May it be published?
    Content,
    /// Was it published?
    Publication,
}

/// A row of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Row {
    pub(crate) id: u8,
    /// Which deadline it has: the claim's identity.
    pub(crate) deadline: u8,
    pub(crate) overdue: bool,
    /// Whether a person ordered that it be sent again.
    pub(crate) resend: bool,
    pub(crate) state: RowState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RowState {
    Sent,
    Confirmed,
    Rejected,
    Unknown,
    Abandoned,
}

/// One work stream with its retry set, and the stream of wake-ups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Redis {
    /// In the order of their ids; those that were never delivered come last.
    pub(crate) entries: Vec<Entry>,
    pub(crate) retries: Vec<Seq>,
    /// Wake-ups that are not acknowledged.
    pub(crate) wakes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) id: EntryId,
    pub(crate) seq: Seq,
    pub(crate) held: Held,
}

/// Who holds an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// It was never delivered.
    New,
    /// It is pending.
    By { owner: Owner, deliveries: u8 },
    /// It was delivered, and is pending no more: nobody will ever be given it.
    Nobody,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Worker(usize),
    /// A process that is no more, or that gave it back.
    Gone,
}

/// A worker process, with room for one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Worker {
    pub(crate) hand: Option<Hand>,
    pub(crate) doing: Doing,
}

impl Worker {
    pub(crate) const IDLE: Self = Self { hand: None, doing: Doing::Nothing };
}

/// The entry that a worker holds, or believes to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Hand {
    pub(crate) entry: EntryId,
    pub(crate) seq: Seq,
    pub(crate) deliveries: u8,
}

/// What a worker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Doing {
    Nothing,
    /// Compares the entry with its run.
    Load,
    Handle(Loaded),
    Commit(Loaded, Outcome),
    Claim(Loaded),
    /// Holds a claim, and begins to send.
    Send(Loaded, Claim),
    /// Waits for the outlet's answer.
    Await(Loaded, Claim, Answer),
    /// Asks the outlet about an overdue row.
    Ask(Loaded, Claim),
    /// Takes an overdue row over, since sending again is known to be right.
    Reclaim(Loaded, Claim, Sent),
    /// Sent nothing, and gives its claim back.
    Withdraw(Loaded, Claim),
    Settle(Loaded, Claim, Verdict),
    /// Lost a compare-and-set, and looks again.
    Reload(Loaded),
    Leave(To),
    /// Only by mistake: it acknowledged, and adds the next job.
    AddLate(Seq),
    /// Only by mistake: it handed over, and commits.
    CommitLate(Loaded, Outcome),
    /// Only by mistake: it died in the record, and writes the letter.
    WriteLetter,
}

/// The run as a worker or a person read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Loaded {
    pub(crate) seq: Seq,
    pub(crate) links: u8,
    pub(crate) state: RunState,
    pub(crate) step: Step,
}

/// What a handler reports, or befalls a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It is done.
    Done,
    /// A person is to be asked.
    Escalate,
    /// It failed, and may do better later.
    Retry,
    /// It failed for good.
    Fail,
    /// It was delivered too often.
    Poisoned,
    /// Its effect is put off until the deadline of the ledger's row.
    Postponed,
}

/// A ledger row as a worker saw or wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Claim {
    /// 0 where nothing was claimed, which is a mistake.
    pub(crate) row: u8,
    pub(crate) deadline: u8,
    pub(crate) resend: bool,
    /// As it was found, where somebody before may have sent something.
    pub(crate) found: Option<(u8, bool)>,
}

/// Whether somebody before may have sent something that the outlet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Sent {
    Perhaps,
    Nothing,
}

/// Where a request to the outlet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    UnderWay,
    Accepted,
    Refused,
}

/// What is settled about a post.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Confirmed,
    Rejected,
    Unknown,
}

/// Where an entry goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum To {
    /// On, as this job.
    Next(Seq),
    /// To the retry set, as this job.
    Retry(Seq),
    /// Nowhere, as was decided by this delivery.
    Nowhere { by: u8 },
    /// Back, for whoever takes it over next.
    Back,
}

/// The planner's answer to wake-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Resume {
    Idle,
    /// It read a wake-up and the run's present job.
    Woken(Option<(Seq, Due)>),
    /// It added the job; by mistake, it acknowledged and adds it.
    Acting(Option<(Seq, Due)>),
}

/// A round of the reconciler, about one overdue job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Round {
    Idle,
    /// The record has been read.
    Begun(Suspect),
    /// One of stream and retry set has been looked through.
    Half(Suspect),
    /// Both have, and neither had it.
    Missing(Suspect),
    /// The run stands there still: it is added.
    Adding(Suspect),
}

impl Round {
    pub(crate) fn suspect(&mut self) -> Option<&mut Suspect> {
        match self {
            Self::Idle => None,
            Self::Begun(suspect) | Self::Half(suspect) | Self::Missing(suspect) | Self::Adding(suspect) => {
                Some(suspect)
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Suspect {
    pub(crate) seq: Seq,
    /// Whether Redis has had it at every moment since the round began.
    pub(crate) there: bool,
}

/// What a person has asked of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    None,
    Decide {
        read: Loaded,
        approve: bool,
    },
    Cancel {
        read: Loaded,
    },
    Settle {
        read: Loaded,
        row: u8,
        answer: Settled,
    },
    /// Decided: the planner is to be woken.
    Wake,
    /// Settled: the job is to be added.
    Add(Seq),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Settled {
    Delivered,
    Resend,
    Abandon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Outlet {
    pub(crate) kind: OutletKind,
    /// Requests it accepted.
    pub(crate) accepted: u8,
    /// Requests under way whose sender waits no more.
    pub(crate) adrift: u8,
}

impl Outlet {
    /// A request arrives.
    pub(crate) fn get(&mut self) -> Answer {
        if self.kind == OutletKind::Refuses {
            return Answer::Refused;
        }
        self.accepted += 1;
        Answer::Accepted
    }

    /// Posts that its readers see.
    pub(crate) fn posts(&self) -> u8 {
        if self.kind == OutletKind::Deduplicates { self.accepted.min(1) } else { self.accepted }
    }
}

/// What has happened, as far as properties ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct History {
    /// A bit for each `seq` that a transition left.
    pub(crate) left: u32,
    pub(crate) left_twice: bool,
    pub(crate) ruled: bool,
    pub(crate) decided: bool,
    pub(crate) resends: u8,
    pub(crate) sent_unapproved: bool,
    pub(crate) claimed_for_none: bool,
    pub(crate) confirmation_dropped: bool,
    pub(crate) added_needlessly: bool,
    /// Whether a job may be missing until the reconciler looks: Redis lost something, or who was to wake somebody died.
    pub(crate) relies_on_reconciler: bool,
}

impl State {
    pub(crate) fn new(bounds: &Bounds, outlet: OutletKind) -> Self {
        let approved = bounds.begins == Step::Publish;
        let run =
            Run { seq: 0, links: 0, state: RunState::Running, step: bounds.begins, due: Due::Now, approved };
        let entry = Entry { id: 0, seq: 0, held: Held::New };
        Self {
            record: Record { run, question: None, row: None, stamps: 0, letter: false },
            redis: Redis { entries: vec![entry], ..Redis::default() },
            backup: None,
            workers: [Worker::IDLE; 2],
            resume: Resume::Idle,
            round: Round::Idle,
            people: [Request::None; 2],
            outlet: Outlet { kind: outlet, accepted: 0, adrift: 0 },
            history: History { ruled: approved, ..History::default() },
            faults: bounds.faults,
        }
    }

    /// Brings a state into the form that all states have which differ in names alone: ids are counted anew, and the workers,
    /// who are alike, stand in order.
    pub(crate) fn canonical(mut self) -> Self {
        self.renumber();
        if self.workers[1] < self.workers[0] {
            self.workers.swap(0, 1);
            for entry in self.stored_mut() {
                if let Held::By { owner: Owner::Worker(worker), .. } = &mut entry.held {
                    *worker = 1 - *worker;
                }
            }
        }
        self
    }

    fn stored_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let backup = self.backup.iter_mut().flat_map(|backup| &mut backup.entries);
        self.redis.entries.iter_mut().chain(backup)
    }

    fn renumber(&mut self) {
        let mut ids: Vec<EntryId> = self.stored_mut().map(|entry| entry.id).collect();
        ids.sort_unstable();
        ids.dedup();
        let new = |id: EntryId| {
            ids.binary_search(&id).ok().and_then(|at| EntryId::try_from(at).ok()).unwrap_or(GONE)
        };
        for worker in &mut self.workers {
            if let Some(hand) = &mut worker.hand {
                hand.entry = new(hand.entry);
            }
        }
        for entry in self.stored_mut() {
            entry.id = new(entry.id);
        }
    }
}
