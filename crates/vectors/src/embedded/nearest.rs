//! The scan: every entry of the same tenant and model, exactly.

use std::cmp::Ordering;

use chrono::DateTime;
use uuid::Uuid;

use super::arena::{Arena, Meta};
use super::codes::{Code, dot};
use crate::Neighbour;

/// What to visit and how much to keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan {
    pub(crate) space: u32,
    /// Microseconds since 1970; what was received before has left the window.
    pub(crate) cutoff: i64,
    pub(crate) k: usize,
    pub(crate) before: Option<(i64, Uuid)>,
}

impl Scan {
    #[inline(always)]
    fn sees(&self, meta: &Meta) -> bool {
        meta.space == self.space
            && meta.received_at >= self.cutoff
            && self.before.is_none_or(|limit| (meta.received_at, meta.run_id) < limit)
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    similarity: f32,
    meta: Meta,
}

impl Found {
    /// Nearest first; of equally near ones the earlier.
    fn order(&self, other: &Self) -> Ordering {
        let key = |found: &Self| (found.meta.received_at, found.meta.run_id, found.meta.id);
        other.similarity.total_cmp(&self.similarity).then_with(|| key(self).cmp(&key(other)))
    }
}

pub(crate) fn nearest(arena: &Arena, code: &Code, scan: Scan) -> Vec<Neighbour> {
    pulp::Arch::new().dispatch(Pass { arena, code, scan }).into_iter().map(neighbour).collect()
}

/// One scan, compiled for each instruction set; `pulp` chooses by what this processor has. Everything within is
/// inlined always, since a call would leave the instruction set, also a call of a closure.
struct Pass<'a> {
    arena: &'a Arena,
    code: &'a Code,
    scan: Scan,
}

impl pulp::WithSimd for Pass<'_> {
    type Output = Vec<Found>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> Vec<Found> {
        let mut best = Best { found: Vec::new(), k: self.scan.k };
        for (metas, bytes) in self.arena.blocks() {
            for (meta, bytes) in metas.iter().zip(bytes.chunks_exact(self.code.bytes.len())) {
                if self.scan.sees(meta) {
                    let product = dot(bytes, &self.code.bytes) as f32;
                    best.offer(product * meta.inverse_length * self.code.inverse_length, meta);
                }
            }
        }
        best.found
    }
}

/// The best so far, in order: `k` is small, so a sorted list beats a heap.
struct Best {
    found: Vec<Found>,
    k: usize,
}

impl Best {
    #[inline(always)]
    fn offer(&mut self, similarity: f32, meta: &Meta) {
        let full = self.found.len() >= self.k;
        if full && self.found.last().is_none_or(|worst| similarity < worst.similarity) {
            return;
        }
        self.insert(Found { similarity, meta: *meta });
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, new: Found) {
        let place = self.found.partition_point(|old| old.order(&new) == Ordering::Less);
        self.found.insert(place, new);
        self.found.truncate(self.k);
    }
}

fn neighbour(found: Found) -> Neighbour {
    Neighbour {
        id: found.meta.id,
        run_id: found.meta.run_id,
        received_at: DateTime::from_timestamp_micros(found.meta.received_at).unwrap_or_default(),
        // Rounding may leave the sphere by a hair.
        similarity: found.similarity.clamp(-1.0, 1.0),
    }
}
