//! Random numbers: one counter-based generator, sequences for shuffles and first weights, and dropout masks.

mod dropout;
mod philox;
mod sequence;

pub(crate) use dropout::GROUP;
pub use dropout::{Dropout, Seed};
use philox::{philox, philox_lanes};
pub use sequence::Random;
