//! Mask-aware autograd and a sparse AdamW, for training a few parameters of a network whose weights stay frozen.

pub mod cpu;
mod device;
mod dropout;
mod error;
pub mod gemm;
mod host;
mod lent;
mod memory;
pub mod ops;
pub mod optim;
mod params;
mod random;
pub mod simd;
#[cfg(any(test, feature = "suite"))]
pub mod suite;
mod tape;

pub use cpu::Cpu;
pub use device::{DType, Device, Slice, SliceMut};
pub use dropout::{Dropout, Seed};
pub use error::{Error, Result};
pub use host::{HostTensor, SharedBytes};
pub use memory::{Indices, Scratch, Tensor, Workspace};
pub use ops::{Backend, attention::Sequences};
pub use params::{Arena, ArenaBuilder, Entry, Frozen, FrozenMatrix, Gradient, Mask, Param, Snapshot, Trained};
pub use random::Random;
pub use tape::{Backward, ColumnSums, Grads, Slot, Tape, Target, Var};
