//! The specification of `LN(r + m ∘ (x + b))`, as plain loops. `m` holds the dropout's factors, one an element.

use crate::ops::Real;

/// What goes into the op: matrices `[T, H]`, vectors `[H]`.
#[derive(Debug, Clone)]
pub struct Inputs<R> {
    /// The matrix to be added and normalised.
    pub x: Vec<R>,
    /// Added to x.
    pub linear_bias: Vec<R>,
    /// Added after dropout.
    pub residual: Vec<R>,
    /// γ.
    pub gamma: Vec<R>,
    /// β.
    pub beta: Vec<R>,
    /// 0 or `1/(1-p)`.
    pub factors: Vec<R>,
    /// ε.
    pub eps: R,
}

/// What comes back: matrices `[T, H]`, vectors `[H]`.
#[derive(Debug)]
pub struct Gradients<R> {
    /// dx.
    pub x: Vec<R>,
    /// db.
    pub linear_bias: Vec<R>,
    /// dr.
    pub residual: Vec<R>,
    /// dγ.
    pub gamma: Vec<R>,
    /// dβ.
    pub beta: Vec<R>,
}

/// x̂ and rstd of one row.
fn normalise<R: Real>(v: &[R], eps: R) -> (Vec<R>, R) {
    let n = R::of(v.len() as f64);
    let mean = v.iter().fold(R::zero(), |sum, &v| sum + v) / n;
    let variance = v.iter().fold(R::zero(), |sum, &v| sum + (v - mean) * (v - mean)) / n;
    let rstd = R::one() / (variance + eps).sqrt();
    (v.iter().map(|&v| (v - mean) * rstd).collect(), rstd)
}

fn sum<R: Real>(inputs: &Inputs<R>) -> Vec<R> {
    let cols = inputs.gamma.len();
    (0..inputs.x.len())
        .map(|i| inputs.residual[i] + inputs.factors[i] * (inputs.x[i] + inputs.linear_bias[i % cols]))
        .collect()
}

/// y `[T, H]`.
pub fn forward<R: Real>(inputs: &Inputs<R>) -> Vec<R> {
    let cols = inputs.gamma.len();
    let mut y = Vec::new();
    for v in sum(inputs).chunks_exact(cols) {
        let (normalized, _) = normalise(v, inputs.eps);
        y.extend((0..cols).map(|j| inputs.gamma[j] * normalized[j] + inputs.beta[j]));
    }
    y
}

/// The gradients for a gradient `dy` of y.
pub fn backward<R: Real>(inputs: &Inputs<R>, dy: &[R]) -> Gradients<R> {
    let cols = inputs.gamma.len();
    let n = R::of(cols as f64);
    let vector = || vec![R::zero(); cols];
    let mut out =
        Gradients { x: Vec::new(), linear_bias: vector(), residual: Vec::new(), gamma: vector(), beta: vector() };
    let v = sum(inputs);
    for (t, (v, dy)) in v.chunks_exact(cols).zip(dy.chunks_exact(cols)).enumerate() {
        let (normalized, rstd) = normalise(v, inputs.eps);
        let g: Vec<R> = (0..cols).map(|j| inputs.gamma[j] * dy[j]).collect();
        let mean = g.iter().fold(R::zero(), |sum, &g| sum + g) / n;
        let product = (0..cols).fold(R::zero(), |sum, j| sum + g[j] * normalized[j]) / n;
        for j in 0..cols {
            let dr = rstd * (g[j] - mean - normalized[j] * product);
            let dx = inputs.factors[t * cols + j] * dr;
            out.residual.push(dr);
            out.x.push(dx);
            out.linear_bias[j] += dx;
            out.beta[j] += dy[j];
            out.gamma[j] += dy[j] * normalized[j];
        }
    }
    out
}
