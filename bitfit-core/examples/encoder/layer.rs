//! A post-LN encoder layer of which the biases train (Vaswani and others: arXiv 1706.03762).

use bitfit_core::{
    Backend, Error, HostTensor, Mask, Param, Random, Result, Scope, Sequences, Tape, Var, Weight,
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, Projections},
    },
};

/// The parameters of a layer, in the order in which forward reads them.
pub struct Layer<D: Backend> {
    weights: [Weight<D>; 4],
    biases: [Param<D>; 4],
    norms: [[Param<D>; 2]; 2],
}

impl<D: Backend> Layer<D> {
    /// Registers a layer of `h` columns in a scope of its own: weights drawn and frozen, biases zero and trainable.
    pub fn new(mut layer: Scope<'_, D>, h: usize, random: &mut Random) -> Result<Self> {
        let mut weight = |name: &str, [out, of]: [usize; 2]| {
            let tensor = HostTensor::normal([out, of], (of as f64).powf(-0.5), random);
            Ok::<_, Error>((
                layer.weight(&format!("{name}.weight"), tensor, Mask::None)?,
                layer.add(&format!("{name}.bias"), HostTensor::filled([out], 0.0), Mask::All)?,
            ))
        };
        let all = [("qkv", [3 * h, h]), ("projection", [h, h]), ("up", [2 * h, h]), ("down", [h, 2 * h])];
        let [q, p, u, d] = all.map(|(name, shape)| weight(name, shape));
        let ((q, qb), (p, pb), (u, ub), (d, db)) = (q?, p?, u?, d?);
        let mut norm = |name: &str| {
            Ok::<_, Error>([
                layer.add(&format!("{name}.weight"), HostTensor::filled([h], 1.0), Mask::None)?,
                layer.add(&format!("{name}.bias"), HostTensor::filled([h], 0.0), Mask::All)?,
            ])
        };
        let norms = [norm("attention.norm")?, norm("output.norm")?];
        Ok(Self { weights: [q, p, u, d], biases: [qb, pb, ub, db], norms })
    }

    /// `[T, H]` to `[T, H]`.
    pub fn forward(&self, tape: &mut Tape<'_, D>, x: &Var<D>, sequences: &Sequences<D>) -> Result<Var<D>> {
        let ([qkv, projection, up, down], [b1, b2, b3, b4]) = (&self.weights, &self.biases);
        let qkv = tape.linear(x, qkv, &[b1])?;
        let args = AttentionArgs::new(4, sequences).with_dropout(0.05);
        let attended = tape.attention(Projections::Packed(&qkv), &args)?;
        let y = tape.linear(&attended, projection, &[])?;
        let [[g1, beta1], [g2, beta2]] = &self.norms;
        let h = tape.add_norm(&y, &AddNormArgs::new(g1, beta1).with_residual(x).with_linear_bias(b2))?;
        let y = tape.feed_forward(&h, up, b3, down)?;
        tape.add_norm(&y, &AddNormArgs::new(g2, beta2).with_residual(&h).with_linear_bias(b4))
    }
}
