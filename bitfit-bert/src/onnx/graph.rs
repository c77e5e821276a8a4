//! A builder of ONNX graphs: inputs, outputs, initializers and nodes, each with a name that is used once. Operators are
//! those of the default domain (<https://onnx.ai/onnx/operators>) in the version [`OPSET`].
//!
//! Every node of the networks here has one output, so a node and its output have one name.

use std::collections::HashSet;

use super::weights::Source;

/// The version of the operator set. LayerNormalization is an operator from 17 on; ONNX Runtime has it since 1.12.
pub const OPSET: i64 = 17;

/// The name of an input, an initializer or a node's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value(String);

/// An extent of an input or an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dim {
    /// The same in every call.
    Fixed(usize),
    /// Chosen by each call, under a name that is the same wherever the extent is.
    Named(&'static str),
}

/// The element type of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// 32-bit floats.
    F32,
    /// 64-bit integers.
    I64,
}

/// An input or an output of the graph.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) element: Element,
    pub(super) dims: Vec<Dim>,
}

/// A tensor that is part of the model.
#[derive(Debug)]
pub(super) struct Initializer {
    pub(super) name: String,
    pub(super) dims: Vec<usize>,
    pub(super) data: Data,
}

/// The elements of an initializer.
#[derive(Debug)]
pub(super) enum Data {
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// A weight, which is read when it is written; if `is_transposed`, from `[out, in]` to `[in, out]`.
    Weight { source: Source, is_transposed: bool },
}

/// The value of an attribute.
#[derive(Debug)]
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
}

/// A call of an operator.
#[derive(Debug)]
pub(super) struct Node {
    /// The node's name and that of its output.
    pub(super) name: String,
    pub(super) operator: &'static str,
    pub(super) inputs: Vec<String>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

/// A graph whose nodes stand behind those whose outputs they read.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) initializers: Vec<Initializer>,
    pub(super) nodes: Vec<Node>,
    names: HashSet<String>,
}

impl Graph {
    /// Adds an input of integers.
    pub(super) fn input(&mut self, name: String, dims: Vec<Dim>) -> Value {
        self.claim(&name);
        self.inputs.push(Port { name: name.clone(), element: Element::I64, dims });
        Value(name)
    }

    /// Makes a value an output, of floats.
    pub(super) fn output(&mut self, value: &Value, dims: Vec<Dim>) {
        self.outputs.push(Port { name: value.0.clone(), element: Element::F32, dims });
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, values: &[i64]) -> Value {
        self.constant(format!("constant/{values:?}"), vec![values.len()], || Data::Ints(values.to_vec()))
    }

    /// An integer.
    pub(super) fn int(&mut self, value: i64) -> Value {
        self.constant(format!("constant/{value}"), Vec::new(), || Data::Ints(vec![value]))
    }

    /// A float.
    pub(super) fn float(&mut self, value: f32) -> Value {
        self.constant(format!("constant/{value:?}"), Vec::new(), || Data::Floats(vec![value]))
    }

    /// A tensor of a name, which is made at the first call.
    pub(super) fn constant(&mut self, name: String, dims: Vec<usize>, data: impl FnOnce() -> Data) -> Value {
        if self.names.insert(name.clone()) {
            self.initializers.push(Initializer { name: name.clone(), dims, data: data() });
        }
        Value(name)
    }

    /// Adds a node of several attributes.
    pub(super) fn node(
        &mut self,
        name: String,
        operator: &'static str,
        inputs: &[&Value],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> Value {
        self.claim(&name);
        let inputs = inputs.iter().map(|value| value.0.clone()).collect();
        self.nodes.push(Node { name: name.clone(), operator, inputs, attributes });
        Value(name)
    }

    /// Adds a node without attributes, whose operator is the last part of its name.
    pub(super) fn call(&mut self, scope: &str, operator: &'static str, inputs: &[&Value]) -> Value {
        self.node(format!("{scope}/{operator}"), operator, inputs, Vec::new())
    }

    /// Adds a node of one attribute, whose operator is the last part of its name.
    pub(super) fn call_with(
        &mut self,
        scope: &str,
        operator: &'static str,
        inputs: &[&Value],
        attribute: &'static str,
        value: Attribute,
    ) -> Value {
        self.node(format!("{scope}/{operator}"), operator, inputs, vec![(attribute, value)])
    }

    /// Claims a name.
    ///
    /// # Panics
    /// When it is taken, which the networks here rule out.
    fn claim(&mut self, name: &str) {
        assert!(self.names.insert(name.to_owned()), "the name {name} is taken in the graph");
    }
}
