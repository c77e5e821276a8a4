//! Weights, packed once for the products that read them, and again where they have changed.
//!
//! `x · Wᵀ` and `dy · W` read panels of different orientation. A bfloat16 weight is packed in both, and so is a small
//! f32 weight. A large f32 weight is packed for `x · Wᵀ` only; the panels for `dy · W` are made from those for each
//! product, in memory that all weights used by the calling thread share. That is one pass over the weight before a
//! product that uses each of its elements T times. With so few rows that one block of rows is all of them, each block
//! makes its own panels, a part at a time, which stay in cache; and where up to 32 rows fill vectors, or nearly so,
//! none are made (`transposed`).

use std::{any::type_name, fmt, marker::PhantomData};

use half::bf16;
use rayon::prelude::*;

use super::{
    Epilogue, MatRef, Output,
    driver::{MC, PanelProduct, RightOperand, run},
    kernel::Kernels,
    pack::Panels,
    transposed::TransposedProduct,
};
use crate::{
    cpu::{
        Float,
        simd::{self, Isa},
    },
    memory::{ThreadScratch, with_thread_value},
};

/// The number of elements up to which an f32 weight is packed in both orientations. Such a weight is small compared
/// with what a training step saves, and the batches of models with small weights are often too small to repay another
/// pass over them.
const SMALL: usize = 1 << 20;

/// The panels that this thread made last for a product `dy · W` with a large f32 weight: of W, or of dyᵀ.
#[derive(Default)]
struct Transposed(Panels);

/// An `[out, in]` weight, packed into panels for `x · Wᵀ` and `dy · W`.
pub struct PackedWeight<T = f32> {
    isa: Isa,
    out_features: usize,
    in_features: usize,
    /// The panels of Wᵀ `[in, out]`.
    forward: Panels,
    /// The panels of W `[out, in]`; `None` for a large f32 weight.
    backward: Option<Panels>,
    element: PhantomData<T>,
}

impl<T: Float> PackedWeight<T> {
    /// Packs the row-wise concatenation of `parts`, each `[out_i, in]` row-major, for `isa`, rounded to the element
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
        let forward = Panels::pack::<T>(&kernels, in_features, out_features, |k, n| T::from_f32(rows[n][k]));
        let packs_both = T::IS_BF16 || out_features * in_features <= SMALL;
        let backward =
            packs_both.then(|| Panels::pack::<T>(&kernels, out_features, in_features, |k, n| T::from_f32(rows[k][n])));
        Self { isa, out_features, in_features, forward, backward, element: PhantomData }
    }

    /// Overwrites the rows from `first_row` on by `from`, whole rows, row-major.
    ///
    /// # Panics
    /// If `from` does not hold a whole number of rows, or the weight has fewer.
    pub fn write_rows(&mut self, from: &[f32], first_row: usize) {
        let rows = MatRef::new(from, self.in_features);
        assert!(first_row + rows.rows() <= self.out_features, "rows of {self:?}");
        if T::PER_STEP == 1 {
            self.forward.write_columns(self.isa, first_row, rows);
        } else {
            // As words, each of which holds the two bfloat16 of one step.
            let steps = self.in_features.div_ceil(T::PER_STEP);
            let mut words = ThreadScratch::unspecified(rows.rows() * steps);
            words.par_chunks_mut(steps).enumerate().for_each(|(i, words)| {
                let (to, rest) = bytemuck::cast_slice_mut(words).split_at_mut(self.in_features);
                simd::to_bf16_slice(self.isa, rows.row(i), to);
                rest.fill(bf16::ZERO);
            });
            self.forward.write_columns(self.isa, first_row, MatRef::new(&words, steps));
        }
        if let Some(backward) = &mut self.backward {
            backward.write_rows::<T>(self.isa, first_row, rows);
        }
    }

    /// Overwrites elements: `from[i]` is the one with the row-major index `at[i]`, counted from `first_row` on.
    ///
    /// # Panics
    /// If an index is out of range or the lists differ in length.
    pub fn write_elements(&mut self, from: &[f32], at: &[u32], first_row: usize) {
        assert_eq!(from.len(), at.len(), "elements of {self:?} and their indices");
        for (&value, &at) in from.iter().zip(at) {
            let (row, col) = (first_row + at as usize / self.in_features, at as usize % self.in_features);
            self.forward.set(col, row, T::from_f32(value));
            if let Some(backward) = &mut self.backward {
                backward.set(row, col, T::from_f32(value));
            }
        }
    }

    /// The instruction set whose kernels read the weight.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The number of rows of the weight.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The number of columns of the weight.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The product of `a` with the `n` columns of `b`.
    fn product<'a>(&self, a: MatRef<'a, T>, b: RightOperand<'a>, n: usize) -> PanelProduct<'a, T> {
        assert!(T::PER_STEP == 1 || a.strides()[1] == 1, "rows of bfloat16 must be contiguous");
        PanelProduct { kernels: Kernels::of(self.isa), a, b, n, scale: 1.0 }
    }

    /// Checks that the weight was packed for `isa`.
    fn check(&self, isa: Isa) {
        assert_eq!(isa.available(), self.isa, "{self:?} is used with {isa}");
    }
}

impl<T> fmt::Debug for PackedWeight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PackedWeight<{}>([{}, {}], {})", type_name::<T>(), self.out_features, self.in_features, self.isa)
    }
}

/// `x · Wᵀ`; x `[T, in]`, the result `[T, out]`.
///
/// # Panics
/// If a shape does not fit, or the weight was packed for another instruction set.
pub fn forward<T: Float>(isa: Isa, x: MatRef<'_, T>, w: &PackedWeight<T>, y: Output<'_>, epilogue: &impl Epilogue) {
    w.check(isa);
    assert_eq!(x.cols(), w.in_features, "columns of x for {w:?}");
    w.product(x, RightOperand::Packed(&w.forward), w.out_features).run(w.isa, y, epilogue);
}

/// `dy · W`; dy `[T, out]`, the result `[T, in]`.
///
/// # Panics
/// As for [`forward`].
pub fn input_gradient<T: Float>(
    isa: Isa,
    dy: MatRef<'_, T>,
    w: &PackedWeight<T>,
    dx: Output<'_>,
    epilogue: &impl Epilogue,
) {
    w.check(isa);
    assert_eq!(dy.cols(), w.out_features, "columns of dy for {w:?}");
    let compute = |b: RightOperand<'_>, dx: Output<'_>| w.product(dy, b, w.in_features).run(w.isa, dx, epilogue);
    match &w.backward {
        Some(panels) => compute(RightOperand::Packed(panels), dx),
        None if TransposedProduct::pays(w.isa, dy.rows()) => with_thread_value(|Transposed(panels)| {
            panels.pack_matrix(w.isa, dy.words().t());
            run(w.isa, &TransposedProduct::new(w.isa, panels, &w.forward), dx, epilogue);
        }),
        None if dy.rows() <= MC => compute(RightOperand::Transposed(&w.forward), dx),
        None => with_thread_value(|Transposed(panels)| {
            panels.pack_transpose(w.isa, &Kernels::<T>::of(w.isa), &w.forward);
            compute(RightOperand::Packed(panels), dx);
        }),
    }
}
