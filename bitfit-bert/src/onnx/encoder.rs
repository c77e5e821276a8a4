//! The encoder as an ONNX graph, from padded batches of ids to the rows of the last layer: what `model/embeddings.rs`
//! and `model/layer.rs` compute without padding.
//!
//! A position is the number of real tokens before it, so that a text has the same answer wherever its padding is.
//! Scores against padding have the lowest f32 added, whose exponential is zero.

use bitfit_core::ops::activation::Activation;

use super::graph::{Attribute, Data, Dim, Value};
use super::network::{Network, of_module};
use super::weights::Source;
use crate::arch::{Module, Role};
use crate::config;
use crate::model::position_bias::{GREATEST_DISTANCE, buckets_by_distance};

/// The names of the inputs, as the exporters of transformers name them.
const IDS: &str = "input_ids";
const MASK: &str = "attention_mask";
const TYPES: &str = "token_type_ids";

/// One padded batch in the encoder.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// The rows of the last layer, `[batch, sequence, H]`.
    pub(super) rows: Value,
    /// The ids `[batch, sequence]`.
    pub(super) ids: Value,
    /// 1 for a token, 0 for padding, `[batch, sequence]`.
    pub(super) mask: Value,
    /// What the names of its nodes begin with.
    pub(super) scope: String,
}

impl Network<'_> {
    /// The encoder over inputs of its own, whose names end in `suffix`.
    pub(super) fn encoder(&mut self, suffix: &str, length: &'static str) -> Encoded {
        let scope = format!("encoder{suffix}");
        let dims = || vec![Dim::Named("batch"), Dim::Named(length)];
        let ids = self.graph.input(format!("{IDS}{suffix}"), dims());
        let mask = self.graph.input(format!("{MASK}{suffix}"), dims());
        let types = (self.config().token_types() > 1).then(|| self.graph.input(format!("{TYPES}{suffix}"), dims()));
        let mut rows = self.embeddings(&format!("{scope}/embeddings"), &ids, &mask, types.as_ref());
        let bias = self.attention_bias(&format!("{scope}/bias"), &ids, &mask);
        for layer in 0..self.config().num_hidden_layers {
            rows = self.layer(&format!("{scope}/layer.{layer}"), &rows, &bias, layer);
        }
        Encoded { rows, ids, mask, scope }
    }

    /// The input `[batch, sequence, H]` of the first layer.
    fn embeddings(&mut self, scope: &str, ids: &Value, mask: &Value, types: Option<&Value>) -> Value {
        let [word, position] = [Module::WordEmbeddings, Module::PositionEmbeddings].map(|module| self.table(module));
        let positions = self.positions(&format!("{scope}/positions"), ids, mask);
        let words = self.rows(&format!("{scope}/word"), &word, ids);
        let places = self.rows(&format!("{scope}/position"), &position, &positions);
        let mut sum = self.graph.call(scope, "Add", &[&words, &places]);
        if self.config().architecture.has(Module::TokenTypeEmbeddings) {
            let table = self.table(Module::TokenTypeEmbeddings);
            // A table of one row is that of every token.
            let rows = types.map(|types| self.rows(&format!("{scope}/token_type"), &table, types));
            sum = self.graph.call(&format!("{scope}/token_type"), "Add", &[&sum, rows.as_ref().unwrap_or(&table)]);
        }
        let x = self.layer_norm(scope, &sum, of_module(Module::EmbeddingsLayerNorm, 0));
        if self.config().embedding_size == self.config().hidden_size {
            return x;
        }
        self.linear(&format!("{scope}/projection"), &x, of_module(Module::EmbeddingsProjection, 0))
    }

    /// The positions `[batch, sequence]`: the number of tokens before each, from 0 or from the padding's id plus one. A
    /// token whose id is the padding's is not counted in the latter case, and has that id for its position.
    fn positions(&mut self, scope: &str, ids: &Value, mask: &Value) -> Value {
        let axis = self.graph.int(1);
        let Some(padding) = self.config().padding else {
            let count = self.graph.call(scope, "CumSum", &[mask, &axis]);
            let one = self.graph.int(1);
            let before = self.graph.call(scope, "Sub", &[&count, &one]);
            // Padding in front of a text would be before the first position.
            return self.graph.call(scope, "Mul", &[&before, mask]);
        };
        let padding = self.graph.int(padding.into());
        let is_padding = self.graph.call(scope, "Equal", &[ids, &padding]);
        let is_other = self.graph.call(scope, "Not", &[&is_padding]);
        let is_other = self.int_of(scope, &is_other);
        let counted = self.graph.node(format!("{scope}/counted"), "Mul", &[&is_other, mask], Vec::new());
        let count = self.graph.call(scope, "CumSum", &[&counted, &axis]);
        let number = self.graph.call(scope, "Mul", &[&count, &counted]);
        self.graph.call(scope, "Add", &[&number, &padding])
    }

    /// What is added to the scores in every layer: `[batch, 1, 1, sequence]`, which hides the padding, or with a
    /// position bias `[batch, N, sequence, sequence]`.
    fn attention_bias(&mut self, scope: &str, ids: &Value, mask: &Value) -> Value {
        let (one, lowest, axes) = (self.graph.float(1.0), self.graph.float(f32::MIN), self.graph.ints(&[1, 2]));
        let mask = self.float_of(scope, mask);
        let is_padding = self.graph.call(scope, "Sub", &[&one, &mask]);
        let hidden = self.graph.call(scope, "Mul", &[&is_padding, &lowest]);
        let hidden = self.graph.call(scope, "Unsqueeze", &[&hidden, &axes]);
        if !self.config().architecture.has(Module::PositionBias) {
            return hidden;
        }
        let by_position = self.position_bias(&format!("{scope}/positions"), ids);
        self.graph.call(scope, "Add", &[&by_position, &hidden])
    }

    /// The position bias `[1, N, sequence, sequence]`, from the table by buckets of distances.
    fn position_bias(&mut self, scope: &str, ids: &Value) -> Value {
        let table = self.table(Module::PositionBias);
        let buckets = self.config().position_buckets.unwrap_or_default();
        let buckets: Vec<i64> = buckets_by_distance(buckets).map(i64::from).collect();
        let buckets = self.graph.constant("constant/buckets".into(), vec![buckets.len()], || Data::Ints(buckets));
        let greatest = i64::from(GREATEST_DISTANCE);
        let [zero, one, lowest, highest] = [0, 1, -greatest, greatest].map(|value| self.graph.int(value));
        let [rows, columns, front] = [1, 0, 0].map(|axis| self.graph.ints(&[axis]));
        let graph = &mut self.graph;
        let extents = graph.call(scope, "Shape", &[ids]);
        let length = graph.call_with(scope, "Gather", &[&extents, &one], "axis", Attribute::Int(0));
        let numbers = graph.call(scope, "Range", &[&zero, &length, &one]);
        let queries = graph.call(&format!("{scope}/query"), "Unsqueeze", &[&numbers, &rows]);
        let keys = graph.call(&format!("{scope}/key"), "Unsqueeze", &[&numbers, &columns]);
        let distance = graph.call(scope, "Sub", &[&keys, &queries]);
        let distance = graph.call(scope, "Clip", &[&distance, &lowest, &highest]);
        let place = graph.call(scope, "Add", &[&distance, &highest]);
        let bucket = self.rows(&format!("{scope}/bucket"), &buckets, &place);
        let bias = self.rows(&format!("{scope}/table"), &table, &bucket);
        let bias = self.transpose(scope, &bias, &[2, 0, 1]);
        self.graph.call(scope, "Unsqueeze", &[&bias, &front])
    }

    /// A layer, `[batch, sequence, H]` to the same.
    fn layer(&mut self, scope: &str, x: &Value, bias: &Value, number: usize) -> Value {
        let attended = self.attention(&format!("{scope}/attention"), x, bias, number);
        let name = format!("{scope}/attention/output");
        let projected = self.linear(&name, &attended, of_module(Module::AttentionOutput, number));
        let sum = self.graph.call(&format!("{name}/residual"), "Add", &[&projected, x]);
        let h = self.layer_norm(&name, &sum, of_module(Module::AttentionLayerNorm, number));
        let name = format!("{scope}/intermediate");
        let inner = self.linear(&name, &h, of_module(Module::Intermediate, number));
        let activation = match self.config().hidden_act {
            config::Activation::Gelu => Activation::Gelu,
        };
        let inner = self.activation(&format!("{name}/activation"), &inner, activation);
        let name = format!("{scope}/output");
        let outer = self.linear(&name, &inner, of_module(Module::Output, number));
        let sum = self.graph.call(&format!("{name}/residual"), "Add", &[&outer, &h]);
        self.layer_norm(&name, &sum, of_module(Module::OutputLayerNorm, number))
    }

    /// The concatenated outputs `[batch, sequence, H]` of a layer's heads: of N heads of D columns each
    /// `softmax(q · kᵀ / √D + bias) · v`.
    fn attention(&mut self, scope: &str, x: &Value, bias: &Value, number: usize) -> Value {
        let (hidden, heads) = (self.config().hidden_size, self.config().num_attention_heads);
        let width = hidden / heads;
        let split = [0, 0, heads as i64, width as i64];
        let mut project = |name: &str, module, axes: &[i64]| {
            let scope = format!("{scope}/{name}");
            let rows = self.linear(&scope, x, of_module(module, number));
            let rows = self.reshape(&scope, &rows, &split);
            self.transpose(&scope, &rows, axes)
        };
        let query = project("query", Module::Query, &[0, 2, 1, 3]);
        let key = project("key", Module::Key, &[0, 2, 3, 1]);
        let value = project("value", Module::Value, &[0, 2, 1, 3]);
        let scale = self.graph.float((width as f32).sqrt());
        let scores = self.graph.call(&format!("{scope}/scores"), "MatMul", &[&query, &key]);
        let scores = self.graph.call(scope, "Div", &[&scores, &scale]);
        let scores = self.graph.call(scope, "Add", &[&scores, bias]);
        let shares = self.graph.call_with(scope, "Softmax", &[&scores], "axis", Attribute::Int(-1));
        let context = self.graph.call(scope, "MatMul", &[&shares, &value]);
        let context = self.transpose(scope, &context, &[0, 2, 1, 3]);
        self.reshape(scope, &context, &[0, 0, hidden as i64])
    }

    /// A table of the encoder.
    pub(super) fn table(&mut self, module: Module) -> Value {
        self.tensor(Source::Encoder(Role::weight(module, 0)))
    }
}
