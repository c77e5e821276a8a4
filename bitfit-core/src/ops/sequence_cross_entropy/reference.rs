//! The specification of the cross-entropy over sequences, as plain loops.

use crate::ops::Real;

/// `-Σ ln softmax(z[rows of b, k])[target] / (B K)`; z `[T, columns]`, `targets` `[B, columns]` counted from the first
/// row of their sequence.
pub fn forward<R: Real>(logits: &[R], lengths: &[usize], targets: &[u32], columns: usize) -> R {
    let mut sum = R::zero();
    each(lengths, targets, columns, |rows, column, target| {
        let z = rows.map(|row| logits[row * columns + column]);
        let max = z.clone().fold(R::neg_infinity(), R::max);
        let lse = z.fold(R::zero(), |sum, z| sum + (z - max).exp()).ln();
        sum += lse - (logits[target * columns + column] - max);
    });
    sum / R::of(targets.len() as f64)
}

/// The gradient dz for a gradient `dloss` of the mean.
pub fn backward<R: Real>(logits: &[R], lengths: &[usize], targets: &[u32], columns: usize, dloss: R) -> Vec<R> {
    let scale = dloss / R::of(targets.len() as f64);
    let mut dz = vec![R::zero(); logits.len()];
    each(lengths, targets, columns, |rows, column, target| {
        let z = |row: usize| logits[row * columns + column];
        let max = rows.clone().map(z).fold(R::neg_infinity(), R::max);
        let sum = rows.clone().fold(R::zero(), |sum, row| sum + (z(row) - max).exp());
        for row in rows {
            let hit = if row == target { R::one() } else { R::zero() };
            dz[row * columns + column] = scale * ((z(row) - max).exp() / sum - hit);
        }
    });
    dz
}

/// Calls `visit` with the rows of each sequence, each column, and the right row.
fn each(
    lengths: &[usize],
    targets: &[u32],
    columns: usize,
    mut visit: impl FnMut(std::ops::Range<usize>, usize, usize),
) {
    let mut first = 0;
    for (&length, targets) in lengths.iter().zip(targets.chunks_exact(columns)) {
        for (column, &target) in targets.iter().enumerate() {
            visit(first..first + length, column, first + target as usize);
        }
        first += length;
    }
}
