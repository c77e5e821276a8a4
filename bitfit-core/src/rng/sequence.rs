//! [`Random`]: sequences of random numbers, for shuffles and initial weights.

use super::philox;

/// A sequence of random numbers, for shuffles and initial weights. The streams of one seed do not overlap.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    stream: u32,
    /// The number of the next block of four words; the upper half of it is the part.
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Random {
    /// The sequence of stream number `stream` of `seed`.
    pub fn new(seed: u64, stream: u32) -> Self {
        Self::part(seed, stream, 0)
    }

    /// Part number `part` of a stream: a sequence of its own, for what is drawn for many things in any order. Part 0 is
    /// the stream from its beginning, and the parts do not overlap before 2^34 numbers were drawn.
    pub fn part(seed: u64, stream: u32, part: u32) -> Self {
        Self { seed, stream, block: u64::from(part) << 32, words: [0; 4], used: 4 }
    }

    /// The next 32 random bits.
    pub fn bits(&mut self) -> u32 {
        if self.used == self.words.len() {
            // The last word keeps these counters distinct from those of dropout, which end with a site and a step.
            self.words = philox([self.block as u32, (self.block >> 32) as u32, self.stream, u32::MAX], self.seed);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// A number distributed uniformly in `0..bound`, without bias (Lemire: arXiv 1805.10941).
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u32) -> u32 {
        assert!(bound > 0, "the bound of a random number is zero");
        loop {
            let product = u64::from(self.bits()) * u64::from(bound);
            if product as u32 >= bound.wrapping_neg() % bound {
                return (product >> 32) as u32;
            }
        }
    }

    /// A number distributed uniformly in the open interval (0, 1).
    pub fn uniform(&mut self) -> f64 {
        (f64::from(self.bits()) + 0.5) / 4_294_967_296.0
    }

    /// A number with the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let (radius, angle) = (self.uniform(), self.uniform());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// Shuffles `items`; every order has the same probability (Fisher and Yates).
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
    fn the_parts_of_a_stream_differ_and_the_first_is_its_beginning() {
        let bits = |mut random: Random| std::array::from_fn::<u32, 8, _>(|_| random.bits());
        let part = |stream, part| bits(Random::part(3, stream, part));
        assert_eq!(part(1, 0), bits(Random::new(3, 1)));
        assert_eq!(part(1, 7), part(1, 7));
        let all = [part(1, 0), part(1, 1), part(1, u32::MAX), part(2, 1)].concat();
        assert!(all.iter().enumerate().all(|(place, bits)| !all[..place].contains(bits)), "{all:?}");
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
