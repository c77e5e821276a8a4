//! The heads as ONNX graphs, from the rows of the last layer to the outputs: what `Encoder::pool` and `model/top.rs`
//! compute, and the names of the outputs as the exporters of transformers give them.
//!
//! A head that reads tokens has outputs for all of them; which count is the caller's to know, as with transformers: the
//! first token of each word, the tokens of a context, the masks.

use bitfit_core::ops::activation::Activation;
use bitfit_core::ops::normalize;

use super::encoder::Encoded;
use super::graph::{Attribute, Dim, Value};
use super::network::{Network, Parameters, of_module};
use super::weights::Source;
use crate::arch::{MaskedLmTensor, Module, Part};
use crate::data::Kind;
use crate::heads::{Pooling, TaskSpec};

/// The name of the output of most heads.
const LOGITS: &str = "logits";
/// The names of the outputs of a head of spans, in the order of its classifier's rows.
const SPAN: [&str; 2] = ["start_logits", "end_logits"];
/// The end of the names of the inputs for the second text of a pair that is encoded apart.
const SECOND: &str = "_pair";

/// Where the parts of a head are among the names of nodes.
const HEAD: &str = "head";

impl Network<'_> {
    /// The whole network of a task.
    pub(super) fn task(&mut self, spec: &TaskSpec) {
        let first = self.encoder("", "sequence");
        if spec.kind == Kind::MaskedLm {
            return self.masked_lm(&first);
        }
        let rows = self.pool(&first, spec.pooling);
        let features = if spec.encodes_apart() {
            let second = self.encoder(SECOND, "sequence_pair");
            let other = self.pool(&second, spec.pooling);
            self.pair_features(&rows, &other)
        } else {
            rows
        };
        let rows = self.head_dense(spec.pooling, features);
        let architecture = self.config().architecture;
        let classifier =
            [Part::Weight, Part::Bias].map(|part| Source::Head(architecture.classifier_name(spec.pooling, part)));
        let outputs = self.weights.shape(&classifier[1]).first().copied().unwrap_or_default();
        let [batch, sequence] = ["batch", "sequence"].map(Dim::Named);
        match spec.kind {
            Kind::Span => {
                let logits = self.linear(HEAD, &rows, classifier);
                for (column, name) in (0..).zip(SPAN) {
                    let column = self.graph.int(column);
                    let axis = vec![("axis", Attribute::Int(2))];
                    let logits = self.graph.node(name.into(), "Gather", &[&logits, &column], axis);
                    self.output(&logits, vec![batch, sequence]);
                }
            }
            Kind::Tag => {
                let logits = self.linear(LOGITS, &rows, classifier);
                self.output(&logits, vec![batch, sequence, Dim::Fixed(outputs)]);
            }
            Kind::Classify | Kind::Regress | Kind::MultiLabel | Kind::MaskedLm => {
                let logits = self.linear(LOGITS, &rows, classifier);
                self.output(&logits, vec![batch, Dim::Fixed(outputs)]);
            }
        }
    }

    /// What the head reads of the last layer: one row a text, `[batch, H]`, or all, `[batch, sequence, H]`.
    fn pool(&mut self, encoded: &Encoded, pooling: Pooling) -> Value {
        let scope = format!("{}/pooling", encoded.scope);
        let row = match pooling {
            Pooling::Tokens | Pooling::EveryToken => return encoded.rows.clone(),
            Pooling::Mean | Pooling::MeanNormalized => self.mean(&scope, encoded),
            Pooling::Pooler | Pooling::Cls | Pooling::ClsNormalized => self.first_token(&scope, encoded),
        };
        if self.config().architecture.reads_pooler(pooling) {
            let pooled = self.linear(&format!("{scope}/dense"), &row, of_module(Module::Pooler, 0));
            return self.activation(&scope, &pooled, Activation::Tanh);
        }
        if !pooling.normalizes() {
            return row;
        }
        let smallest = self.graph.float(normalize::EPS);
        let length = self.graph.node(
            format!("{scope}/ReduceL2"),
            "ReduceL2",
            &[&row],
            vec![("axes", Attribute::Ints(vec![1])), ("keepdims", Attribute::Int(1))],
        );
        let length = self.graph.call(&format!("{scope}/length"), "Max", &[&length, &smallest]);
        self.graph.call(&format!("{scope}/normalized"), "Div", &[&row, &length])
    }

    /// The row of each text's first token, which is behind the padding where that comes first.
    fn first_token(&mut self, scope: &str, encoded: &Encoded) -> Value {
        let axis = vec![("axis", Attribute::Int(1)), ("keepdims", Attribute::Int(1))];
        let mask = self.float_of(scope, &encoded.mask);
        let first = self.graph.node(format!("{scope}/ArgMax"), "ArgMax", &[&mask], axis);
        self.graph.call_with(scope, "GatherND", &[&encoded.rows, &first], "batch_dims", Attribute::Int(1))
    }

    /// The mean over each text's tokens.
    fn mean(&mut self, scope: &str, encoded: &Encoded) -> Value {
        let [columns, tokens] = [2, 1].map(|axis| self.graph.ints(&[axis]));
        let mask = self.float_of(scope, &encoded.mask);
        let mask = self.graph.call(scope, "Unsqueeze", &[&mask, &columns]);
        let graph = &mut self.graph;
        let rows = graph.call(scope, "Mul", &[&encoded.rows, &mask]);
        let keep = || vec![("keepdims", Attribute::Int(0))];
        let sum = graph.node(format!("{scope}/sum"), "ReduceSum", &[&rows, &tokens], keep());
        let count = graph.node(format!("{scope}/count"), "ReduceSum", &[&mask, &tokens], keep());
        // A row of a batch may be padding alone.
        let one = graph.float(1.0);
        let count = graph.call(scope, "Max", &[&count, &one]);
        graph.call(scope, "Div", &[&sum, &count])
    }

    /// The features `[batch, 4H]` of a pair: u, v, |u - v| and u ∘ v.
    fn pair_features(&mut self, u: &Value, v: &Value) -> Value {
        let scope = "head/pair";
        let difference = self.graph.call(scope, "Sub", &[u, v]);
        let distance = self.graph.call(scope, "Abs", &[&difference]);
        let product = self.graph.call(scope, "Mul", &[u, v]);
        self.graph.call_with(scope, "Concat", &[u, v, &distance, &product], "axis", Attribute::Int(1))
    }

    /// The dense layer of the head's own below its last, if it has one.
    fn head_dense(&mut self, pooling: Pooling, rows: Value) -> Value {
        let architecture = self.config().architecture;
        let name = |part| architecture.head_dense_name(pooling, part).map(Source::Head);
        let (Some(weight), Some(bias)) = (name(Part::Weight), name(Part::Bias)) else { return rows };
        let dense: Parameters = [weight, bias];
        let y = self.linear("head/dense", &rows, dense);
        self.activation("head/dense/activation", &y, architecture.head.activation)
    }

    /// The checkpoint's head for masked language modelling: logits `[batch, sequence, V]`. The product with the word
    /// embeddings reads them as they are, so that the file has them once.
    fn masked_lm(&mut self, encoded: &Encoded) {
        let both =
            |tensor: fn(Part) -> MaskedLmTensor| [Part::Weight, Part::Bias].map(|part| Source::MaskedLm(tensor(part)));
        let [_, bias] = both(MaskedLmTensor::Decoder);
        let y = self.linear("head/dense", &encoded.rows, both(MaskedLmTensor::Dense));
        let y = self.activation("head/dense/activation", &y, Activation::Gelu);
        let y = self.layer_norm(HEAD, &y, both(MaskedLmTensor::Norm));
        let (width, vocabulary) = (self.config().embedding_size, self.config().vocab_size);
        let (words, bias) = (self.table(Module::WordEmbeddings), self.tensor(bias));
        let flat = self.reshape("head/flat", &y, &[-1, width as i64]);
        let logits = self.graph.call_with(HEAD, "Gemm", &[&flat, &words, &bias], "transB", Attribute::Int(1));
        let extents = self.graph.call(HEAD, "Shape", &[&encoded.ids]);
        let columns = self.graph.ints(&[vocabulary as i64]);
        let shape = self.graph.call_with(HEAD, "Concat", &[&extents, &columns], "axis", Attribute::Int(0));
        let logits = self.graph.node(LOGITS.into(), "Reshape", &[&logits, &shape], Vec::new());
        self.output(&logits, vec![Dim::Named("batch"), Dim::Named("sequence"), Dim::Fixed(vocabulary)]);
    }
}
