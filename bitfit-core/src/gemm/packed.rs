//! Frozen weights, laid out once for both products that read them.

use std::{any::type_name, fmt, marker::PhantomData};

use half::bf16;

use super::{
    Epilogue, MatMut, MatRef, Output,
    driver::{PanelProduct, Right, run},
    panels::{Packed, Panels},
    tile::Kernels,
};
use crate::simd::Level;

/// An element type that weights are laid out in and activations come in: f32, or bfloat16 with f32 sums.
#[expect(private_bounds, reason = "the layout of panels stays in this room")]
pub trait Operand: Packed {}

impl Operand for f32 {}
impl Operand for bf16 {}

/// A frozen `[out, in]` weight as panels, once for `x · Wᵀ` and once for `dy · W`.
pub struct PackedWeight<T = f32> {
    level: Level,
    out_features: usize,
    in_features: usize,
    /// `[in, out]`.
    forward: Panels,
    /// `[out, in]`.
    backward: Panels,
    element: PhantomData<T>,
}

impl<T: Operand> PackedWeight<T> {
    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]` row-major, for `level`, rounded to the element
    /// type.
    ///
    /// # Panics
    /// Unless the parts hold `out_features` rows of `in_features` elements.
    pub fn new(level: Level, parts: &[&[f32]], out_features: usize, in_features: usize) -> Self {
        let level = level.available();
        let rows: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks(in_features.max(1))).collect();
        assert!(
            rows.len() == if in_features == 0 { 0 } else { out_features }
                && rows.iter().all(|row| row.len() == in_features),
            "the parts of a [{out_features}, {in_features}] weight hold {} elements",
            parts.iter().map(|part| part.len()).sum::<usize>()
        );
        let kernels = Kernels::of(level);
        Self {
            level,
            out_features,
            in_features,
            forward: Panels::pack::<T>(&kernels, in_features, out_features, |k, n| T::round(rows[n][k])),
            backward: Panels::pack::<T>(&kernels, out_features, in_features, |k, n| T::round(rows[k][n])),
            element: PhantomData,
        }
    }

    /// The instruction set whose kernels read it.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Rows of the weight.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the weight.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bytes that both layouts take.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.bytes()
    }
}

impl<T> fmt::Debug for PackedWeight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedWeight<{}>([{}, {}], {})", type_name::<T>(), self.out_features, self.in_features, self.level)
    }
}

/// `y = x · Wᵀ`, or `y += x · Wᵀ`; x `[T, in]`, y `[T, out]`, whole rows one after the other.
///
/// # Panics
/// Where a slice is not of its shape, or the weight was laid out for another level.
pub fn forward<T: Operand>(
    level: Level,
    x: &[T],
    w: &PackedWeight<T>,
    y: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    forward_view(level, MatRef::new(x, w.in_features), w, output(y, w.out_features, accumulate), epilogue);
}

/// `dx = dy · W`, or `dx += dy · W`; dy `[T, out]`, dx `[T, in]`, whole rows one after the other.
///
/// # Panics
/// As [`forward`].
pub fn input_gradient<T: Operand>(
    level: Level,
    dy: &[T],
    w: &PackedWeight<T>,
    dx: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    input_gradient_view(level, MatRef::new(dy, w.out_features), w, output(dx, w.in_features, accumulate), epilogue);
}

fn output(y: &mut [f32], cols: usize, accumulate: bool) -> Output<'_> {
    let y = MatMut::new(y, cols);
    if accumulate { Output::Accumulate(y) } else { Output::Write(y) }
}

/// [`forward`] for matrices of any strides, and with a choice of where the product goes.
///
/// # Panics
/// As [`forward`].
pub fn forward_view<T: Operand>(
    level: Level,
    x: MatRef<'_, T>,
    w: &PackedWeight<T>,
    y: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert_eq!(x.cols(), w.in_features, "columns of x for {w:?}");
    multiply(level, x, w, &w.forward, w.out_features, y, epilogue);
}

/// [`input_gradient`] for matrices of any strides, and with a choice of where the product goes.
///
/// # Panics
/// As [`forward`].
pub fn input_gradient_view<T: Operand>(
    level: Level,
    dy: MatRef<'_, T>,
    w: &PackedWeight<T>,
    dx: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert_eq!(dy.cols(), w.out_features, "columns of dy for {w:?}");
    multiply(level, dy, w, &w.backward, w.in_features, dx, epilogue);
}

fn multiply<T: Operand>(
    level: Level,
    a: MatRef<'_, T>,
    w: &PackedWeight<T>,
    panels: &Panels,
    n: usize,
    output: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert!(T::PER_STEP == 1 || a.strides()[1] == 1, "rows of pairs must be contiguous");
    assert_eq!(level.available(), w.level, "{w:?} used at {level}");
    let product = PanelProduct { kernels: Kernels::of(w.level), a, b: Right::Panels(panels), n, scale: 1.0 };
    run(w.level, &product, output, epilogue);
}
