//! Outliers: the elements of a row that are much larger in absolute value than the rest. A scale that covers them would
//! round all others coarsely.
//!
//! A few channels of BERT's residual stream are of that kind (arXiv 2109.12948, section 3); in all-mpnet-base-v2 they
//! are up to 70 times as large as the median one. So are gradients times the scales of a weight that has a few large
//! rows. The elements larger in absolute value than half the largest are set aside if they are at most
//! [`MAX_OUTLIERS`]; then those larger than half of the largest of the rest, and so on, while the total is at most
//! `MAX_OUTLIERS`. The scale is that of the rest, or 1/128 of the row's own if that is larger. What is set aside is an
//! integer of two digits in this scale, `128 high + factor`, so that sums stay integers. Most rows have more than four
//! elements larger than half the largest, and are rounded as a whole.

use bytemuck::{Pod, Zeroable};

use super::row::Row;
use crate::cpu::{Float, simd::Simd};

/// The most elements of a row that are set aside.
pub(super) const MAX_OUTLIERS: usize = 4;

/// The base of the digits.
const BASE: i32 = 128;

/// The largest outlier, as a multiple of what the largest factor stands for.
pub(super) const MOST_HIGH: f32 = BASE as f32;

/// The most that the outliers add to the sum of a row's factors, in absolute value.
pub(super) const MOST_BEYOND: usize = MAX_OUTLIERS * BASE as usize * 127;

/// The outliers of a row, then entries of no element.
pub(super) type Outliers = [Outlier; MAX_OUTLIERS];

/// The second digit of an element that is set aside; its first one is its factor. The default is of no element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(super) struct Outlier {
    pub column: u32,
    /// 0 only in an entry that is of no element.
    high: i32,
}

impl Outlier {
    /// Splits the integer of a column into its factor and, where that is not all of it, its second digit.
    ///
    /// To nearest, so that the factor of an integer of two digits lies within ±64.
    pub fn split(column: usize, full: i32) -> (i8, Option<Self>) {
        let high = (full + BASE / 2).div_euclid(BASE);
        ((full - BASE * high) as i8, (high != 0).then_some(Self { column: column as u32, high }))
    }

    /// Whether it is of no element.
    pub fn is_none(&self) -> bool {
        self.high == 0
    }

    /// By how much the element is more than its factor.
    pub fn beyond_factor(&self) -> i32 {
        BASE * self.high
    }
}

/// The number of vectors between two checks of the count.
const BLOCK: usize = 4;

/// Which elements of a row are set aside.
#[derive(Clone, Copy)]
pub(super) struct SetAside {
    /// The absolute value above which an element is set aside.
    above: f32,
    /// The largest absolute value of the other elements.
    pub rest: f32,
}

impl<T: Float> Row<'_, T> {
    /// What is set aside of a row whose largest absolute value is `most`, finite and above 0; `by_lane` holds the
    /// largest of each lane. `None` if the row is rounded as a whole.
    #[inline(always)]
    pub fn set_aside<S: Simd>(&self, s: S, by_lane: S::F32, most: f32) -> Option<SetAside> {
        // Nearly every row has more than MAX_OUTLIERS lanes with such an element, and need not be read again.
        let is_above = s.lt(s.splat(0.5 * most), by_lane);
        if s.reduce_sum(s.select(is_above, s.splat(1.0), s.zero())) > MAX_OUTLIERS as f32 {
            return None;
        }
        let (mut found, mut most) = (None, most);
        // Each iteration sets aside at least the largest of the rest.
        while most > 0.0 {
            let above = 0.5 * most;
            let Some(rest) = self.rest(s, above) else { break };
            found = Some(SetAside { above, rest });
            most = rest;
        }
        found
    }

    /// The largest absolute value that is not above `above`; `None` if more are above it than may be set aside.
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
