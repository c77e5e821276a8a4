//! A graph as an ONNX file: the messages of `onnx/onnx.proto` (<https://github.com/onnx/onnx>), with their numbers of
//! fields, and the bytes of the weights.

use std::borrow::Cow;

use bitfit_core::HostTensor;

use super::graph::{Attribute, Data, Dim, Element, Graph, Initializer, Node, OPSET, Port};
use super::weights::Weights;
use crate::Result;
use crate::files::AtomicFile;
use crate::proto::{Message, Part};

/// The version of the file format: the first that files of the operator set 17 have.
const IR_VERSION: i64 = 8;

/// `TensorProto.DataType`.
pub(super) const FLOAT: i64 = 1;
pub(super) const INT64: i64 = 7;
/// `TensorProto.DataLocation.EXTERNAL`.
const EXTERNAL: i64 = 1;

/// The offsets of weights in a file of their own are multiples of this, so that they can be mapped.
const PAGE: u64 = 4096;
/// The columns of a weight that are transposed at a time.
const COLUMNS: usize = 16;

/// A model as a message, and the weights that go to a file beside it.
pub(super) struct Encoded<'a> {
    pub(super) model: Message<&'a Initializer>,
    /// Each with its offset in that file; empty where the message has them.
    pub(super) beside: Vec<(&'a Initializer, u64)>,
}

impl Encoded<'_> {
    /// The length in bytes of the file beside the model.
    pub(super) fn bytes_beside(&self) -> u64 {
        self.beside.last().map_or(0, |(weight, offset)| offset + bytes_of(weight))
    }
}

/// The file of a graph. With `beside`, the name of another file in the same directory, the weights go there.
pub(super) fn encode<'a>(graph: &'a Graph, metadata: &[(String, String)], beside: Option<&str>) -> Encoded<'a> {
    let mut weights = Vec::new();
    let mut message = Message::new();
    for node in &graph.nodes {
        message.message(1, node_message(node));
    }
    message.text(2, "bitfit");
    let mut end = 0u64;
    for tensor in &graph.initializers {
        let place = beside.filter(|_| matches!(tensor.data, Data::Weight { .. })).map(|name| {
            let offset = end.next_multiple_of(PAGE);
            end = offset + bytes_of(tensor);
            weights.push((tensor, offset));
            (name, offset)
        });
        message.message(5, tensor_message(tensor, place));
    }
    for (field, ports) in [(11, &graph.inputs), (12, &graph.outputs)] {
        for port in ports {
            message.message(field, port_message(port));
        }
    }
    let mut opset = Message::new();
    opset.text(1, "").int(2, OPSET);
    let mut model = Message::new();
    model.int(1, IR_VERSION).text(2, "bitfit").text(3, env!("CARGO_PKG_VERSION"));
    model.message(7, message).message(8, opset);
    for (key, value) in metadata {
        model.message(14, pair(key, value));
    }
    Encoded { model, beside: weights }
}

/// Writes the message of a model.
///
/// # Errors
/// Those of reading the weights and of writing the file.
pub(super) fn write(message: Message<&Initializer>, weights: &Weights<'_>, file: &mut AtomicFile) -> Result<()> {
    for part in message.into_parts() {
        match part {
            Part::Bytes(bytes) => file.write(&bytes)?,
            Part::Payload(initializer) => write_data(initializer, weights, file)?,
        }
    }
    Ok(())
}

/// Writes weights at their offsets.
///
/// # Errors
/// As [`write`].
pub(super) fn write_beside(beside: &[(&Initializer, u64)], weights: &Weights<'_>, file: &mut AtomicFile) -> Result<()> {
    let mut at = 0;
    for (initializer, offset) in beside {
        file.write(&vec![0; (offset - at) as usize])?;
        write_data(initializer, weights, file)?;
        at = offset + bytes_of(initializer);
    }
    Ok(())
}

/// The number of bytes of an initializer's elements.
fn bytes_of(initializer: &Initializer) -> u64 {
    let size = if matches!(initializer.data, Data::Ints(_)) { 8 } else { 4 };
    initializer.dims.iter().map(|&extent| extent as u64).product::<u64>() * size
}

fn write_data(initializer: &Initializer, weights: &Weights<'_>, file: &mut AtomicFile) -> Result<()> {
    match &initializer.data {
        Data::Ints(values) => values.iter().try_for_each(|value| file.write(&value.to_le_bytes())),
        Data::Floats(values) => file.write(&little_endian(values)),
        Data::Weight { source, is_transposed } => {
            let tensor = weights.tensor(source)?;
            if *is_transposed {
                write_transposed(&tensor, file)?;
            } else {
                file.write(&little_endian(tensor.data()))?;
            }
            weights.release(source);
            Ok(())
        }
    }
}

/// Writes a matrix `[rows, cols]` column by column.
fn write_transposed(tensor: &HostTensor, file: &mut AtomicFile) -> Result<()> {
    let &[rows, cols] = tensor.shape() else { return file.write(&little_endian(tensor.data())) };
    let mut block = vec![0.0; rows * COLUMNS.min(cols)];
    for first in (0..cols).step_by(COLUMNS) {
        let width = COLUMNS.min(cols - first);
        for (row, values) in tensor.data().chunks_exact(cols).enumerate() {
            for (column, &value) in values[first..first + width].iter().enumerate() {
                block[column * rows + row] = value;
            }
        }
        file.write(&little_endian(&block[..rows * width]))?;
    }
    Ok(())
}

/// The bytes of floats, the lowest first, whatever the machine's order is.
fn little_endian(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        return bytemuck::cast_slice(values).into();
    }
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A `NodeProto`.
fn node_message<P>(node: &Node) -> Message<P> {
    let mut message = Message::new();
    for input in &node.inputs {
        message.text(1, input);
    }
    message.text(2, &node.name).text(3, &node.name).text(4, node.operator);
    for (name, value) in &node.attributes {
        message.message(5, attribute_message(name, value));
    }
    message
}

/// An `AttributeProto`.
fn attribute_message<P>(name: &str, value: &Attribute) -> Message<P> {
    let mut message = Message::new();
    message.text(1, name);
    match value {
        Attribute::Float(value) => message.float(2, *value).int(20, 1),
        Attribute::Int(value) => message.int(3, *value).int(20, 2),
        Attribute::Ints(values) => {
            for &value in values {
                message.int(8, value);
            }
            message.int(20, 7)
        }
    };
    message
}

/// A `TensorProto`, with its elements, or the name of the file that has them and their offset in it.
fn tensor_message<'a>(tensor: &'a Initializer, beside: Option<(&str, u64)>) -> Message<&'a Initializer> {
    let mut message = Message::new();
    for &extent in &tensor.dims {
        message.int(1, extent as i64);
    }
    message.int(2, if matches!(tensor.data, Data::Ints(_)) { INT64 } else { FLOAT }).text(8, &tensor.name);
    let bytes = bytes_of(tensor);
    match beside {
        None => message.payload(9, bytes, tensor),
        Some((name, offset)) => {
            let place = [("location", name.to_owned()), ("offset", offset.to_string()), ("length", bytes.to_string())];
            for (key, value) in place {
                message.message(13, pair(key, &value));
            }
            message.int(14, EXTERNAL)
        }
    };
    message
}

/// A `ValueInfoProto`.
fn port_message<P>(port: &Port) -> Message<P> {
    let mut shape = Message::new();
    for dim in &port.dims {
        let mut extent = Message::new();
        match dim {
            Dim::Fixed(value) => extent.int(1, *value as i64),
            Dim::Named(name) => extent.text(2, name),
        };
        shape.message(1, extent);
    }
    let mut tensor = Message::new();
    let element = match port.element {
        Element::F32 => FLOAT,
        Element::I64 => INT64,
    };
    tensor.int(1, element).message(2, shape);
    let mut kind = Message::new();
    kind.message(1, tensor);
    let mut message = Message::new();
    message.text(1, &port.name).message(2, kind);
    message
}

/// A `StringStringEntryProto`.
fn pair<P>(key: &str, value: &str) -> Message<P> {
    let mut message = Message::new();
    message.text(1, key).text(2, value);
    message
}
