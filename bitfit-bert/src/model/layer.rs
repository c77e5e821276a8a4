//! One encoder layer, post-LN:
//!
//! ```text
//! q, k, v = x · Wqkv + b            h = LN(x + drop(attention(q, k, v) · Wo + b_m1))
//!                                   y = LN(h + drop(gelu(h · W1 + b_m2) · W2 + b_m3))
//! ```

use bitfit_core::{
    Backend, Param, Result, RowsOf, Tape, Var, Weight,
    ops::{
        add_norm::AddNormArgs,
        attention::{AttentionArgs, Projections},
    },
};

use super::encoder::Parameters;
use super::{Batch, Norm};
use crate::arch::{Module, Role};
use crate::config::ModelConfig;

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
    pub(super) intermediate: Weight<D>,
    pub(super) intermediate_bias: Param<D>,
    pub(super) output: Weight<D>,
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

impl<D: Backend> Layer<D> {
    /// Layer `number` of an encoder.
    pub(super) fn new(config: &ModelConfig, number: usize, source: &mut impl Parameters<D>) -> crate::Result<Self> {
        use Module::{Intermediate, Key, Output, Query, Value};
        let is_last = number + 1 == config.num_hidden_layers;
        let query_key_value = if is_last {
            QueryKeyValue::Split {
                query: source.weight(&[Query], number)?,
                key_value: source.weight(&[Key, Value], number)?,
            }
        } else {
            QueryKeyValue::Packed(source.weight(&[Query, Key, Value], number)?)
        };
        Ok(Self {
            query_key_value,
            query_bias: source.tensor(Role::bias(Query, number))?,
            key_bias: source.tensor(Role::bias(Key, number))?,
            value_bias: source.tensor(Role::bias(Value, number))?,
            attention_output: source.weight(&[Module::AttentionOutput], number)?,
            attention_output_bias: source.tensor(Role::bias(Module::AttentionOutput, number))?,
            attention_norm: Norm::new(config, Module::AttentionLayerNorm, number, source)?,
            intermediate: source.weight(&[Intermediate], number)?,
            intermediate_bias: source.tensor(Role::bias(Intermediate, number))?,
            output: source.weight(&[Output], number)?,
            output_bias: source.tensor(Role::bias(Output, number))?,
            output_norm: Norm::new(config, Module::OutputLayerNorm, number, source)?,
            heads: config.num_attention_heads,
            hidden_dropout: config.hidden_dropout_prob,
            attention_dropout: config.attention_probs_dropout_prob,
        })
    }

    /// Whether anything in the layer trains.
    pub(super) fn trains(&self) -> bool {
        let (query, key_value) = match &self.query_key_value {
            QueryKeyValue::Packed(weight) => (weight, None),
            QueryKeyValue::Split { query, key_value } => (query, Some(key_value)),
        };
        let weights = [&self.attention_output, &self.intermediate, &self.output, query];
        let biases = [
            &self.query_bias,
            &self.key_bias,
            &self.value_bias,
            &self.attention_output_bias,
            &self.intermediate_bias,
            &self.output_bias,
        ];
        weights.into_iter().chain(key_value).any(Weight::trains)
            || biases.into_iter().any(|bias| bias.trainable().is_some())
            || self.attention_norm.trains()
            || self.output_norm.trains()
    }

    /// `[T, H]` to `[T, H]`; or, in the last layer, to the rows of the first tokens alone, `[B, H]`.
    pub(super) fn forward(
        &self,
        tape: &mut Tape<'_, D>,
        x: &Var<D>,
        batch: &Batch<D>,
        position_bias: Option<&Var<D>>,
        first_only: bool,
    ) -> Result<Var<D>> {
        let keys = batch.attended();
        let args = |queries| {
            let args = AttentionArgs::new(self.heads, keys).with_queries(queries).with_dropout(self.attention_dropout);
            match position_bias {
                Some(table) => args.with_position_bias(table),
                None => args,
            }
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
        let rows = if first_only { RowsOf::Sequences } else { RowsOf::Tokens };
        let h = self.add_norm(tape, &projected, &self.attention_output_bias, &residual, &self.attention_norm, rows)?;
        let y = tape.feed_forward(&h, &self.intermediate, &self.intermediate_bias, &self.output)?;
        self.add_norm(tape, &y, &self.output_bias, &h, &self.output_norm, rows)
    }

    fn add_norm(
        &self,
        tape: &mut Tape<'_, D>,
        x: &Var<D>,
        bias: &Param<D>,
        residual: &Var<D>,
        norm: &Norm<D>,
        rows: RowsOf,
    ) -> Result<Var<D>> {
        let args = AddNormArgs::new(&norm.weight, &norm.bias).with_residual(residual).with_linear_bias(bias);
        tape.add_norm(x, &args.with_dropout(self.hidden_dropout).with_rows(rows).with_eps(norm.eps))
    }
}
