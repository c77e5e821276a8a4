//! The ops, one folder each: `mod.rs` says what the op computes, what it keeps for backward and why, and holds its
//! trait and its method on [`Tape`](crate::Tape); `reference.rs` is the plain scalar loop that specifies it; `cpu.rs`
//! the CPU's implementation.
//!
//! A backend is a [`Device`](crate::Device) with all the op traits. To add an op, add a folder, and its trait to
//! [`Backend`].

pub mod activation;
pub mod adamw;
pub mod add_norm;
pub mod arithmetic;
pub mod attention;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod feed_forward;
pub mod gather;
pub mod linear;
pub mod matmul;
pub mod mse;
pub mod parameter;
pub mod softmax;
pub mod widen;

mod real;
#[cfg(any(test, feature = "suite"))]
pub(crate) mod testing;

pub use real::Real;

/// Everything a network on the tape may ask of a device: the sum of the op traits.
pub trait Backend:
    activation::Activations
    + adamw::AdamWStep
    + add_norm::AddNorm
    + arithmetic::Arithmetic
    + attention::Attention
    + cross_entropy::CrossEntropy
    + dropout::DropoutMask
    + embedding::Embedding
    + feed_forward::FeedForward
    + gather::GatherRows
    + linear::Linear
    + matmul::Matmul
    + mse::MeanSquaredError
    + softmax::Softmax
{
}

impl<D> Backend for D where
    D: activation::Activations
        + adamw::AdamWStep
        + add_norm::AddNorm
        + arithmetic::Arithmetic
        + attention::Attention
        + cross_entropy::CrossEntropy
        + dropout::DropoutMask
        + embedding::Embedding
        + feed_forward::FeedForward
        + gather::GatherRows
        + linear::Linear
        + matmul::Matmul
        + mse::MeanSquaredError
        + softmax::Softmax
{
}
