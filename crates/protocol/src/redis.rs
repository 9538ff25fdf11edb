//! The scripts of `crates/streams/src/lua`, each one step.

use crate::state::{Doing, Entry, EntryId, Hand, Held, Owner, Redis, Seq, State, To, Worker};
use crate::{Mistake, Protocol};

impl Redis {
    /// Whether a stream entry that will be delivered, or a retry, asks for this job.
    pub(crate) fn has(&self, seq: Seq) -> bool {
        self.in_stream(seq) || self.retries.contains(&seq)
    }

    pub(crate) fn in_stream(&self, seq: Seq) -> bool {
        self.entries.iter().any(|entry| entry.seq == seq && entry.held != Held::Nobody)
    }

    pub(crate) fn entry(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// The member is the job: the same one stands in the set once.
    pub(crate) fn add_retry(&mut self, seq: Seq) {
        if let Err(at) = self.retries.binary_search(&seq) {
            self.retries.insert(at, seq);
        }
    }

    /// What a worker held belongs to a process that is no more.
    pub(crate) fn bereave(&mut self, worker: usize) {
        for entry in &mut self.entries {
            if let Held::By { owner, .. } = &mut entry.held
                && *owner == Owner::Worker(worker)
            {
                *owner = Owner::Gone;
            }
        }
    }
}

impl State {
    /// `XADD`.
    pub(crate) fn add(&mut self, seq: Seq) {
        let stored = self.redis.entries.iter().chain(self.backup.iter().flat_map(|backup| &backup.entries));
        let held = self.workers.iter().filter_map(|worker| worker.hand).map(|hand| hand.entry);
        let last = stored.map(|entry| entry.id).chain(held.filter(|id| *id != EntryId::MAX)).max();
        let id = last.map_or(0, |id| id + 1);
        self.redis.entries.push(Entry { id, seq, held: Held::New });
    }

    /// `XREADGROUP … >`, by an idle worker.
    pub(crate) fn read(&mut self, worker: usize) {
        let Some(entry) = self.redis.entries.iter_mut().find(|entry| entry.held == Held::New) else {
            return;
        };
        entry.held = Held::By { owner: Owner::Worker(worker), deliveries: 1 };
        let hand = Hand { entry: entry.id, seq: entry.seq, deliveries: 1 };
        self.workers[worker].hand = Some(hand);
        self.workers[worker].doing = Doing::Load;
    }

    /// `claim.lua`, of an entry that was idle for long enough. Of one that this very process holds still, the work under way
    /// goes on by the new delivery (`Held::hold`).
    pub(crate) fn take_over(&mut self, worker: usize, id: EntryId, protocol: &Protocol) {
        let Some(entry) = self.redis.entry(id) else { return };
        let Held::By { deliveries, .. } = entry.held else { return };
        let counted = u8::from(!protocol.makes(Mistake::TakeoverUncounted));
        let deliveries = deliveries + counted;
        entry.held = Held::By { owner: Owner::Worker(worker), deliveries };
        let seq = entry.seq;
        let worker = &mut self.workers[worker];
        match &mut worker.hand {
            Some(hand) => hand.deliveries = deliveries,
            none => {
                *none = Some(Hand { entry: id, seq, deliveries });
                worker.doing = Doing::Load;
            }
        }
    }

    /// Whether a worker's entry is its own, by the delivery that it knows.
    pub(crate) fn owns(&mut self, worker: usize, deliveries: u8) -> bool {
        let Some(hand) = self.workers[worker].hand else { return false };
        let mine = Held::By { owner: Owner::Worker(worker), deliveries };
        self.redis.entry(hand.entry).is_some_and(|entry| entry.held == mine)
    }

    /// `hand_over.lua`: checks owner and delivery, adds, acknowledges and deletes. Whatever it answers, the worker is done
    /// with its entry.
    pub(crate) fn hand_over(&mut self, worker: usize, to: To, protocol: &Protocol) {
        let Some(hand) = self.workers[worker].hand else { return };
        let by = match to {
            To::Nowhere { by } if !protocol.makes(Mistake::DeletionByLaterDelivery) => by,
            _ => hand.deliveries,
        };
        if to == To::Back {
            self.give_back(worker, protocol);
            self.workers[worker] = Worker::IDLE;
            return;
        }
        self.workers[worker].doing = Doing::Nothing;
        if self.owns(worker, by) || protocol.makes(Mistake::NoFence) {
            match to {
                To::Next(seq) if protocol.makes(Mistake::AckBeforeAdd) => {
                    self.workers[worker].doing = Doing::AddLate(seq);
                }
                To::Next(seq) => self.add(seq),
                To::Retry(seq) => self.redis.add_retry(seq),
                To::Nowhere { .. } | To::Back => {}
            }
            self.redis.entries.retain(|entry| entry.id != hand.entry);
        }
        if self.workers[worker].doing == Doing::Nothing {
            self.workers[worker].hand = None;
        }
    }

    /// `give_back.lua`, by a process that stops in order.
    pub(crate) fn give_back(&mut self, worker: usize, protocol: &Protocol) {
        let Some(hand) = self.workers[worker].hand else { return };
        if self.owns(worker, hand.deliveries)
            && let Some(entry) = self.redis.entry(hand.entry)
        {
            let deliveries = u8::from(!protocol.makes(Mistake::GivenBackAsNew));
            entry.held = Held::By { owner: Owner::Gone, deliveries };
        }
    }

    /// `promote.lua`, of one member.
    pub(crate) fn promote(&mut self, seq: Seq) {
        self.redis.retries.retain(|member| *member != seq);
        self.add(seq);
    }
}
