//! The GEMM room: matrix products on the CPU, row-major, f32 or bfloat16 in and f32 sums.
//!
//! - [`PackedWeight`]: a frozen weight, laid out once; [`forward`] and [`input_gradient`] read the activations as they lie.
//! - [`gemm`] and [`RightOperand`]: any other product.
//! - [`Epilogue`]: what is done to each block of the result while it is in the cache.
//!
//! An element of a product is the sum of its terms in an order that depends on k and the instruction set alone: the same
//! bits come out for any number of threads, and a row's result does not depend on the other rows.
//!
//! ```
//! use bitfit_core::{gemm, simd};
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
mod kernel;
mod pack;
mod view;
mod weights;

pub use block::{Aux, Block, COL_BLOCK, ColumnPartials, ROW_BLOCK};
pub use driver::Output;
pub use epilogue::{Bias, BiasGelu, Element, Epilogue, MulColumnSum, Narrow, NoEpilogue};
pub use general::{RightOperand, Step, gemm, multiply};
pub use kernel::Pair;
pub use view::{MatMut, MatRef};
pub use weights::{Operand, PackedWeight, forward, forward_view, input_gradient, input_gradient_view};

#[cfg(test)]
mod tests;
