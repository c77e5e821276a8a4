//! The checkpoint's own head for masked language modelling: a dense layer, GELU, a LayerNorm and a product with the
//! word embeddings. A task trains its biases, and its weights where the method trains every parameter.

use bitfit_core::{Backend, Frozen, FrozenMatrix, Param, Precision, Result, Tape, Var};

use super::{Base, Dense, Norm};
use crate::arch::{MaskedLmTensor, Part};

/// Handles to the head's parameters.
#[derive(Clone, Debug)]
pub(super) struct MaskedLm<D: Backend> {
    /// `[E, H]`.
    pub(super) dense: Dense<D>,
    norm: Norm<D>,
    /// `[V, E]`, the word embeddings.
    pub(super) decoder: Dense<D>,
}

impl<D: Backend> MaskedLm<D> {
    /// Lays out the head of a base, which must have been checked.
    pub(super) fn new(base: &Base<D>) -> crate::Result<Self> {
        let tensor = |tensor| base.checkpoint().masked_lm_tensor(tensor);
        let vector = |name| Ok::<_, crate::Error>(Param::from(Frozen::new(base.device(), &tensor(name)?)?));
        // The head reads a few rows only, and its outputs decide between thousands of tokens: products in bf16 would
        // cost more than they save.
        let matrix = |name| {
            let matrix = FrozenMatrix::with_precision(base.device(), &[tensor(name)?], Precision::F32)?;
            Ok::<_, crate::Error>(matrix.into())
        };
        let [dense, norm, decoder] = [MaskedLmTensor::Dense, MaskedLmTensor::Norm, MaskedLmTensor::Decoder];
        Ok(Self {
            dense: Dense { weight: matrix(dense(Part::Weight))?, bias: vector(dense(Part::Bias))? },
            norm: Norm {
                weight: vector(norm(Part::Weight))?,
                bias: vector(norm(Part::Bias))?,
                eps: base.config().layer_norm_eps,
            },
            decoder: Dense { weight: matrix(decoder(Part::Weight))?, bias: vector(decoder(Part::Bias))? },
        })
    }

    /// The handle of a vector, which a task can replace; `None` for a matrix.
    pub(super) fn vector(&mut self, tensor: MaskedLmTensor) -> Option<&mut Param<D>> {
        Some(match tensor {
            MaskedLmTensor::Dense(Part::Bias) => &mut self.dense.bias,
            MaskedLmTensor::Norm(Part::Weight) => &mut self.norm.weight,
            MaskedLmTensor::Norm(Part::Bias) => &mut self.norm.bias,
            MaskedLmTensor::Decoder(Part::Bias) => &mut self.decoder.bias,
            MaskedLmTensor::Dense(Part::Weight) | MaskedLmTensor::Decoder(Part::Weight) => return None,
        })
    }

    /// The logits `[R, V]` for rows `[R, H]` of the last layer.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, x: &Var<D>) -> Result<Var<D>> {
        let y = tape.linear(x, &self.dense.weight, &[&self.dense.bias])?;
        let y = tape.gelu(&y)?;
        let y = tape.layer_norm(&y, &self.norm.weight, &self.norm.bias, self.norm.eps)?;
        tape.linear(&y, &self.decoder.weight, &[&self.decoder.bias])
    }
}
