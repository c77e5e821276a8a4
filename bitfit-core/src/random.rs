//! One generator for everything random: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011). Each block of 128 bits is a function of a counter and a key, so any part of a sequence can be drawn
//! anywhere, in any order, and comes out the same.

use crate::simd::Simd;

/// Rounds of the generator.
const ROUNDS: u32 = 10;

/// What words 0 and 2 of the counter are multiplied by in each round.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];

/// The key's words in each round.
#[inline(always)]
fn keys(key: u64) -> impl Iterator<Item = [u32; 2]> {
    (0..ROUNDS).map(move |round| {
        let grown = |word: u32, by: u32| word.wrapping_add(by.wrapping_mul(round));
        [grown(key as u32, 0x9E37_79B9), grown((key >> 32) as u32, 0xBB67_AE85)]
    })
}

/// Philox-4x32-10: 128 random bits for a 128-bit counter under a 64-bit key.
pub(crate) fn philox(mut counter: [u32; 4], key: u64) -> [u32; 4] {
    for [k0, k1] in keys(key) {
        let [p0, p1] = [0, 1].map(|i| u64::from(counter[2 * i]) * u64::from(MULTIPLIERS[i]));
        counter = [(p1 >> 32) as u32 ^ counter[1] ^ k0, p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ k1, p0 as u32];
    }
    counter
}

/// The same for a vector of counters: word `i` of lane `l`'s counter is lane `l` of `counter[i]`.
#[inline(always)]
pub(crate) fn philox_lanes<S: Simd>(s: S, mut counter: [S::U32; 4], key: u64) -> [S::U32; 4] {
    let [m0, m1] = MULTIPLIERS.map(|word| s.splat_u32(word));
    for [k0, k1] in keys(key) {
        let ((high0, low0), (high1, low1)) = (s.multiply_u32(counter[0], m0), s.multiply_u32(counter[2], m1));
        let mixed = |high, word, key| s.xor_u32(s.xor_u32(high, word), s.splat_u32(key));
        counter = [mixed(high1, counter[1], k0), low1, mixed(high0, counter[3], k1), low0];
    }
    counter
}

/// A sequence of random numbers: for shuffles and first weights. Streams of one seed do not overlap.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    stream: u32,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Random {
    /// The sequence of a seed and a stream.
    pub fn new(seed: u64, stream: u32) -> Self {
        Self { seed, stream, block: 0, words: [0; 4], used: 4 }
    }

    /// 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == self.words.len() {
            // The last word sets these counters apart from those of dropout, which end in a site and a step.
            self.words = philox([self.block as u32, (self.block >> 32) as u32, self.stream, u32::MAX], self.seed);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in `0..bound`, without bias (Lemire: arXiv 1805.10941).
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "nothing lies below zero");
        loop {
            let product = u64::from(self.bits()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }

    /// Uniform in the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.bits()) + 0.5) / 4_294_967_296.0
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Puts `items` in random order, every order as likely as any other (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_known_answers() {
        // Random123, kat_vectors: philox4x32, 10 rounds.
        assert_eq!(philox([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], 0x299f_31d0_a409_3822),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_shuffle_keeps_every_item_and_depends_on_seed_and_stream() {
        let shuffled = |seed, stream| {
            let mut items: Vec<u32> = (0..100).collect();
            Random::new(seed, stream).shuffle(&mut items);
            items
        };
        let mut sorted = shuffled(1, 0);
        assert_ne!(sorted, shuffled(2, 0));
        assert_ne!(sorted, shuffled(1, 1));
        assert_eq!(sorted, shuffled(1, 0));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_numbers_have_mean_zero_and_deviation_one() {
        let mut random = Random::new(3, 0);
        let n = 100_000;
        let values: Vec<f64> = (0..n).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / f64::from(n);
        let variance = values.iter().map(|v| v * v).sum::<f64>() / f64::from(n);
        // Five standard errors.
        assert!(mean.abs() < 0.016 && (variance - 1.0).abs() < 0.023, "{mean} {variance}");
    }

    #[test]
    fn below_reaches_every_number_equally_often() {
        let mut random = Random::new(4, 0);
        let mut counts = [0; 7];
        (0..70_000).for_each(|_| counts[random.below(7) as usize] += 1);
        assert!(counts.iter().all(|count: &i32| (count - 10_000).abs() < 470), "{counts:?}");
    }
}
