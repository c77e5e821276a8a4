#![doc = include_str!("../README.md")]
//! # Modules
//!
//! | module | contents | for |
//! |---|---|---|
//! | the crate root | [`Arena`], [`Mask`], [`Weight`], [`Param`], [`Tape`], [`Workspace`], [`Cpu`] | authors of networks and trainers |
//! | [`ops`] | the ops, one module each: formula, method on the tape, reference | all |
//! | [`optim`] | AdamW, SGD, groups, clipping, learning-rate schedules | authors of trainers |
//! | [`tape`], [`memory`], [`rng`] | what the backward of an op uses | authors of ops |
//! | [`backend`] | [`Device`], [`Backend`], the device traits of the ops, slices, precision, conformance tests | authors of devices |
//! | [`cpu`] | the CPU as a device, and its instruction sets | |
//!
//! [`ndarray`] and [`half`] are re-exported, because matrices come and go as arrays too ([`Workspace::tensor`],
//! [`Tensor::to_array`]) and bfloat16 is the element type of some slices.

#![cfg_attr(docsrs, feature(doc_cfg))]
// An optimizer on slices uses few of the vector functions.
#![cfg_attr(not(feature = "engine"), allow(dead_code, unused_imports))]

#[cfg(feature = "engine")]
pub mod backend;
pub mod cpu;
mod error;
#[cfg(feature = "engine")]
mod gradient_check;
#[cfg(feature = "engine")]
pub mod memory;
pub mod ops;
pub mod optim;
#[cfg(feature = "engine")]
mod params;
pub mod rng;
#[cfg(feature = "engine")]
mod state;
#[cfg(feature = "engine")]
pub mod tape;

pub use error::{Error, Result};
pub use rng::{BatchOffset, Random, RowsOf, Seed};

#[cfg(feature = "engine")]
pub use {half, ndarray};

#[cfg(feature = "engine")]
pub use {
    backend::{Backend, DType, Device, Precision},
    cpu::Cpu,
    gradient_check::{GradientError, check_gradients},
    memory::{HostTensor, Indices, SharedBytes, Tensor, Workspace},
    ops::attention::Sequences,
    params::{
        Arena, ArenaBuilder, Entry, Frozen, FrozenMatrix, Gradient, Mask, MatrixPart, Param, Scope, Snapshot,
        Trainable, TrainableMatrix, Weight, WeightPart,
    },
    state::{SavedTensor, State},
    tape::{Tape, Var},
};
