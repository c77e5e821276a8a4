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
        attention::{AttentionArgs, Projections},
        linear::Weight,
    },
};

use super::{Batch, Norm};

/// One encoder layer.
#[derive(Debug)]
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

/// The three projections: one product, or two where only the `[CLS]` rows ask.
#[derive(Debug)]
pub(super) enum QueryKeyValue<D: Backend> {
    /// `[3H, H]`: every token asks.
    EveryToken(Weight<D>),
    /// Query `[H, H]` and key and value `[2H, H]`: the first token of each sequence asks all of them.
    FirstTokens { query: Weight<D>, key_value: Weight<D> },
}

impl<D: Backend> Layer<D> {
    /// Whether anything of it trains.
    pub(super) fn trains(&self) -> bool {
        let weights = match &self.query_key_value {
            QueryKeyValue::EveryToken(weight) => [Some(weight), None],
            QueryKeyValue::FirstTokens { query, key_value } => [Some(query), Some(key_value)],
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

    /// `[T, H]` to `[T, H]`, or to `[B, H]` where only the `[CLS]` rows ask.
    pub(super) fn forward(&self, tape: &mut Tape<'_, D>, x: &Var<D>, batch: &Batch<D>) -> Result<Var<D>> {
        let sequences = batch.sequences();
        let args =
            |queries| AttentionArgs { heads: self.heads, queries, keys: sequences, dropout: self.attention_dropout };
        let (attended, residual) = match &self.query_key_value {
            QueryKeyValue::EveryToken(weight) => {
                let qkv = tape.linear(x, weight, &[&self.query_bias, &self.key_bias, &self.value_bias])?;
                (tape.attention(Projections::Packed(&qkv), &args(sequences))?, x.clone())
            }
            QueryKeyValue::FirstTokens { query, key_value } => {
                let first = tape.gather_rows(x, batch.first_tokens())?;
                let query = tape.linear(&first, query, &[&self.query_bias])?;
                let key_value = tape.linear(x, key_value, &[&self.key_bias, &self.value_bias])?;
                let projections = Projections::Split { query: &query, key_value: &key_value };
                (tape.attention(projections, &args(batch.first_token_sequences()))?, first)
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
