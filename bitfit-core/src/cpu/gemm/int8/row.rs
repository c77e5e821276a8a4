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
        let most = match self.factors {
            None => T::magnitudes(s, self.elements),
            Some(_) => self.products(s),
        };
        let is_finite = s.select(s.lt(most, s.splat(f32::INFINITY)), s.zero(), s.splat(1.0));
        (most, s.reduce_sum(is_finite) == 0.0)
    }

    /// The largest absolute value of the elements of each lane times their factors, NaN where one of them is.
    #[inline(always)]
    fn products<S: Simd>(&self, s: S) -> S::F32 {
        let mut most = [s.zero(); VECTORS];
        let cols = self.elements.len();
        let whole = cols - cols % (VECTORS * S::LANES);
        for at in (0..whole).step_by(VECTORS * S::LANES) {
            let part = self.part(at, VECTORS * S::LANES);
            for (i, most) in most.iter_mut().enumerate() {
                *most = s.max_magnitude(*most, s.abs(part.load(s, i * S::LANES)));
            }
        }
        for at in (whole..cols).step_by(S::LANES) {
            most[0] = s.max_magnitude(most[0], s.abs(self.load(s, at)));
        }
        for i in 1..VECTORS {
            most[0] = s.max_magnitude(most[0], most[i]);
        }
        most[0]
    }

    /// Rounds each element times `scale` to the nearest integer, ties to even. Writes the integers as bytes, those
    /// beyond ±127 as unspecified ones.
    #[inline(always)]
    pub fn round<S: Simd>(&self, s: S, scale: f32, to: &mut [i8]) {
        let scale = s.splat(scale);
        let cols = self.elements.len();
        let whole = cols - cols % (VECTORS * S::LANES);
        for at in (0..whole).step_by(VECTORS * S::LANES) {
            let part = self.part(at, VECTORS * S::LANES);
            let mut scaled = [s.zero(); VECTORS];
            for (i, scaled) in scaled.iter_mut().enumerate() {
                *scaled = s.mul(part.load(s, i * S::LANES), scale);
            }
            s.store_i8x4(&mut to[at..], scaled);
        }
        for at in (whole..cols).step_by(S::LANES) {
            s.store_i8(&mut to[at..cols], s.mul(self.load(s, at), scale));
        }
    }
}
