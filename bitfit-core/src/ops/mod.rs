//! The ops, one folder each.
//!
//! - `mod.rs` states what the op computes, what it saves for backward and why; it defines the op's device trait and its
//!   method on [`Tape`](crate::Tape).
//! - `reference.rs` is the specification: plain scalar loops, generic over the float type.
//! - `cpu.rs` implements the device trait on the CPU.
//! - `conformance.rs` holds the checks that every backend has to pass; `tests.rs` everything else.
//!
//! A [`Backend`](crate::Backend) is a [`Device`](crate::Device) that implements every op trait.

#[cfg(feature = "engine")]
pub mod activation;
pub mod adamw;
#[cfg(feature = "engine")]
pub mod add_norm;
#[cfg(feature = "engine")]
pub mod arithmetic;
#[cfg(feature = "engine")]
pub mod attention;
#[cfg(feature = "engine")]
pub mod binary_cross_entropy;
#[cfg(feature = "engine")]
pub mod cast;
#[cfg(feature = "engine")]
pub mod cross_entropy;
#[cfg(feature = "engine")]
pub mod dropout;
#[cfg(feature = "engine")]
pub mod embedding;
#[cfg(feature = "engine")]
pub mod feed_forward;
#[cfg(feature = "engine")]
pub mod gather;
#[cfg(feature = "engine")]
pub mod linear;
#[cfg(feature = "engine")]
pub mod matmul;
#[cfg(feature = "engine")]
pub mod mse;
#[cfg(feature = "engine")]
pub mod normalize;
#[cfg(feature = "engine")]
pub mod pair_features;
#[cfg(feature = "engine")]
pub mod parameter;
#[cfg(feature = "engine")]
pub mod sequence_cross_entropy;
#[cfg(feature = "engine")]
pub mod sequence_mean;
#[cfg(feature = "engine")]
pub mod sgd;
#[cfg(feature = "engine")]
pub mod softmax;
#[cfg(feature = "engine")]
pub mod sum;
#[cfg(feature = "engine")]
pub mod weighted_cross_entropy;

#[cfg(feature = "engine")]
mod real;

#[cfg(feature = "engine")]
pub use real::Real;
