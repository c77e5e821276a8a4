//! Products of matrices that are not frozen: trainable weights, the tiles of attention, anything small.
//!
//! The left operand is read in place, whatever its strides; AMX copies it unless its rows already have the layout of
//! tile registers. The right operand is read in place if its rows are whole vectors and it is small or so few rows meet
//! it that packing would cost as much as the product; otherwise it is packed first, in one pass.

use std::{any::type_name, fmt, marker::PhantomData};

use super::{
    Epilogue, MatRef, NoEpilogue, Operand, Output,
    driver::{PanelProduct, RightOperand},
    kernel::Kernels,
    pack::Panels,
};
use crate::{cpu::simd::Isa, memory::with_thread_value};

/// The number of elements up to which a right operand is read in place: 128 KiB, a part of the L2 cache.
const SMALL: usize = 1 << 15;

/// A right operand packed once for several products. Its memory is reused when another matrix is packed.
///
/// `T` is f32 or a [`Pair`](super::Pair) of bfloat16: the elements of one step of k.
pub struct PackedMatrix<T = f32> {
    isa: Option<Isa>,
    panels: Panels,
    element: PhantomData<T>,
}

impl<T> Default for PackedMatrix<T> {
    fn default() -> Self {
        Self { isa: None, panels: Panels::EMPTY, element: PhantomData }
    }
}

impl<T: Operand> PackedMatrix<T> {
    /// A value that holds no matrix yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Packs `b` `[k, n]` for `isa`.
    pub fn pack(&mut self, isa: Isa, b: MatRef<'_, T>) {
        let isa = isa.available();
        self.isa = Some(isa);
        self.panels.pack_matrix(isa, b);
    }
}

impl<T> fmt::Debug for PackedMatrix<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [k, n] = self.panels.shape();
        write!(f, "PackedMatrix<{}>([{k}, {n}], {:?})", type_name::<T>(), self.isa)
    }
}

/// `y = scale * a·b`, or `y += scale * a·b`, with a packed right operand; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// If the shapes do not match, or `b` was packed for another instruction set.
pub fn multiply<T: Operand>(
    isa: Isa,
    scale: f32,
    a: MatRef<'_, T>,
    b: &PackedMatrix<T>,
    y: Output<'_>,
    epilogue: &impl Epilogue,
) {
    let isa = isa.available();
    let [k, n] = b.panels.shape();
    assert_eq!(b.isa, Some(isa), "{b:?} is used with {isa}");
    assert_eq!(a.cols(), k, "columns of a for {b:?}");
    PanelProduct { kernels: Kernels::of(isa), a, b: RightOperand::Packed(&b.panels), n, scale }.run(isa, y, epilogue);
}

/// The panels of the last right operand that this thread packed for one product.
#[derive(Default)]
struct OperandPanels(Panels);

/// `y = scale * a·b`, or `y += scale * a·b`, for matrices of any strides; a `[m, k]`, b `[k, n]`.
///
/// # Panics
/// If the shapes do not match.
pub fn gemm<T: Operand>(isa: Isa, scale: f32, a: MatRef<'_, T>, b: MatRef<'_, T>, y: Output<'_>) {
    // A matrix of bfloat16 would be packed element by element; its pairs are the steps of a product.
    const { assert!(T::PER_STEP == 1 && size_of::<T>() == size_of::<f32>()) };
    let isa = isa.available();
    assert_eq!(a.cols(), b.rows(), "columns of a and rows of b");
    let (n, kernels) = (b.cols(), Kernels::<T>::of(isa));
    let whole_vectors = b.strides()[1] == 1 && n.is_multiple_of(kernels.lanes);
    let can_be_in_place = whole_vectors && kernels.depth_multiple == 1;
    if can_be_in_place && (b.rows().saturating_mul(n) <= SMALL || a.rows() <= 8) {
        let b = RightOperand::InPlace(b.words());
        return PanelProduct { kernels, a, b, n, scale }.run(isa, y, &NoEpilogue);
    }
    with_thread_value(|OperandPanels(panels)| {
        panels.pack_matrix(isa, b);
        PanelProduct { kernels, a, b: RightOperand::Packed(panels), n, scale }.run(isa, y, &NoEpilogue);
    });
}
