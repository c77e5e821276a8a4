//! Small f32 memory for the length of an op: partial sums, a head's rows, a bias in one piece. A thread lends it out and takes
//! it back, so that from the second step of a shape on nobody asks the allocator.

use std::{
    cell::RefCell,
    mem,
    ops::{Deref, DerefMut},
};

use super::Line;

/// Vectors that a thread keeps. Ops nest a few deep at most.
const KEPT: usize = 8;

thread_local! {
    static FREE: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
}

/// f32 on loan from the thread that made it, the first at the beginning of a cache line; they go to the thread that drops it.
#[derive(Debug)]
pub(crate) struct ThreadScratch {
    lines: Vec<Line>,
    len: usize,
}

impl ThreadScratch {
    /// `len` elements that hold anything.
    pub fn unspecified(len: usize) -> Self {
        let count = len.div_ceil(Line::LEN);
        let mut lines = FREE.with_borrow_mut(|free| take(free, count));
        if lines.capacity() < count {
            // What it held need not move to where it grows.
            lines = Vec::with_capacity(count);
        }
        lines.resize(count, Line::ZERO);
        Self { lines, len }
    }

    /// `len` times `value`.
    pub fn filled(len: usize, value: f32) -> Self {
        let mut lent = Self::unspecified(len);
        lent.fill(value);
        lent
    }

    /// Slices, one behind the other.
    pub fn concat<'a>(parts: impl Iterator<Item = &'a [f32]> + Clone) -> Self {
        let mut lent = Self::unspecified(parts.clone().map(<[f32]>::len).sum());
        let mut to = lent.as_mut_slice();
        for part in parts {
            let (own, rest) = to.split_at_mut(part.len());
            own.copy_from_slice(part);
            to = rest;
        }
        lent
    }

    fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// The smallest that is large enough, or else the largest.
fn take<T>(free: &mut Vec<Vec<T>>, len: usize) -> Vec<T> {
    let fits = |vector: &Vec<T>| vector.capacity() >= len;
    let best = (0..free.len()).min_by_key(|&i| match fits(&free[i]) {
        true => (0, free[i].capacity()),
        false => (1, usize::MAX - free[i].capacity()),
    });
    best.map_or_else(Vec::new, |i| free.swap_remove(i))
}

impl Deref for ThreadScratch {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for ThreadScratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        self.as_mut_slice()
    }
}

impl Drop for ThreadScratch {
    fn drop(&mut self) {
        let lines = mem::take(&mut self.lines);
        // A thread that is ending has no list any more.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(lines);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_is_lent_again() {
        let first = ThreadScratch::unspecified(100);
        let at = first.as_ptr();
        drop(first);
        let second = ThreadScratch::filled(60, 2.0);
        assert_eq!((second.as_ptr(), &*second), (at, &[2.0; 60][..]));
        assert_ne!(ThreadScratch::unspecified(60).as_ptr(), at, "still lent");
    }

    #[test]
    fn the_smallest_that_fits_is_taken_and_otherwise_the_largest() {
        let mut free: Vec<Vec<u8>> = [30, 10, 20].map(Vec::with_capacity).into();
        assert_eq!(take(&mut free, 15).capacity(), 20);
        assert_eq!(take(&mut free, 40).capacity(), 30);
        assert_eq!(take(&mut free, 1).capacity(), 10);
        assert_eq!(take(&mut free, 1).capacity(), 0);
    }

    #[test]
    fn parts_lie_one_behind_the_other() {
        assert_eq!(&*ThreadScratch::concat([&[1.0, 2.0][..], &[], &[3.0]].into_iter()), [1.0, 2.0, 3.0]);
    }
}
