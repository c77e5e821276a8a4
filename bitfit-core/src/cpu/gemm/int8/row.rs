//! The passes over a row that is rounded to int8.
//!
//! They read several vectors at a time, whose bounds are checked once for all of them, and accumulate them
//! independently of each other, so that none waits for the one before it.

use crate::cpu::{Float, simd::Simd};

/// Vectors that are read at a time.
const VECTORS: usize = 4;

/// The elements of a row, each times the factor of its column.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    pub elements: &'a [T],
    pub factors: Option<&'a [f32]>,
}

impl<T: Float> Row<'_, T> {
    /// The elements from `at` on. Not a closure, which would not be compiled for the instruction set.
    #[inline(always)]
    pub fn load<S: Simd>(&self, s: S, at: usize) -> S::F32 {
        let value = T::load(s, &self.elements[at..]);
        match self.factors {
            None => value,
            Some(factors) => s.mul(value, s.load_partial(&factors[at..])),
        }
    }

    /// `len` elements from `at` on.
    #[inline(always)]
    fn part(&self, at: usize, len: usize) -> Self {
        Self { elements: &self.elements[at..at + len], factors: self.factors.map(|factors| &factors[at..at + len]) }
    }

    /// The largest absolute value of the elements of each lane, and whether all elements are finite.
    #[inline(always)]
    pub fn sizes<S: Simd>(&self, s: S) -> (S::F32, bool) {
        let (mut most, mut zero) = ([s.zero(); VECTORS], [s.zero(); VECTORS]);
        let cols = self.elements.len();
        let whole = cols - cols % (VECTORS * S::LANES);
        for at in (0..whole).step_by(VECTORS * S::LANES) {
            let part = self.part(at, VECTORS * S::LANES);
            for i in 0..VECTORS {
                let value = part.load(s, i * S::LANES);
                most[i] = s.max(most[i], s.abs(value));
                // NaN where an element is not finite.
                zero[i] = s.fma(value, s.zero(), zero[i]);
            }
        }
        for at in (whole..cols).step_by(S::LANES) {
            let value = self.load(s, at);
            most[0] = s.max(most[0], s.abs(value));
            zero[0] = s.fma(value, s.zero(), zero[0]);
        }
        for i in 1..VECTORS {
            most[0] = s.max(most[0], most[i]);
            zero[0] = s.add(zero[0], zero[i]);
        }
        (most[0], s.reduce_sum(zero[0]) == 0.0)
    }

    /// Rounds each element times `scale` to the nearest integer, ties to even. Writes the integers as bytes, those
    /// beyond ±127 as unspecified ones, and returns the sum of the integers.
    #[inline(always)]
    pub fn round<S: Simd>(&self, s: S, scale: f32, to: &mut [i8]) -> f32 {
        // A sum of integers below 2²⁴ is exact in any order.
        let mut sums = [s.zero(); VECTORS];
        let cols = self.elements.len();
        let whole = cols - cols % (VECTORS * S::LANES);
        for at in (0..whole).step_by(VECTORS * S::LANES) {
            let part = self.part(at, VECTORS * S::LANES);
            let to = &mut to[at..at + VECTORS * S::LANES];
            for i in 0..VECTORS {
                let factors = s.round(s.mul(part.load(s, i * S::LANES), s.splat(scale)));
                s.store_i8(&mut to[i * S::LANES..], factors);
                sums[i] = s.add(sums[i], factors);
            }
        }
        for at in (whole..cols).step_by(S::LANES) {
            let factors = s.round(s.mul(self.load(s, at), s.splat(scale)));
            s.store_i8(&mut to[at..cols], factors);
            sums[0] = s.add(sums[0], factors);
        }
        for i in 1..VECTORS {
            sums[0] = s.add(sums[0], sums[i]);
        }
        s.reduce_sum(sums[0])
    }
}
