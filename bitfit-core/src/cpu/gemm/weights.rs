//! Frozen weights, laid out once for the products that read them.
//!
//! `x · Wᵀ` and `dy · W` read panels of different orientation. A bfloat16 weight is kept in both, and so is a small f32
//! weight. A large one is kept in the first, and the second is made from it for each `dy · W`, in memory that the calling
//! thread's weights share: one pass over the weight in front of a product that meets each of its elements T times.

use std::{any::type_name, cell::Cell, fmt, marker::PhantomData};

use half::bf16;

use super::{
    Epilogue, MatMut, MatRef, Output,
    driver::{PanelProduct, Right},
    kernel::Kernels,
    pack::{Packed, Panels},
};
use crate::cpu::simd::Isa;

/// An element type that weights are laid out in and activations come in: f32, or bfloat16 with f32 sums.
#[expect(private_bounds, reason = "the layout of panels stays in this room")]
pub trait Operand: Packed + Backward {}

impl Operand for f32 {}
impl Operand for bf16 {}

/// Where the panels for `dy · W` come from.
trait Backward: Packed {
    /// The panels to keep of a `[out, in]` weight, where they are kept.
    fn keep(kernels: &Kernels<Self>, shape: [usize; 2], weight: impl Fn(usize, usize) -> Self + Sync)
    -> Option<Panels>;
    /// Lets `product` read the panels of a weight.
    fn with_panels(w: &PackedWeight<Self>, product: impl FnOnce(&Panels));
}

thread_local! {
    /// The panels for `dy · W` of the f32 weight that was last asked for.
    static TRANSPOSED: Cell<Panels> = const { Cell::new(Panels::EMPTY) };
}

/// Elements of the largest f32 weight that is kept in both orientations: those of a model whose weights are small beside what
/// a step keeps, and whose batches often are too small to pay for another pass over them.
const SMALL: usize = 1 << 20;

impl Backward for f32 {
    fn keep(
        kernels: &Kernels<f32>,
        [out, inner]: [usize; 2],
        weight: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Option<Panels> {
        (out * inner <= SMALL).then(|| Panels::pack(kernels, out, inner, weight))
    }

    fn with_panels(w: &PackedWeight<f32>, product: impl FnOnce(&Panels)) {
        if let Some(panels) = &w.backward {
            return product(panels);
        }
        // Taken out while in use: a thread that waits for others may be handed a product of its own.
        let mut panels = TRANSPOSED.take();
        panels.pack_transpose(w.isa, &Kernels::of(w.isa), &w.forward);
        product(&panels);
        TRANSPOSED.set(panels);
    }
}

impl Backward for bf16 {
    fn keep(
        kernels: &Kernels<bf16>,
        [out, inner]: [usize; 2],
        weight: impl Fn(usize, usize) -> bf16 + Sync,
    ) -> Option<Panels> {
        Some(Panels::pack(kernels, out, inner, weight))
    }

    fn with_panels(w: &PackedWeight<bf16>, product: impl FnOnce(&Panels)) {
        product(w.backward.as_ref().expect("kept of every bfloat16 weight"));
    }
}

/// A frozen `[out, in]` weight as panels.
pub struct PackedWeight<T = f32> {
    isa: Isa,
    out_features: usize,
    in_features: usize,
    /// `[in, out]`.
    forward: Panels,
    /// `[out, in]`, where it is kept.
    backward: Option<Panels>,
    element: PhantomData<T>,
}

impl<T: Operand> PackedWeight<T> {
    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]` row-major, for `isa`, rounded to the element
    /// type.
    ///
    /// # Panics
    /// Unless the parts hold `out_features` rows of `in_features` elements.
    pub fn new(isa: Isa, parts: &[&[f32]], out_features: usize, in_features: usize) -> Self {
        let isa = isa.available();
        let rows: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks(in_features.max(1))).collect();
        assert!(
            rows.len() == if in_features == 0 { 0 } else { out_features }
                && rows.iter().all(|row| row.len() == in_features),
            "the parts of a [{out_features}, {in_features}] weight hold {} elements",
            parts.iter().map(|part| part.len()).sum::<usize>()
        );
        let kernels = Kernels::of(isa);
        Self {
            isa,
            out_features,
            in_features,
            forward: Panels::pack::<T>(&kernels, in_features, out_features, |k, n| T::round(rows[n][k])),
            backward: T::keep(&kernels, [out_features, in_features], |k, n| T::round(rows[k][n])),
            element: PhantomData,
        }
    }

    /// The instruction set whose kernels read it.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Rows of the weight.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the weight.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        self.forward.bytes() + self.backward.as_ref().map_or(0, Panels::bytes)
    }
}

impl<T> fmt::Debug for PackedWeight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedWeight<{}>([{}, {}], {})", type_name::<T>(), self.out_features, self.in_features, self.isa)
    }
}

/// `y = x · Wᵀ`, or `y += x · Wᵀ`; x `[T, in]`, y `[T, out]`, whole rows one after the other.
///
/// # Panics
/// Where a slice is not of its shape, or the weight was laid out for another isa.
pub fn forward<T: Operand>(
    isa: Isa,
    x: &[T],
    w: &PackedWeight<T>,
    y: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    forward_view(isa, MatRef::new(x, w.in_features), w, output(y, w.out_features, accumulate), epilogue);
}

/// `dx = dy · W`, or `dx += dy · W`; dy `[T, out]`, dx `[T, in]`, whole rows one after the other.
///
/// # Panics
/// As [`forward`].
pub fn input_gradient<T: Operand>(
    isa: Isa,
    dy: &[T],
    w: &PackedWeight<T>,
    dx: &mut [f32],
    accumulate: bool,
    epilogue: &impl Epilogue,
) {
    input_gradient_view(isa, MatRef::new(dy, w.out_features), w, output(dx, w.in_features, accumulate), epilogue);
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
    isa: Isa,
    x: MatRef<'_, T>,
    w: &PackedWeight<T>,
    y: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert_eq!(x.cols(), w.in_features, "columns of x for {w:?}");
    multiply(isa, x, w, &w.forward, w.out_features, y, epilogue);
}

/// [`input_gradient`] for matrices of any strides, and with a choice of where the product goes.
///
/// # Panics
/// As [`forward`].
pub fn input_gradient_view<T: Operand>(
    isa: Isa,
    dy: MatRef<'_, T>,
    w: &PackedWeight<T>,
    dx: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert_eq!(dy.cols(), w.out_features, "columns of dy for {w:?}");
    T::with_panels(w, |panels| multiply(isa, dy, w, panels, w.in_features, dx, epilogue));
}

fn multiply<T: Operand>(
    isa: Isa,
    a: MatRef<'_, T>,
    w: &PackedWeight<T>,
    panels: &Panels,
    n: usize,
    output: Output<'_>,
    epilogue: &impl Epilogue,
) {
    assert!(T::PER_STEP == 1 || a.strides()[1] == 1, "rows of pairs must be contiguous");
    assert_eq!(isa.available(), w.isa, "{w:?} used at {isa}");
    let product = PanelProduct { kernels: Kernels::of(w.isa), a, b: Right::Panels(panels), n, scale: 1.0 };
    product.run(w.isa, output, epilogue);
}
