//! Dropout masks as a function of where they are drawn: seed, step, site and element. Nothing is stored; backward draws
//! the same mask again, and every thread count and device draws the same.
//!
//! One block of 128 bits of [`Philox`](crate::Random) makes eight decisions of 16 bits, so the drop probability is rounded to a multiple of 2⁻¹⁶ and
//! the kept elements are scaled by the rounded probability's inverse: the expectation is exact.

use crate::random::philox;

/// Where a training step draws its randomness from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The run's seed.
    pub run: u64,
    /// The optimizer step, so that every step draws anew.
    pub step: u32,
}

/// One dropout site in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    seed: Seed,
    site: u32,
    /// Elements whose 16 random bits lie below this are dropped.
    threshold: u32,
}

/// Elements decided by one Philox block.
pub(crate) const GROUP: usize = 8;

impl Dropout {
    /// A site that drops with probability `p` (rounded to 2⁻¹⁶), or `None` where nothing would be dropped.
    pub fn new(seed: Seed, site: u32, p: f32) -> Option<Self> {
        let threshold = (p * 65536.0).round() as u32;
        (threshold > 0).then_some(Self { seed, site, threshold: threshold.min(65535) })
    }

    /// What a kept element is multiplied by: `1 / (1 - p)`.
    pub fn scale(&self) -> f32 {
        65536.0 / (65536 - self.threshold) as f32
    }

    /// The site's number, in the order of the tape.
    pub fn site(&self) -> u32 {
        self.site
    }

    /// The seed this site was made with.
    pub fn seed(&self) -> Seed {
        self.seed
    }

    /// Elements whose 16 bits lie below this are dropped.
    pub fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The factors (0 or `scale`) of the eight elements `8 * group ..`.
    #[inline]
    pub fn group(&self, group: u64) -> [f32; GROUP] {
        let bits = philox([group as u32, (group >> 32) as u32, self.site, self.seed.step], self.seed.run);
        let scale = self.scale();
        let mut factors = [0.0; GROUP];
        for (pair, word) in factors.chunks_exact_mut(2).zip(bits) {
            pair[0] = if word & 0xffff >= self.threshold { scale } else { 0.0 };
            pair[1] = if word >> 16 >= self.threshold { scale } else { 0.0 };
        }
        factors
    }

    /// The factor (0 or `scale`) of one element.
    pub fn factor(&self, element: u64) -> f32 {
        self.group(element / GROUP as u64)[(element % GROUP as u64) as usize]
    }

    /// Writes the factors of elements `first .. first + out.len()`.
    #[inline]
    pub fn factors(&self, first: u64, out: &mut [f32]) {
        let mut at = first;
        let mut rest = out;
        while !rest.is_empty() {
            let skip = (at % GROUP as u64) as usize;
            let take = (GROUP - skip).min(rest.len());
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&self.group(at / GROUP as u64)[skip..skip + take]);
            at += take as u64;
            rest = tail;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_the_same_from_any_starting_point() {
        let site = Dropout::new(Seed { run: 7, step: 3 }, 2, 0.1).unwrap();
        let mut all = vec![0.0; 100];
        site.factors(0, &mut all);
        for first in 0..30 {
            let mut part = vec![0.0; 41];
            site.factors(first as u64, &mut part);
            assert_eq!(part, all[first..first + 41]);
            assert_eq!(site.factor(first as u64), all[first]);
        }
    }

    #[test]
    fn drops_the_stated_share_and_keeps_the_mean() {
        let site = Dropout::new(Seed { run: 1, step: 0 }, 0, 0.1).unwrap();
        let mut factors = vec![0.0; 1 << 20];
        site.factors(0, &mut factors);
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
            Dropout::new(Seed { run, step }, site, 0.5).unwrap().factors(0, &mut out);
            out
        };
        let base = draw(0, 0, 0);
        assert!(base != draw(1, 0, 0) && base != draw(0, 1, 0) && base != draw(0, 0, 1));
    }

    #[test]
    fn a_probability_of_zero_is_no_site() {
        assert_eq!(Dropout::new(Seed { run: 0, step: 0 }, 0, 0.0), None);
    }
}
