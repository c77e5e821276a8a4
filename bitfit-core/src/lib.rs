//! Mask-aware autograd and a sparse AdamW, for training a few parameters of a network whose weights stay frozen.
//!
//! Trainable parameters are registered in an [`ArenaBuilder`] with a [`Mask`] that chooses their trainable entries. The
//! [`Arena`] it builds is one flat buffer of these entries; their gradient and the optimizer's state have the same
//! length. A [`Tape`] runs a network forward and records exactly what backward reads: a frozen weight has no gradient,
//! and layers below the lowest trainable parameter record nothing. The ops are methods of the tape.
//!
//! ```
//! use bitfit_core::optim::{AdamW, ArenaOptimizer}; use bitfit_core::{ArenaBuilder, Cpu, FrozenMatrix, HostTensor,
//! Indices, Mask, Random, RowsOf, Seed, Tape, Weight, Workspace};
//!
//! let device = Cpu::default();
//! let mut random = Random::new(0, 0);
//! let mut matrix = |rows, cols| {
//!     HostTensor::new([rows, cols], (0..rows * cols).map(|_| random.normal() as f32).collect())
//! };
//!
//! // A frozen [8, 4] layer with a trainable bias, and a [2, 8] head of which two columns train.
//! let hidden: Weight<Cpu> = FrozenMatrix::new(&device, &[matrix(8, 4)?])?.into();
//! let mut builder = ArenaBuilder::new(device.clone());
//! let bias = builder.add("hidden.bias", HostTensor::new([8], vec![0.0; 8])?, Mask::All)?;
//! let head = builder.weight("head.weight", matrix(2, 8)?, Mask::Columns(vec![0, 3]))?;
//! let mut arena = builder.build()?;
//! assert_eq!(arena.len(), 8 + 2 * 2);
//!
//! // Three rows of inputs, and their classes.
//! let workspace = Workspace::new(device.clone());
//! let inputs = ndarray::arr2(&[[1.0, 0.0, 0.5, 0.0], [0.0, 1.0, 0.0, 0.5], [0.5, 1.0, 0.0, 0.0]]);
//! let x = workspace.tensor(inputs.view())?;
//! let classes = Indices::new(&device, &[0, 1, 1])?;
//!
//! let mut optimizer = ArenaOptimizer::new(&arena, AdamW::default())?;
//! let mut gradient = arena.gradient()?;
//! let mut losses = Vec::new();
//! for step in 0..50 {
//!     let mut tape = Tape::train(&workspace, &arena, Seed { run: 0, step });
//!     let input = tape.constant(x.clone());
//!     let h = tape.linear(&input, &hidden, &[&bias])?;
//!     let h = tape.gelu(&h)?;
//!     let h = tape.dropout(&h, 0.1, RowsOf::Tokens)?;
//!     let logits = tape.linear(&h, &head, &[])?;
//!     let loss = tape.cross_entropy(&logits, &classes)?;
//!     losses.push(loss.tensor().to_array()?[[0, 0]]);
//!
//!     gradient.clear(&device)?;
//!     tape.backward(&loss, &mut gradient)?;
//!     optimizer.step(&mut arena, &gradient, 0.05, Some(1.0))?;
//! }
//! assert!(losses[49] < 0.5 * losses[0], "{losses:?}");
//! # Ok::<(), bitfit_core::Error>(())
//! ```
//!
//! # Modules
//!
//! | module | contents | for |
//! |---|---|---|
//! | the crate root | parameters, arena, masks, tape, workspace, [`Cpu`] | authors of networks and trainers |
//! | [`ops`] | the ops, one module each: formula, method on the tape, device trait, reference | all |
//! | [`optim`] | AdamW, clipping, learning-rate schedules | authors of trainers |
//! | [`tape`], [`memory`], [`rng`] | what the backward of an op uses | authors of ops |
//! | [`backend`] | [`Device`], [`Backend`], slices, precision, conformance tests | authors of devices |
//! | [`cpu`] | the CPU as a device: SIMD, matrix products | |

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
pub use params::{
    Arena, ArenaBuilder, Entry, Frozen, FrozenMatrix, Gradient, Mask, MatrixPart, Param, Snapshot, Trainable,
    TrainableMatrix, Weight, WeightPart,
};
pub use rng::{BatchOffset, Random, RowsOf, Seed};
pub use tape::{Tape, Var};
