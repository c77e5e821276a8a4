//! Dropout masks as a function of seed, step, site and element. No mask is stored: backward generates it again, and the
//! mask is the same for every number of threads and on every device.
//!
//! The generator is Philox. An element is decided by 16 bits, so the drop probability is rounded to a multiple of 2⁻¹⁶,
//! and the elements that are kept are scaled by the inverse of the rounded keep probability: the expectation is exact.
//!
//! Sixteen blocks of the generator, with a counter each, decide a group of 128 elements: half-word j of block l decides
//! element `16 j + l`. A vector of sixteen counters thus yields eight vectors of sixteen elements without moving bits
//! between lanes, and a GPU thread that generates one block decides eight elements that are sixteen apart.
//!
//! Elements are numbered over the whole batch. A pass over a part of one has a [`BatchOffset`], and numbers its own
//! from there on.

use crate::cpu::simd::{self, Isa, Kernel, Simd};
use crate::rng::{BatchOffset, RowsOf, philox, philox_lanes};

/// The seed of the dropout masks of one training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The seed of the run.
    pub run: u64,
    /// The number of the optimizer step, so that the masks of every step differ: below 2³² in a network with dropout,
    /// which the generator's counter has no more room for.
    pub step: u64,
}

/// The dropout mask of one site of the network in one step; for a pass over a part of a batch, that part of the mask.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    run: u64,
    step: u32,
    site: u32,
    /// Elements whose 16 random bits are below this are dropped.
    threshold: u32,
    /// Where the pass stands in its batch, what the site has rows of, and the number of elements of a row.
    offset: BatchOffset,
    rows: RowsOf,
    row_elements: u64,
}

/// The number of blocks whose elements are interleaved.
const LANES: usize = 16;
/// The number of elements that these blocks decide.
pub(crate) const GROUP: usize = 8 * LANES;

impl Dropout {
    /// The mask of a site with drop probability `p`, rounded to a multiple of 2⁻¹⁶; `None` if that is zero.
    ///
    /// # Panics
    /// Unless `0 <= p < 1` and the step is below 2³².
    pub fn new(seed: Seed, site: u32, p: f32) -> Option<Self> {
        assert!((0.0..1.0).contains(&p), "a dropout probability of {p}");
        let threshold = (p * 65536.0).round() as u32;
        let threshold = (threshold > 0).then_some(threshold.min(65535))?;
        let step = u32::try_from(seed.step).expect("a step below 2^32");
        let offset = BatchOffset::default();
        Some(Self { run: seed.run, step, site, threshold, offset, rows: RowsOf::Tokens, row_elements: 0 })
    }

    /// The part of the mask that begins at `offset`, where the site has rows of this kind with `row_elements` elements
    /// each. The number of its last element must not exceed 64 bits.
    #[must_use]
    pub fn in_batch(self, offset: BatchOffset, rows: RowsOf, row_elements: u64) -> Self {
        Self { offset, rows, row_elements, ..self }
    }

    /// The mask without its first `rows` rows; [`Dropout::in_batch`] says beforehand how long a row is.
    #[must_use]
    pub fn behind(self, rows: usize) -> Self {
        let count = |of| if of == self.rows { rows } else { 0 };
        let [tokens, sequences, outputs] = [RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs].map(count);
        Self { offset: self.offset.after(tokens, sequences, outputs), ..self }
    }

    /// The number, in the mask of the batch, of the first element of this part.
    pub fn first(&self) -> u64 {
        self.offset.rows(self.rows) * self.row_elements
    }

    /// Where the pass stands in its batch.
    pub fn offset(&self) -> BatchOffset {
        self.offset
    }

    /// What the site has rows of.
    pub fn rows(&self) -> RowsOf {
        self.rows
    }

    /// The number of elements of a row.
    pub fn row_elements(&self) -> u64 {
        self.row_elements
    }

    /// The factor of the elements that are kept, `1 / (1 - p)`.
    pub fn scale(&self) -> f32 {
        65536.0 / (65536 - self.threshold) as f32
    }

    /// The number of the site, in the order of the calls on the tape.
    pub fn site(&self) -> u32 {
        self.site
    }

    /// The generator's key: the seed of the run.
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The last word of the generator's counter: the number of the step.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// The threshold: elements whose 16 random bits are below it are dropped.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The factor of one element of this part, 0 or [`scale`](Dropout::scale): the specification of the mask.
    pub fn factor(&self, element: u64) -> f32 {
        let element = self.first() + element;
        let (group, within) = (element / GROUP as u64, (element % GROUP as u64) as usize);
        let (lane, half_word) = (within % LANES, within / LANES);
        let block = group * LANES as u64 + lane as u64;
        let word = philox(self.counter(block), self.run)[half_word / 2];
        let bits = if half_word.is_multiple_of(2) { word & 0xffff } else { word >> 16 };
        if bits >= self.threshold { self.scale() } else { 0.0 }
    }

    /// Writes the factors of the elements `first .. first + out.len()` of this part, using the instruction set `isa`.
    pub fn factors(&self, isa: Isa, first: u64, out: &mut [f32]) {
        simd::dispatch(isa, Factors { dropout: *self, first: self.first() + first, out });
    }

    #[inline(always)]
    fn counter(&self, block: u64) -> [u32; 4] {
        [block as u32, (block >> 32) as u32, self.site, self.step]
    }

    /// Writes the factors of group number `group`.
    #[inline(always)]
    fn group<S: Simd>(&self, s: S, group: u64, out: &mut [f32; GROUP]) {
        // A group starts at a multiple of sixteen blocks, so its counters differ only in the lowest word.
        let [first, c1, c2, c3] = self.counter(group * LANES as u64);
        let (threshold, scale) = (s.splat(self.threshold as f32), s.splat(self.scale()));
        for lane in (0..LANES).step_by(S::LANES) {
            let [c1, c2, c3] = [c1, c2, c3].map(|word| s.splat_u32(word));
            let words = philox_lanes(s, [s.count_u32(first + lane as u32), c1, c2, c3], self.run);
            for (i, word) in words.into_iter().enumerate() {
                let (high, low) = s.halves_u32(word);
                for (j, bits) in [low, high].into_iter().enumerate() {
                    let factor = s.select(s.lt(bits, threshold), s.zero(), scale);
                    s.store(&mut out[(2 * i + j) * LANES + lane..], factor);
                }
            }
        }
    }
}

struct Factors<'a> {
    dropout: Dropout,
    /// The number of the first element in the mask of the batch.
    first: u64,
    out: &'a mut [f32],
}

impl Kernel for Factors<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = self.first;
        let mut rest = self.out;
        while !rest.is_empty() {
            let skip = (at % GROUP as u64) as usize;
            let take = (GROUP - skip).min(rest.len());
            let (head, tail) = rest.split_at_mut(take);
            match <&mut [f32; GROUP]>::try_from(&mut *head) {
                Ok(group) => self.dropout.group(s, at / GROUP as u64, group),
                Err(_) => {
                    let mut group = [0.0; GROUP];
                    self.dropout.group(s, at / GROUP as u64, &mut group);
                    head.copy_from_slice(&group[skip..skip + take]);
                }
            }
            at += take as u64;
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_draws_the_specified_factors_from_any_starting_point() {
        let site = Dropout::new(Seed { run: 0x1234_5678_9abc, step: 3 }, 2, 0.1).unwrap();
        for isa in Isa::supported() {
            for first in [0, 1, 16, 100, 127, 128, (7 << 32) * GROUP as u64 + 5] {
                let mut part = vec![0.0; 300];
                site.factors(isa, first, &mut part);
                let expected: Vec<f32> = (0..300).map(|i| site.factor(first + i)).collect();
                assert_eq!(part, expected, "{isa} from {first}");
            }
        }
    }

    #[test]
    fn the_parts_of_a_mask_are_those_of_the_batch() {
        let whole = Dropout::new(Seed { run: 5, step: 3 }, 2, 0.3).unwrap();
        // Also beyond 32 bits of elements, of blocks, and of rows.
        for (tokens, row_elements) in [(0, 7), (1, 1), (3, 37), (1 << 31, 64), (1 << 33, 1024), (3, 12 << 32)] {
            let offset = BatchOffset { tokens, sequences: 1, outputs: 2 };
            let part = whole.in_batch(offset, RowsOf::Tokens, row_elements);
            assert_eq!(part.first(), tokens * row_elements);
            let expected: Vec<f32> = (0..300).map(|i| whole.factor(part.first() + 5 + i)).collect();
            assert_eq!((0..300).map(|i| part.factor(5 + i)).collect::<Vec<_>>(), expected);
            for isa in Isa::supported() {
                let mut found = vec![0.0; 300];
                part.factors(isa, 5, &mut found);
                assert_eq!(found, expected, "{isa} from row {tokens} of {row_elements}");
            }
        }
        let offset = BatchOffset { tokens: 9, sequences: 1, outputs: 2 };
        let firsts = [RowsOf::Tokens, RowsOf::Sequences, RowsOf::Outputs].map(|of| whole.in_batch(offset, of, 10));
        assert_eq!(firsts.map(|part| part.first()), [90, 10, 20]);
    }

    #[test]
    fn drops_the_stated_share_and_keeps_the_mean() {
        let site = Dropout::new(Seed { run: 1, step: 0 }, 0, 0.1).unwrap();
        let mut factors = vec![0.0; 1 << 20];
        site.factors(Isa::selected(), 0, &mut factors);
        let dropped = factors.iter().filter(|&&f| f == 0.0).count() as f64 / factors.len() as f64;
        let mean = factors.iter().map(|&f| f64::from(f)).sum::<f64>() / factors.len() as f64;
        // Six standard deviations of a binomial with 2²⁰ draws.
        assert!((dropped - 0.1).abs() < 0.0018, "{dropped}");
        assert!((mean - 1.0).abs() < 0.002, "{mean}");
    }

    #[test]
    fn seeds_steps_and_sites_draw_different_masks() {
        let draw = |run, step, site| {
            let mut out = vec![0.0; 64];
            Dropout::new(Seed { run, step }, site, 0.5).unwrap().factors(Isa::selected(), 0, &mut out);
            out
        };
        let base = draw(0, 0, 0);
        assert!(base != draw(1, 0, 0) && base != draw(0, 1, 0) && base != draw(0, 0, 1));
    }

    #[test]
    fn a_probability_of_zero_has_no_mask() {
        assert_eq!(Dropout::new(Seed { run: 0, step: 0 }, 0, 0.0), None);
    }
}
