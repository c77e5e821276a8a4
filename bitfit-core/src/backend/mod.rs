//! What a backend is, for those who write one: a [`Device`], which is memory and moves, and the sum of the op traits.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod device;
mod dtype;
mod precision;
mod slice;

pub use device::Device;
pub use dtype::DType;
pub use precision::{Precision, UnknownPrecision};
pub use slice::{Slice, SliceMut};

use crate::ops;

/// Everything a network on the tape may ask of a device: the sum of the op traits.
pub trait Backend:
    ops::activation::Activations
    + ops::adamw::AdamWStep
    + ops::add_norm::AddNorm
    + ops::arithmetic::Arithmetic
    + ops::attention::Attention
    + ops::cross_entropy::CrossEntropy
    + ops::dropout::DropoutMask
    + ops::embedding::Embedding
    + ops::feed_forward::FeedForward
    + ops::gather::GatherRows
    + ops::linear::Linear
    + ops::matmul::Matmul
    + ops::mse::MeanSquaredError
    + ops::softmax::Softmax
{
}

impl<D> Backend for D where
    D: ops::activation::Activations
        + ops::adamw::AdamWStep
        + ops::add_norm::AddNorm
        + ops::arithmetic::Arithmetic
        + ops::attention::Attention
        + ops::cross_entropy::CrossEntropy
        + ops::dropout::DropoutMask
        + ops::embedding::Embedding
        + ops::feed_forward::FeedForward
        + ops::gather::GatherRows
        + ops::linear::Linear
        + ops::matmul::Matmul
        + ops::mse::MeanSquaredError
        + ops::softmax::Softmax
{
}
