//! The rows of a tile of scores: to probabilities and their log-sum-exp, and back to the scores' gradient.

use crate::{
    cpu::{load, store},
    simd::{Kernel, Simd, math},
};

/// The factors of row i of a tile, where there is dropout.
fn row_factors(factors: &[f32], i: usize, keys: usize) -> Option<&[f32]> {
    (!factors.is_empty()).then(|| &factors[i * keys.next_multiple_of(16)..][..keys])
}

/// Rows of scores to `m ∘ p`, with their log-sum-exps.
pub(super) struct SoftmaxTile<'a> {
    pub p: &'a mut [f32],
    pub keys: usize,
    pub factors: &'a [f32],
    pub log_sums: &'a mut [f32],
}

impl Kernel for SoftmaxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (row, log_sum)) in self.p.chunks_exact_mut(self.keys).zip(self.log_sums).enumerate() {
            let mut greatest = s.splat(f32::NEG_INFINITY);
            let whole = row.len() / S::LANES * S::LANES;
            for j in (0..whole).step_by(S::LANES) {
                greatest = s.max(load(s, row, j), greatest);
            }
            let max = row[whole..].iter().fold(s.reduce_max(greatest), |max, &score| max.max(score));
            let at = s.splat(max);
            let mut sum = s.zero();
            for j in (0..row.len()).step_by(S::LANES) {
                let e = math::exp(s, s.sub(load(s, row, j), at));
                store(s, row, j, e);
                // Lanes behind the row's end hold exp(-max); read again, they are zero.
                let e = if j == whole { load(s, row, j) } else { e };
                sum = s.add(sum, e);
            }
            let total = s.reduce_sum(sum);
            *log_sum = max + total.ln();
            let inverse = s.splat(1.0 / total);
            let factors = row_factors(self.factors, i, self.keys);
            for j in (0..row.len()).step_by(S::LANES) {
                let mut p = s.mul(load(s, row, j), inverse);
                if let Some(factors) = factors {
                    p = s.mul(p, load(s, factors, j));
                }
                store(s, row, j, p);
            }
        }
    }
}

/// Rows of scores to `m ∘ p`, and the same rows of `do · vᵀ` to ds.
pub(super) struct SoftmaxTileBackward<'a, L> {
    pub p: &'a mut [f32],
    pub ds: &'a mut [f32],
    pub keys: usize,
    pub factors: &'a [f32],
    pub log_sums: L,
}

impl<L: Iterator<Item = f32>> Kernel for SoftmaxTileBackward<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.p.chunks_exact_mut(self.keys).zip(self.ds.chunks_exact_mut(self.keys)).zip(self.log_sums);
        for (i, ((row, ds), log_sum)) in rows.enumerate() {
            let log_sum = s.splat(log_sum);
            let factors = row_factors(self.factors, i, self.keys);
            let whole = row.len() / S::LANES * S::LANES;
            let mut sum = s.zero();
            for j in (0..row.len()).step_by(S::LANES) {
                let p = math::exp(s, s.sub(load(s, row, j), log_sum));
                store(s, row, j, p);
                // Lanes behind the row's end hold exp(-L), which may be infinite; read again, they are zero.
                let p = if j == whole { load(s, row, j) } else { p };
                let mut dp = load(s, ds, j);
                if let Some(factors) = factors {
                    dp = s.mul(dp, load(s, factors, j));
                    store(s, ds, j, dp);
                }
                sum = s.fma(p, dp, sum);
            }
            let mean = s.splat(s.reduce_sum(sum));
            for j in (0..row.len()).step_by(S::LANES) {
                let p = load(s, row, j);
                store(s, ds, j, s.mul(p, s.sub(load(s, ds, j), mean)));
                if let Some(factors) = factors {
                    store(s, row, j, s.mul(p, load(s, factors, j)));
                }
            }
        }
    }
}
