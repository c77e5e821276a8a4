//! The free blocks of a range of addresses that can grow at its end.
//!
//! A request takes the lowest free block that is large enough, so that the same requests get the same addresses
//! whatever was before, and memory is used from the beginning of the range.

use std::collections::BTreeMap;

/// Blocks start at multiples of this many bytes, which is enough for every access of a kernel and of a library.
pub const ALIGNMENT: u64 = 256;

/// The free blocks below the end of what is in use.
#[derive(Debug, Default)]
pub struct Blocks {
    /// The size of each free block by its start; no two of them touch, and none touches the end.
    free: BTreeMap<u64, u64>,
    end: u64,
}

impl Blocks {
    /// The start of a block of `bytes` bytes, rounded up to a multiple of [`ALIGNMENT`].
    pub fn take(&mut self, bytes: u64) -> u64 {
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        let Some((start, size)) =
            self.free.iter().find(|(_, size)| **size >= bytes).map(|(start, size)| (*start, *size))
        else {
            self.end += bytes;
            return self.end - bytes;
        };
        self.free.remove(&start);
        if size > bytes {
            self.free.insert(start + bytes, size - bytes);
        }
        start
    }

    /// Returns a block that was taken with the same size.
    pub fn give(&mut self, start: u64, bytes: u64) {
        let (mut start, mut size) = (start, bytes.next_multiple_of(ALIGNMENT));
        if let Some(behind) = self.free.remove(&(start + size)) {
            size += behind;
        }
        let before = self.free.range(..start).next_back().map(|(start, size)| (*start, *size));
        if let Some((first, len)) = before.filter(|(first, len)| first + len == start) {
            self.free.remove(&first);
            (start, size) = (first, size + len);
        }
        if start + size == self.end {
            self.end = start;
        } else {
            self.free.insert(start, size);
        }
    }

    /// The end of the last block in use.
    pub fn end(&self) -> u64 {
        self.end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitfit_core::Random;

    #[test]
    fn the_lowest_block_that_is_large_enough_is_taken_and_neighbours_become_one() {
        let mut blocks = Blocks::default();
        let [a, b, c, d] = [100, 1000, 256, 1].map(|bytes| blocks.take(bytes));
        assert_eq!(([a, b, c, d], blocks.end()), ([0, 256, 1280, 1536], 1792));
        blocks.give(a, 100);
        blocks.give(c, 256);
        assert_eq!(blocks.take(300), 1792, "neither is large enough");
        blocks.give(b, 1000);
        assert_eq!(blocks.take(1500), 0, "the three are one");
        blocks.give(1792, 300);
        blocks.give(d, 1);
        assert_eq!(blocks.end(), 1536);
        blocks.give(0, 1500);
        assert_eq!((blocks.end(), blocks.free.len()), (0, 0));
    }

    #[test]
    fn blocks_never_overlap_and_the_same_requests_get_the_same_ones() {
        let script = |blocks: &mut Blocks, seed| {
            let mut random = Random::new(seed, 0);
            let (mut taken, mut starts): (Vec<(u64, u64)>, Vec<u64>) = Default::default();
            for _ in 0..400 {
                if !taken.is_empty() && random.below(2) == 0 {
                    let (start, bytes) = taken.swap_remove(random.below(taken.len() as u32) as usize);
                    blocks.give(start, bytes);
                } else {
                    let bytes = u64::from(1 + random.below(5000));
                    let start = blocks.take(bytes);
                    let apart = |&(other, size): &(u64, u64)| start >= other + size || start + bytes <= other;
                    assert!(
                        taken.iter().all(apart) && start.is_multiple_of(ALIGNMENT) && start + bytes <= blocks.end()
                    );
                    taken.push((start, bytes));
                    starts.push(start);
                }
            }
            taken.into_iter().for_each(|(start, bytes)| blocks.give(start, bytes));
            assert_eq!((blocks.end(), blocks.free.len()), (0, 0));
            starts
        };
        let mut blocks = Blocks::default();
        let first = script(&mut blocks, 1);
        script(&mut blocks, 2);
        assert_eq!(script(&mut blocks, 1), first);
    }
}
