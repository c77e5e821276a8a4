//! Softmax of the rows of a tile of scores, with the log-sum-exp, and its backward.

use crate::cpu::{
    load,
    simd::{Kernel, Simd, math},
    store,
};

/// The dropout factors of row i of a tile; `None` without dropout.
fn row_factors(factors: &[f32], i: usize, keys: usize) -> Option<&[f32]> {
    (!factors.is_empty()).then(|| &factors[i * keys.next_multiple_of(16)..][..keys])
}

/// Replaces rows of scores by `m ∘ p` and writes their log-sum-exps.
pub(super) struct SoftmaxTile<'a> {
    pub p: &'a mut [f32],
    pub keys: usize,
    pub factors: &'a [f32],
    pub lse: &'a mut [f32],
}

impl Kernel for SoftmaxTile<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (row, lse)) in self.p.chunks_exact_mut(self.keys).zip(self.lse).enumerate() {
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
                // Lanes past the end of the row hold exp(-max); loaded again, they are zero.
                let e = if j == whole { load(s, row, j) } else { e };
                sum = s.add(sum, e);
            }
            let total = s.reduce_sum(sum);
            *lse = max + total.ln();
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

/// Replaces rows of scores by `m ∘ p`, and the same rows of `do · vᵀ` by ds.
pub(super) struct SoftmaxTileBackward<'a, L> {
    pub p: &'a mut [f32],
    pub ds: &'a mut [f32],
    pub keys: usize,
    pub factors: &'a [f32],
    pub lse: L,
}

impl<L: Iterator<Item = f32>> Kernel for SoftmaxTileBackward<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.p.chunks_exact_mut(self.keys).zip(self.ds.chunks_exact_mut(self.keys)).zip(self.lse);
        for (i, ((row, ds), lse)) in rows.enumerate() {
            let lse = s.splat(lse);
            let factors = row_factors(self.factors, i, self.keys);
            let whole = row.len() / S::LANES * S::LANES;
            let mut sum = s.zero();
            for j in (0..row.len()).step_by(S::LANES) {
                let p = math::exp(s, s.sub(load(s, row, j), lse));
                store(s, row, j, p);
                // Lanes past the end of the row hold exp(-L), which may be infinite; loaded again, they are zero.
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
