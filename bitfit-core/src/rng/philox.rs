//! One generator for everything random: Philox-4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as
//! 1, 2, 3", SC 2011). Each block of 128 bits is a function of a counter and a key, so any part of a sequence can be drawn
//! anywhere, in any order, and comes out the same.

use crate::cpu::simd::Simd;

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
}
