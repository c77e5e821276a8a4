//! What the encoder and the heads are made of: linear layers, LayerNorms and activations, over the weights of a model.

use bitfit_core::ops::activation::Activation;

use super::graph::{Attribute, Data, Dim, Graph, Value};
use super::weights::{Source, Weights};
use crate::arch::{Module, Role};
use crate::config::ModelConfig;

/// A graph in the making, and the weights that it reads.
#[derive(Debug)]
pub(super) struct Network<'a> {
    pub(super) graph: Graph,
    pub(super) weights: &'a Weights<'a>,
}

/// The parameters of a layer: its weight and its bias.
pub(super) type Parameters = [Source; 2];

/// The weight and the bias of a module of the encoder.
pub(super) fn of_module(module: Module, layer: usize) -> Parameters {
    [Source::Encoder(Role::weight(module, layer)), Source::Encoder(Role::bias(module, layer))]
}

impl Network<'_> {
    pub(super) fn config(&self) -> &ModelConfig {
        self.weights.config()
    }

    /// A vector or a table, as the checkpoint has it.
    pub(super) fn tensor(&mut self, source: Source) -> Value {
        let (name, dims) = (self.weights.name(&source), self.weights.shape(&source));
        self.graph.constant(name, dims, || Data::Weight { source, is_transposed: false })
    }

    /// A weight `[out, in]` as a product reads it: `[in, out]`.
    fn transposed(&mut self, source: Source) -> Value {
        let (name, mut dims) = (self.weights.name(&source), self.weights.shape(&source));
        dims.reverse();
        self.graph.constant(format!("{name}.transposed"), dims, || Data::Weight { source, is_transposed: true })
    }

    /// `y = x · Wᵀ + b`, under the name `name`: `[…, in]` to `[…, out]`.
    pub(super) fn linear(&mut self, name: &str, x: &Value, [weight, bias]: Parameters) -> Value {
        let (weight, bias) = (self.transposed(weight), self.tensor(bias));
        let product = self.graph.call(name, "MatMul", &[x, &weight]);
        self.graph.node(name.into(), "Add", &[&product, &bias], Vec::new())
    }

    /// A LayerNorm over the last axis.
    pub(super) fn layer_norm(&mut self, scope: &str, x: &Value, [scale, shift]: Parameters) -> Value {
        let (scale, shift) = (self.tensor(scale), self.tensor(shift));
        let attributes =
            vec![("axis", Attribute::Int(-1)), ("epsilon", Attribute::Float(self.config().layer_norm_eps))];
        let name = format!("{scope}/LayerNormalization");
        self.graph.node(name, "LayerNormalization", &[x, &scale, &shift], attributes)
    }

    /// An activation. The GELU is the exact one, in the form that ONNX Runtime recognises and computes as one operator.
    pub(super) fn activation(&mut self, scope: &str, x: &Value, activation: Activation) -> Value {
        match activation {
            Activation::Relu => self.graph.call(scope, "Relu", &[x]),
            Activation::Tanh => self.graph.call(scope, "Tanh", &[x]),
            Activation::Sigmoid => self.graph.call(scope, "Sigmoid", &[x]),
            Activation::Exp => self.graph.call(scope, "Exp", &[x]),
            Activation::Gelu => {
                let [root, one, half] = [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.graph.float(value));
                let graph = &mut self.graph;
                let scaled = graph.call(scope, "Div", &[x, &root]);
                let erf = graph.call(scope, "Erf", &[&scaled]);
                let sum = graph.call(scope, "Add", &[&erf, &one]);
                let product = graph.call(scope, "Mul", &[x, &sum]);
                graph.node(format!("{scope}/Gelu"), "Mul", &[&product, &half], Vec::new())
            }
        }
    }

    /// A value in another shape; 0 leaves an extent as it is, and -1 stands for what remains.
    pub(super) fn reshape(&mut self, scope: &str, x: &Value, shape: &[i64]) -> Value {
        let shape = self.graph.ints(shape);
        self.graph.call(scope, "Reshape", &[x, &shape])
    }

    /// A value with its axes in another order.
    pub(super) fn transpose(&mut self, scope: &str, x: &Value, axes: &[i64]) -> Value {
        self.graph.call_with(scope, "Transpose", &[x], "perm", Attribute::Ints(axes.to_vec()))
    }

    /// Rows of a table `[rows, E]` by their numbers `[…]`: `[…, E]`.
    pub(super) fn rows(&mut self, scope: &str, table: &Value, numbers: &Value) -> Value {
        self.graph.call_with(scope, "Gather", &[table, numbers], "axis", Attribute::Int(0))
    }

    /// Integers as floats.
    pub(super) fn float_of(&mut self, scope: &str, x: &Value) -> Value {
        self.graph.call_with(scope, "Cast", &[x], "to", Attribute::Int(super::model::FLOAT))
    }

    /// Booleans as integers.
    pub(super) fn int_of(&mut self, scope: &str, x: &Value) -> Value {
        self.graph.call_with(scope, "Cast", &[x], "to", Attribute::Int(super::model::INT64))
    }

    /// Makes a value an output.
    pub(super) fn output(&mut self, value: &Value, dims: Vec<Dim>) {
        self.graph.output(value, dims);
    }
}
