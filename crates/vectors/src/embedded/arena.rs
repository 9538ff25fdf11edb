//! Where the entries lie: in blocks, so that growing copies nothing and no more than a block stands empty.

use uuid::Uuid;

use super::codes::Code;

/// Entries in one block: 0.4 MB at 384 dimensions.
const BLOCK: usize = 1024;

/// What is kept beside a vector.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meta {
    pub(crate) id: Uuid,
    pub(crate) run_id: Uuid,
    /// Microseconds since 1970, as the record keeps it.
    pub(crate) received_at: i64,
    /// Which tenant and model, see `Window`.
    pub(crate) space: u32,
    pub(crate) inverse_length: f32,
}

#[derive(Debug)]
struct Block {
    metas: Vec<Meta>,
    bytes: Vec<i8>,
}

/// Entries by slot, 0 to `len`, without gaps.
pub(crate) struct Arena {
    blocks: Vec<Block>,
    dimensions: usize,
    len: usize,
}

impl Arena {
    pub(crate) fn new(dimensions: usize) -> Self {
        Self { blocks: Vec::new(), dimensions, len: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, meta: Meta, code: &Code) -> usize {
        if self.len == self.blocks.len() * BLOCK {
            self.blocks.push(Block {
                metas: Vec::with_capacity(BLOCK),
                bytes: Vec::with_capacity(BLOCK * self.dimensions),
            });
        }
        let slot = self.len;
        let block = &mut self.blocks[slot / BLOCK];
        block.metas.push(meta);
        block.bytes.extend_from_slice(&code.bytes);
        self.len += 1;
        slot
    }

    pub(crate) fn replace(&mut self, slot: usize, meta: Meta, code: &Code) {
        let (block, at, dimensions) = (&mut self.blocks[slot / BLOCK], slot % BLOCK, self.dimensions);
        block.metas[at] = meta;
        block.bytes[at * dimensions..(at + 1) * dimensions].copy_from_slice(&code.bytes);
    }

    /// Fills the gap with the last entry, whose id is answered where it moved.
    pub(crate) fn swap_remove(&mut self, slot: usize) -> Option<Uuid> {
        let last = self.len.checked_sub(1)?;
        let block = &mut self.blocks[last / BLOCK];
        let meta = block.metas.pop()?;
        let bytes = block.bytes.split_off(block.metas.len() * self.dimensions);
        if block.metas.is_empty() {
            self.blocks.pop();
        }
        self.len = last;
        if slot == last {
            return None;
        }
        let code = Code { bytes, inverse_length: meta.inverse_length };
        self.replace(slot, meta, &code);
        Some(meta.id)
    }

    pub(crate) fn metas(&self) -> impl Iterator<Item = &Meta> {
        self.blocks.iter().flat_map(|block| &block.metas)
    }

    /// The entries of each block, and their bytes one after another.
    #[inline(always)]
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (&[Meta], &[i8])> {
        self.blocks.iter().map(
            #[inline(always)]
            |block| (block.metas.as_slice(), block.bytes.as_slice()),
        )
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let blocks: usize = self
            .blocks
            .iter()
            .map(|block| block.metas.capacity() * size_of::<Meta>() + block.bytes.capacity())
            .sum();
        blocks + self.blocks.capacity() * size_of::<Block>()
    }
}
