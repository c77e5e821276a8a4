//! Matrix products on the CPU (GEMM), row-major, with f32 or bfloat16 operands and f32 sums, and for
//! frozen weights with int8 operands and 32-bit integer sums.
//!
//! - [`PackedWeight`]: a frozen weight, packed once; [`forward`] and [`input_gradient`] read activations in place.
//! - [`Int8Weight`]: a frozen weight in int8, and [`QuantizedRows`] that it is multiplied with.
//! - [`gemm`] and [`PackedMatrix`]: all other products.
//! - [`Epilogue`]: work on each block of the result while it is in cache.
//!
//! `driver` has the loop nest, `kernel` the micro-kernels, `pack` the layout of the right operand. An element of a
//! product is the sum of its terms in an order that depends only on k and the instruction set: results are
//! bit-identical for any number of threads, and a row's result does not depend on the other rows.
//!
//! ```
//! use bitfit_core::cpu::{Isa, gemm};
//!
//! // A [2, 3] weight and two tokens.
//! let weight = [1.0, 0.0, 2.0, 0.0, 1.0, 1.0];
//! let packed = gemm::PackedWeight::new(Isa::selected(), &[&weight], 2, 3);
//! let x = [1.0, 2.0, 3.0, 0.0, 1.0, 0.0];
//! let mut y = [0.0; 4];
//! gemm::forward(Isa::selected(), &x, &packed, &mut y, false, &gemm::Bias(&[0.5, 0.0]));
//! assert_eq!(y, [7.5, 5.0, 0.5, 1.0]);
//! ```

mod block;
mod driver;
mod epilogue;
mod general;
mod int8;
mod kernel;
mod pack;
mod view;
mod weights;

pub use block::{Aux, Block, ColumnPartials};
pub use driver::{MC, NC, Output};
pub use epilogue::{Bias, BiasGelu, Epilogue, MulColumnSum, NoEpilogue, StoreBf16};
pub use general::{PackedMatrix, gemm, multiply};
pub use int8::{Int8Weight, QuantizedRows};
pub use kernel::{Operand, Pair};
pub use pack::{transpose, transpose_block};
pub use view::{MatMut, MatRef};
pub use weights::{PackedWeight, forward, forward_view, input_gradient, input_gradient_view};

#[cfg(test)]
mod tests;
