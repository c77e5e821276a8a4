//! Matrix products on the CPU (GEMM), row-major, with f32 or bfloat16 operands and f32 sums, and for
//! frozen weights with int8 operands and 32-bit integer sums.
//!
//! - [`PackedWeight`]: a frozen weight, packed once; [`forward`] and [`input_gradient`] read activations in place.
//! - [`Int8Weight`]: a frozen weight in int8; its products round activations row by row.
//! - [`gemm`] and [`PackedMatrix`]: all other products.
//! - [`Epilogue`]: work on each block of the result while it is in cache.
//!
//! `driver` has the loop nest, `kernel` the micro-kernels, `pack` the layout of the right operand, `transposed` another
//! macro-kernel, for few rows. An element of a product is the sum of its terms in an order that depends only on k and
//! the instruction set: results are bit-identical for any number of threads, and a row's result does not depend on the
//! other rows.

mod block;
mod driver;
mod epilogue;
mod general;
mod int8;
mod kernel;
mod pack;
mod slope;
mod transposed;
mod view;
mod weights;

pub use block::{Aux, Block, ColumnPartials};
pub use driver::{MC, NC, Output};
pub use epilogue::{Bias, BiasGelu, Epilogue, MulColumnSum, NoEpilogue};
pub use general::{PackedMatrix, gemm, multiply};
pub use int8::Int8Weight;
pub use kernel::{Operand, Pair};
pub use pack::{transpose, transpose_block};
pub use slope::{Slope, SlopeCode};
pub use view::{MatMut, MatRef};
pub use weights::{PackedWeight, forward, input_gradient};

#[cfg(test)]
mod tests;
