//! The specification of `LN(r + m ∘ (x + b))` as plain loops; `m` holds a dropout factor for each element.

use crate::ops::Real;

/// The inputs of the op: matrices `[T, H]`, vectors `[H]`.
#[derive(Debug, Clone)]
pub struct Inputs<R> {
    /// The input x.
    pub x: Vec<R>,
    /// The bias b, added to x.
    pub linear_bias: Vec<R>,
    /// The residual r, added after dropout.
    pub residual: Vec<R>,
    /// The scale γ.
    pub gamma: Vec<R>,
    /// The shift β.
    pub beta: Vec<R>,
    /// The dropout factors, 0 or `1/(1-p)`.
    pub factors: Vec<R>,
    /// ε, added to the variance.
    pub eps: R,
}

/// The gradients of the inputs: matrices `[T, H]`, vectors `[H]`.
#[derive(Debug)]
pub struct Gradients<R> {
    /// The gradient of x.
    pub x: Vec<R>,
    /// The gradient of b.
    pub linear_bias: Vec<R>,
    /// The gradient of r.
    pub residual: Vec<R>,
    /// The gradient of γ.
    pub gamma: Vec<R>,
    /// The gradient of β.
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

/// The output y `[T, H]`.
pub fn forward<R: Real>(inputs: &Inputs<R>) -> Vec<R> {
    let cols = inputs.gamma.len();
    let mut y = Vec::new();
    for v in sum(inputs).chunks_exact(cols) {
        let (normalized, _) = normalise(v, inputs.eps);
        y.extend((0..cols).map(|j| inputs.gamma[j] * normalized[j] + inputs.beta[j]));
    }
    y
}

/// The gradients of the inputs for a gradient `dy` of y.
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
