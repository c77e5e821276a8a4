//! The interface of a backend, for authors of one: [`Device`], and the op traits that [`Backend`] sums.
//!
//! A backend implements [`Device`] and the trait of each op in [`crate::ops`]. The traits take [`Slice`]s of the
//! device's buffers, sizes and index lists, never the tape or the arena, so a backend is written and tested without
//! them. `conformance`, behind the feature of that name, has the checks that every backend has to pass.

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

/// The sum of the op traits: everything that a network on the tape uses. It is implemented for every type that
/// implements them.
pub trait Backend:
    ops::activation::Activations
    + ops::adamw::AdamWStep
    + ops::add_norm::AddNorm
    + ops::arithmetic::Arithmetic
    + ops::attention::Attention
    + ops::binary_cross_entropy::BinaryCrossEntropy
    + ops::cross_entropy::CrossEntropy
    + ops::dropout::DropoutMask
    + ops::embedding::Embedding
    + ops::feed_forward::FeedForward
    + ops::gather::GatherRows
    + ops::linear::Linear
    + ops::matmul::Matmul
    + ops::mse::MeanSquaredError
    + ops::normalize::Normalize
    + ops::pair_features::PairFeatures
    + ops::sequence_cross_entropy::SequenceCrossEntropy
    + ops::sequence_mean::SequenceMean
    + ops::softmax::Softmax
    + ops::weighted_cross_entropy::WeightedCrossEntropy
{
}

impl<D> Backend for D where
    D: ops::activation::Activations
        + ops::adamw::AdamWStep
        + ops::add_norm::AddNorm
        + ops::arithmetic::Arithmetic
        + ops::attention::Attention
        + ops::binary_cross_entropy::BinaryCrossEntropy
        + ops::cross_entropy::CrossEntropy
        + ops::dropout::DropoutMask
        + ops::embedding::Embedding
        + ops::feed_forward::FeedForward
        + ops::gather::GatherRows
        + ops::linear::Linear
        + ops::matmul::Matmul
        + ops::mse::MeanSquaredError
        + ops::normalize::Normalize
        + ops::pair_features::PairFeatures
        + ops::sequence_cross_entropy::SequenceCrossEntropy
        + ops::sequence_mean::SequenceMean
        + ops::softmax::Softmax
        + ops::weighted_cross_entropy::WeightedCrossEntropy
{
}
