//! The ops, one folder each.
//!
//! - `mod.rs` states what the op computes, what it saves for backward and why; it defines the op's device trait and its
//!   method on [`Tape`](crate::Tape).
//! - `reference.rs` is the specification: plain scalar loops, generic over the float type.
//! - `cpu.rs` implements the device trait on the CPU.
//! - `conformance.rs` holds the checks that every backend has to pass; `tests.rs` everything else.
//!
//! A [`Backend`](crate::Backend) is a [`Device`](crate::Device) that implements every op trait.

pub mod activation;
pub mod adamw;
pub mod add_norm;
pub mod arithmetic;
pub mod attention;
pub mod binary_cross_entropy;
pub mod cast;
pub mod cross_entropy;
pub mod dropout;
pub mod embedding;
pub mod feed_forward;
pub mod gather;
pub mod linear;
pub mod matmul;
pub mod mse;
pub mod normalize;
pub mod pair_features;
pub mod parameter;
pub mod sequence_cross_entropy;
pub mod sequence_mean;
pub mod softmax;
pub mod weighted_cross_entropy;

mod real;

pub use real::Real;
