//! Random numbers, all from the counter-based generator Philox-4x32-10: sequences for shuffles and initial weights
//! ([`Random`]), and dropout masks ([`Dropout`]), also of a part of a batch ([`BatchOffset`]).

mod batch_offset;
mod dropout;
mod philox;
mod sequence;

pub use batch_offset::{BatchOffset, RowsOf};
pub(crate) use dropout::GROUP;
pub use dropout::{Dropout, Seed};
use philox::{philox, philox_lanes};
pub use sequence::Random;
