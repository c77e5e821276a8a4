//! Elements far above the rest of their row: with a scale that holds them, all others would be rounded coarsely.
//!
//! A few channels of an encoder's residual stream are tens of times as large as the median one (LLM.int8(), arXiv
//! 2208.07339, section 3), and so are gradients times the scales of a weight that has a few large rows. The elements
//! above half of a row's largest are set aside if there are at most [`MAX_OUTLIERS`]; then those above half of the
//! largest that is left, as long as no more than so many are set aside. The scale is that of the rest. What is set
//! aside is counted in the same scale, by two digits of seven bits: `full = 128 high + factor`, so that sums stay
//! integers. A row with more large elements, as most rows have, is rounded as a whole.

use bytemuck::{Pod, Zeroable};

use crate::cpu::{Float, simd::Simd};

/// The most elements of a row that are set aside.
pub(super) const MAX_OUTLIERS: usize = 4;

/// What an element that is set aside may be at most, in units of the largest factor.
pub(super) const MOST_HIGH: f32 = 128.0;

/// The outliers of a row; those behind the last one have `high` 0.
pub(super) type Outliers = [Outlier; MAX_OUTLIERS];

/// An element that is set aside: `128 high` more than its factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Outlier {
    pub column: u32,
    pub high: i32,
}

/// Vectors that are looked at together.
const BLOCK: usize = 4;

/// The elements of a row, each times the factor of its column.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    pub elements: &'a [T],
    pub factors: Option<&'a [f32]>,
}

/// Which elements of a row are set aside.
#[derive(Clone, Copy)]
pub(super) struct SetAside {
    /// Those larger than this.
    above: f32,
    /// The largest of the others.
    pub rest: f32,
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

    /// What is set aside of a row whose largest element is `most` in size, which is finite and above 0; `None` if the
    /// row is rounded as a whole.
    #[inline(always)]
    pub fn set_aside<S: Simd>(&self, s: S, most: f32) -> Option<SetAside> {
        let (mut found, mut most) = (None, most);
        // Each turn sets aside at least the largest of the rest.
        while most > 0.0 {
            let above = 0.5 * most;
            let Some(rest) = self.rest(s, above) else { break };
            found = Some(SetAside { above, rest });
            most = rest;
        }
        found
    }

    /// The size of the largest element that is not above `above`; `None` if more are above it than may be set aside.
    #[inline(always)]
    fn rest<S: Simd>(&self, s: S, above: f32) -> Option<f32> {
        let cols = self.elements.len();
        let (limit, one) = (s.splat(above), s.splat(1.0));
        let (mut rest, mut number) = (s.zero(), 0.0);
        for block in (0..cols).step_by(BLOCK * S::LANES) {
            let mut in_block = s.zero();
            for at in (block..cols.min(block + BLOCK * S::LANES)).step_by(S::LANES) {
                let size = s.abs(self.load(s, at));
                let is_above = s.lt(limit, size);
                in_block = s.add(in_block, s.select(is_above, one, s.zero()));
                rest = s.max(rest, s.select(is_above, s.zero(), size));
            }
            number += s.reduce_sum(in_block);
            if number > MAX_OUTLIERS as f32 {
                return None;
            }
        }
        Some(s.reduce_max(rest))
    }

    /// The elements that are set aside: their columns and values, and how many they are.
    #[inline(always)]
    pub fn outliers<S: Simd>(&self, s: S, set_aside: SetAside) -> ([(usize, f32); MAX_OUTLIERS], usize) {
        let (mut outliers, mut number) = ([(0, 0.0); MAX_OUTLIERS], 0);
        let cols = self.elements.len();
        for block in (0..cols).step_by(BLOCK * S::LANES) {
            let block = block..cols.min(block + BLOCK * S::LANES);
            let mut most = s.zero();
            for at in block.clone().step_by(S::LANES) {
                most = s.max(most, s.abs(self.load(s, at)));
            }
            if s.reduce_max(most) <= set_aside.above {
                continue;
            }
            for col in block {
                let value = self.elements[col].to_f32() * self.factors.map_or(1.0, |factors| factors[col]);
                if value.abs() > set_aside.above {
                    outliers[number] = (col, value);
                    number += 1;
                }
            }
        }
        (outliers, number)
    }
}
