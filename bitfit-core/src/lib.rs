//! Mask-aware autograd and a sparse AdamW, for training a few parameters of a network whose weights stay frozen.

pub mod backend;
pub mod cpu;
mod error;
pub mod memory;
pub mod ops;
pub mod optim;
mod params;
pub mod rng;
pub mod tape;

pub use backend::{Backend, DType, Device, Precision};
pub use cpu::Cpu;
pub use error::{Error, Result};
pub use memory::{HostTensor, Indices, SharedBytes, Tensor, Workspace};
pub use ops::attention::Sequences;
pub use params::{Arena, ArenaBuilder, Entry, Frozen, FrozenMatrix, Gradient, Mask, Param, Snapshot, Trainable};
pub use rng::{Random, Seed};
pub use tape::{Tape, Var};
