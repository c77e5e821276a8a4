//! The interface of a backend, for authors of one: [`Device`], and the op traits that [`Backend`] sums.
//!
//! A backend implements [`Device`] and the trait of each op, which are listed here and defined in the modules of
//! [`crate::ops`]. The traits take [`Slice`]s of the device's buffers, sizes and index lists, never the tape or the
//! arena, so a backend is written and tested without them. `conformance`, behind the feature of that name, has the
//! checks that every backend has to pass.
//!
//! # Stability
//!
//! This module, the device traits and the types of their operands, such as
//! [`linear::WeightGradient`](crate::ops::linear::WeightGradient), are an interface between crates that are developed
//! together: a new op is a new trait in the list, and a faster kernel may need another argument. They may change in any
//! minor version. A crate that implements a device depends on an exact version of this one. Code that *uses* devices,
//! with a bound `D: Backend`, is not affected.

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

pub use crate::ops::{
    activation::Activations, adamw::AdamWStep, add_norm::AddNorm, arithmetic::Arithmetic, attention::Attention,
    binary_cross_entropy::BinaryCrossEntropy, cross_entropy::CrossEntropy, dropout::DropoutMask, embedding::Embedding,
    feed_forward::FeedForward, gather::GatherRows, linear::Linear, matmul::Matmul, mse::MeanSquaredError,
    normalize::Normalize, pair_features::PairFeatures, sequence_cross_entropy::SequenceCrossEntropy,
    sequence_mean::SequenceMean, sgd::SgdStep, softmax::Softmax, sum::Sum,
    weighted_cross_entropy::WeightedCrossEntropy,
};

/// Declares [`Backend`] as the sum of the op traits listed, so that an op stands in one list.
macro_rules! backend {
    ($($op:ident),+ $(,)?) => {
        /// The sum of the op traits: everything that a network on the tape uses. It is implemented for every type that
        /// implements them.
        pub trait Backend: $($op +)+ {}

        impl<D: $($op +)+> Backend for D {}
    };
}

backend! {
    Activations, AdamWStep, AddNorm, Arithmetic, Attention, BinaryCrossEntropy, CrossEntropy, DropoutMask, Embedding,
    FeedForward, GatherRows, Linear, Matmul, MeanSquaredError, Normalize, PairFeatures, SequenceCrossEntropy,
    SequenceMean, SgdStep, Softmax, Sum, WeightedCrossEntropy,
}
