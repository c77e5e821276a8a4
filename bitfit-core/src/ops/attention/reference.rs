//! The specification of attention for one sequence and one head, as plain loops.

use crate::ops::Real;

/// One head of one sequence: q `[queries, D]`, k and v `[keys, D]`, `factors` `[queries, keys]` of the dropout.
#[derive(Clone, Debug)]
pub struct Head<R> {
    /// The number of columns of the head, D.
    pub dim: usize,
    /// The queries q `[queries, D]`.
    pub q: Vec<R>,
    /// The keys k `[keys, D]`.
    pub k: Vec<R>,
    /// The values v `[keys, D]`.
    pub v: Vec<R>,
    /// What is added to the scores `[queries, keys]`.
    pub position_bias: Vec<R>,
    /// 0 or `1/(1-p)`.
    pub factors: Vec<R>,
}

/// The probabilities p `[queries, keys]` before dropout.
fn probabilities<R: Real>(head: &Head<R>) -> Vec<R> {
    let scale = R::one() / R::of(head.dim as f64).sqrt();
    let mut p = Vec::new();
    let keys = head.k.len() / head.dim;
    for (q, bias) in head.q.chunks_exact(head.dim).zip(head.position_bias.chunks_exact(keys)) {
        let dot = |k: &[R]| q.iter().zip(k).fold(R::zero(), |sum, (&q, &k)| sum + q * k) * scale;
        let scores: Vec<R> = head.k.chunks_exact(head.dim).map(dot).zip(bias).map(|(s, &b)| s + b).collect();
        let max = scores.iter().fold(R::neg_infinity(), |max, &s| max.max(s));
        let sum = scores.iter().fold(R::zero(), |sum, &s| sum + (s - max).exp());
        p.extend(scores.iter().map(|&s| (s - max).exp() / sum));
    }
    p
}

/// The output o `[queries, D]`.
pub fn forward<R: Real>(head: &Head<R>) -> Vec<R> {
    let keys = head.k.len() / head.dim;
    let mut o = vec![R::zero(); head.q.len()];
    for (i, &p) in probabilities(head).iter().enumerate() {
        let (query, key) = (i / keys, i % keys);
        for d in 0..head.dim {
            o[query * head.dim + d] += head.factors[i] * p * head.v[key * head.dim + d];
        }
    }
    o
}

/// The gradients dq, dk and dv, and that of the position bias `[queries, keys]`, for a gradient `dy` of o.
pub fn backward<R: Real>(head: &Head<R>, dy: &[R]) -> [Vec<R>; 4] {
    let (dim, keys) = (head.dim, head.k.len() / head.dim);
    let scale = R::one() / R::of(dim as f64).sqrt();
    let [mut dq, mut dk, mut dv] = [&head.q, &head.k, &head.v].map(|of| vec![R::zero(); of.len()]);
    let mut db = Vec::new();
    for (query, (p, factors)) in probabilities(head).chunks_exact(keys).zip(head.factors.chunks_exact(keys)).enumerate()
    {
        let dp: Vec<R> = (0..keys)
            .map(|key| {
                factors[key] * (0..dim).fold(R::zero(), |sum, d| sum + dy[query * dim + d] * head.v[key * dim + d])
            })
            .collect();
        let mean = p.iter().zip(&dp).fold(R::zero(), |sum, (&p, &dp)| sum + p * dp);
        for key in 0..keys {
            db.push(p[key] * (dp[key] - mean));
            let ds = p[key] * (dp[key] - mean) * scale;
            for d in 0..dim {
                dq[query * dim + d] += ds * head.k[key * dim + d];
                dk[key * dim + d] += ds * head.q[query * dim + d];
                dv[key * dim + d] += factors[key] * p[key] * dy[query * dim + d];
            }
        }
    }
    [dq, dk, dv, db]
}
