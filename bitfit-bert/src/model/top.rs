//! What a head has above the read-out: the classifier, and in some architectures a dense layer of the head's own below
//! it; or the checkpoint's own head for masked language modelling.

use bitfit_core::{Backend, Result, RowsOf, Tape, Var, ops::activation::Activation};

use super::Dense;
use super::masked_lm::MaskedLm;

/// The layers of a head.
#[derive(Clone, Debug)]
pub(super) enum Top<D: Backend> {
    /// New with the task.
    Fresh(Fresh<D>),
    /// The checkpoint's.
    MaskedLm(MaskedLm<D>),
}

/// The layers of a head that is new with the task; they train whole.
#[derive(Clone, Debug)]
pub(super) struct Fresh<D: Backend> {
    pub(super) dense: Option<OwnDense<D>>,
    pub(super) classifier: Dense<D>,
    /// Before the classifier, and before the dense layer where the architecture has it there.
    pub(super) dropout: f32,
}

/// A dense layer `[H, H]` of the head's own.
#[derive(Clone, Debug)]
pub(super) struct OwnDense<D: Backend> {
    pub(super) dense: Dense<D>,
    pub(super) activation: Activation,
    pub(super) has_dropout_before: bool,
}

impl<D: Backend> Top<D> {
    /// The outputs for rows `[R, H]`.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, rows: Var<D>) -> Result<Var<D>> {
        match self {
            Self::Fresh(fresh) => fresh.forward(tape, rows),
            Self::MaskedLm(head) => head.forward(tape, &rows),
        }
    }

    /// The number of outputs for a row.
    pub(super) fn outputs(&self) -> usize {
        let last = match self {
            Self::Fresh(fresh) => &fresh.classifier,
            Self::MaskedLm(head) => &head.decoder,
        };
        last.weight.shape()[0]
    }
}

impl<D: Backend> Fresh<D> {
    /// The outputs `[B, C]` for pooled rows `[B, H]`.
    fn forward(&self, tape: &mut Tape<'_, D>, pooled: Var<D>) -> Result<Var<D>> {
        let x = match &self.dense {
            Some(dense) => dense.forward(tape, pooled, self.dropout)?,
            None => pooled,
        };
        let dropped = tape.dropout(&x, self.dropout, RowsOf::Outputs)?;
        drop(x);
        tape.linear(&dropped, &self.classifier.weight, &[&self.classifier.bias])
    }
}

impl<D: Backend> OwnDense<D> {
    fn forward(&self, tape: &mut Tape<'_, D>, pooled: Var<D>, dropout: f32) -> Result<Var<D>> {
        let x = if self.has_dropout_before { tape.dropout(&pooled, dropout, RowsOf::Outputs)? } else { pooled };
        let y = tape.linear(&x, &self.dense.weight, &[&self.dense.bias])?;
        drop(x);
        tape.activate(self.activation, &y)
    }
}
