//! Products of matrices that are not frozen: a trained weight, attention's tiles, anything small.
//!
//! The left operand is read as it lies, whatever its strides; by AMX both are laid out where they are not so already. The right one is too where its rows are whole vectors and
//! it is small, or so few rows meet it that laying it out would cost as much as the product; otherwise it is laid out in
//! panels first, a pass over it.

use std::{any::type_name, cell::Cell, fmt, marker::PhantomData};

use super::{
    Epilogue, MatRef, NoEpilogue, Output,
    driver::{PanelProduct, Right},
    kernel::{Kernels, Operand, Pair},
    pack::Panels,
};
use crate::cpu::simd::Isa;

/// An element of either operand that fills one place and is one step of the sum: an f32, or a [`Pair`] of bfloat16.
#[expect(private_bounds, reason = "how a step is computed stays in this room")]
pub trait Step: Operand {}

impl Step for f32 {}
impl Step for Pair {}

/// Elements of a right operand that are read as they lie: 128 KiB, which the second cache holds beside the rest.
const SMALL: usize = 1 << 15;

/// The right operand of a product, laid out once for several left ones. Its memory serves the next matrix too.
pub struct RightOperand<T = f32> {
    isa: Option<Isa>,
    panels: Panels,
    element: PhantomData<T>,
}

impl<T> Default for RightOperand<T> {
    fn default() -> Self {
        Self { isa: None, panels: Panels::EMPTY, element: PhantomData }
    }
}

impl<T: Step> RightOperand<T> {
    /// One that holds nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lays out `b` for `isa`.
    pub fn pack(&mut self, isa: Isa, b: MatRef<'_, T>) {
        let isa = isa.available();
        self.isa = Some(isa);
        self.panels.pack_matrix(isa, b);
    }
}

impl<T> fmt::Debug for RightOperand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [k, n] = self.panels.shape();
        write!(f, "RightOperand<{}>([{k}, {n}], {:?})", type_name::<T>(), self.isa)
    }
}

/// `y = scale * a·b`, or `y += scale * a·b`, with a right operand that has been laid out; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// Where shapes do not fit, or `b` was laid out for another isa.
pub fn multiply<T: Step>(
    isa: Isa,
    scale: f32,
    a: MatRef<'_, T>,
    b: &RightOperand<T>,
    y: Output<'_>,
    epilogue: &impl Epilogue,
) {
    let isa = isa.available();
    let [k, n] = b.panels.shape();
    assert_eq!(b.isa, Some(isa), "{b:?} used at {isa}");
    assert_eq!(a.cols(), k, "columns of a for {b:?}");
    PanelProduct { kernels: Kernels::of(isa), a, b: Right::Panels(&b.panels), n, scale }.run(isa, y, epilogue);
}

thread_local! {
    static RIGHT: Cell<Panels> = const { Cell::new(Panels::EMPTY) };
}

/// `y = scale * a·b`, or `y += scale * a·b`, for matrices of any strides; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// Where shapes do not fit.
pub fn gemm<T: Step>(isa: Isa, scale: f32, a: MatRef<'_, T>, b: MatRef<'_, T>, y: Output<'_>) {
    let isa = isa.available();
    assert_eq!(a.cols(), b.rows(), "columns of a and rows of b");
    let (n, kernels) = (b.cols(), Kernels::<T>::of(isa));
    let whole_vectors = b.strides()[1] == 1 && n.is_multiple_of(kernels.lanes);
    let as_it_lies = whole_vectors && kernels.steps == 1;
    let product = |b| PanelProduct { kernels, a, b, n, scale };
    if as_it_lies && (b.rows().saturating_mul(n) <= SMALL || a.rows() <= 8) {
        return product(Right::Rows(b.places())).run(isa, y, &NoEpilogue);
    }
    // Taken out while in use: a thread that waits for others may be handed a product of its own.
    let mut panels = RIGHT.take();
    panels.pack_matrix(isa, b);
    product(Right::Panels(&panels)).run(isa, y, &NoEpilogue);
    RIGHT.set(panels);
}
