//! One encoder layer, post-LN:
//!
//! ```text
//! q, k, v = x · Wqkv + b            h = LN(x + drop(attention(q, k, v) · Wo + b_m1))
//!                                   y = LN(h + drop(gelu(h · W1 + b_m2) · W2 + b_m3))
//! ```

use bitfit_core::{
    Backend, FrozenMatrix, Param, Result, Tape, Var,
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, PositionBias, Projections},
        linear::Weight,
    },
};

use super::{Batch, Norm};
use crate::arch::{Module, Part};

/// Handles to the parameters of one encoder layer, and its dropout probabilities.
#[derive(Clone, Debug)]
pub(super) struct Layer<D: Backend> {
    pub(super) query_key_value: QueryKeyValue<D>,
    pub(super) query_bias: Param<D>,
    pub(super) key_bias: Param<D>,
    pub(super) value_bias: Param<D>,
    pub(super) attention_output: Weight<D>,
    pub(super) attention_output_bias: Param<D>,
    pub(super) attention_norm: Norm<D>,
    pub(super) intermediate: FrozenMatrix<D>,
    pub(super) intermediate_bias: Param<D>,
    pub(super) output: FrozenMatrix<D>,
    pub(super) output_bias: Param<D>,
    pub(super) output_norm: Norm<D>,
    pub(super) heads: usize,
    pub(super) hidden_dropout: f32,
    pub(super) attention_dropout: f32,
}

/// The three projections: one product, or two in the last layer, of which a task may read the first tokens alone.
#[derive(Clone, Debug)]
pub(super) enum QueryKeyValue<D: Backend> {
    /// One weight `[3H, H]`.
    Packed(Weight<D>),
    /// Query `[H, H]`, and key and value `[2H, H]`.
    Split { query: Weight<D>, key_value: Weight<D> },
}

/// One matrix of a layer and the modules whose weights it holds, row-wise.
pub(super) type PackedMatrix<'a, D> = (&'static [Module], MatrixMut<'a, D>);

/// The handle of a layer's matrix, which a task can replace.
pub(super) enum MatrixMut<'a, D: Backend> {
    Weight(&'a mut Weight<D>),
    Frozen(&'a mut FrozenMatrix<D>),
}

impl<D: Backend> Layer<D> {
    /// Whether anything in the layer trains.
    pub(super) fn trains(&self) -> bool {
        let weights = match &self.query_key_value {
            QueryKeyValue::Packed(weight) => [Some(weight), None],
            QueryKeyValue::Split { query, key_value } => [Some(query), Some(key_value)],
        };
        let biases = [
            &self.query_bias,
            &self.key_bias,
            &self.value_bias,
            &self.attention_output_bias,
            &self.intermediate_bias,
            &self.output_bias,
        ];
        weights.into_iter().flatten().chain([&self.attention_output]).any(|weight| weight.trainable().is_some())
            || biases.into_iter().any(|bias| bias.trainable().is_some())
            || self.attention_norm.trains()
            || self.output_norm.trains()
    }

    /// The handle of a vector (a bias, or the scale or shift of a LayerNorm); `None` for a matrix.
    pub(super) fn vector(&mut self, module: Module, part: Part) -> Option<&mut Param<D>> {
        Some(match (module, part) {
            (Module::Query, Part::Bias) => &mut self.query_bias,
            (Module::Key, Part::Bias) => &mut self.key_bias,
            (Module::Value, Part::Bias) => &mut self.value_bias,
            (Module::AttentionOutput, Part::Bias) => &mut self.attention_output_bias,
            (Module::Intermediate, Part::Bias) => &mut self.intermediate_bias,
            (Module::Output, Part::Bias) => &mut self.output_bias,
            (Module::AttentionLayerNorm, part) => self.attention_norm.vector(part),
            (Module::OutputLayerNorm, part) => self.output_norm.vector(part),
            _ => return None,
        })
    }

    /// The layer's matrices, each with the modules whose weights it holds.
    pub(super) fn matrices(&mut self) -> Vec<PackedMatrix<'_, D>> {
        use MatrixMut::{Frozen, Weight};
        let mut matrices: Vec<PackedMatrix<'_, D>> = match &mut self.query_key_value {
            QueryKeyValue::Packed(weight) => {
                vec![(&[Module::Query, Module::Key, Module::Value], Weight(weight))]
            }
            QueryKeyValue::Split { query, key_value } => {
                vec![(&[Module::Query], Weight(query)), (&[Module::Key, Module::Value], Weight(key_value))]
            }
        };
        matrices.push((&[Module::AttentionOutput], Weight(&mut self.attention_output)));
        matrices.push((&[Module::Intermediate], Frozen(&mut self.intermediate)));
        matrices.push((&[Module::Output], Frozen(&mut self.output)));
        matrices
    }

    /// `[T, H]` to `[T, H]`; or, in the last layer, to the rows of the first tokens alone, `[B, H]`.
    pub(super) fn forward(
        &self,
        tape: &mut Tape<'_, D>,
        x: &Var<D>,
        batch: &Batch<D>,
        position_bias: Option<&PositionBias<D>>,
        first_only: bool,
    ) -> Result<Var<D>> {
        let keys = batch.sequences();
        let args = |queries| AttentionArgs {
            heads: self.heads,
            queries,
            keys,
            position_bias,
            dropout: self.attention_dropout,
        };
        let (attended, residual) = match &self.query_key_value {
            QueryKeyValue::Packed(weight) => {
                let qkv = tape.linear(x, weight, &[&self.query_bias, &self.key_bias, &self.value_bias])?;
                (tape.attention(Projections::Packed(&qkv), &args(keys))?, x.clone())
            }
            QueryKeyValue::Split { query, key_value } => {
                let (rows, queries) = match first_only {
                    true => (tape.gather_rows(x, batch.first_tokens())?, batch.first_token_sequences()),
                    false => (x.clone(), keys),
                };
                let query = tape.linear(&rows, query, &[&self.query_bias])?;
                let key_value = tape.linear(x, key_value, &[&self.key_bias, &self.value_bias])?;
                let projections = Projections::Split { query: &query, key_value: &key_value };
                (tape.attention(projections, &args(queries))?, rows)
            }
        };
        let projected = tape.linear(&attended, &self.attention_output, &[])?;
        drop(attended);
        let h = self.add_norm(tape, &projected, &self.attention_output_bias, &residual, &self.attention_norm)?;
        let y = tape.feed_forward(&h, &self.intermediate, &self.intermediate_bias, &self.output)?;
        self.add_norm(tape, &y, &self.output_bias, &h, &self.output_norm)
    }

    fn add_norm(
        &self,
        tape: &mut Tape<'_, D>,
        x: &Var<D>,
        bias: &Param<D>,
        residual: &Var<D>,
        norm: &Norm<D>,
    ) -> Result<Var<D>> {
        let args = AddNormArgs {
            linear_bias: Some(bias),
            residual: Some(residual),
            gamma: &norm.weight,
            beta: &norm.bias,
            dropout: self.hidden_dropout,
            eps: norm.eps,
        };
        tape.add_norm(x, &args)
    }
}
