//! The right operand as panels: for each few vectors of columns, step after step of k, contiguous and aligned.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::{
    MatRef, Step,
    kernel::{Kernels, Operand},
};
use crate::{
    cpu::simd::{self, Isa, Kernel, Simd},
    memory::Line,
};

/// An operand type that panels hold: one or more elements to an f32's place.
pub(super) trait Packed: Operand {
    /// The place that holds the elements of one step in one column; `element(i)` is the step's `i`-th.
    fn place(element: impl Fn(usize) -> Self) -> f32;
    /// Zero: what a step holds behind the end of k.
    const ZERO: Self;
    /// The nearest value of the type.
    fn round(v: f32) -> Self;
}

impl Packed for f32 {
    const ZERO: f32 = 0.0;
    #[inline(always)]
    fn round(v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn place(element: impl Fn(usize) -> f32) -> f32 {
        element(0)
    }
}

impl Packed for bf16 {
    const ZERO: bf16 = bf16::ZERO;
    #[inline(always)]
    fn round(v: f32) -> bf16 {
        bf16::from_f32(v)
    }
    #[inline(always)]
    fn place(element: impl Fn(usize) -> bf16) -> f32 {
        f32::from_bits(u32::from(element(0).to_bits()) | u32::from(element(1).to_bits()) << 16)
    }
}

/// Places below which threads are not asked to help with the packing.
const SEQUENTIAL: usize = 1 << 16;

/// A `[k, n]` matrix in panels of [`Kernels::width`] columns, the last one as narrow as whole vectors allow.
#[derive(Default)]
pub(super) struct Panels {
    lines: Vec<Line>,
    /// Steps of k.
    steps: usize,
    /// Steps that a panel holds, those behind the end of k zero.
    depth: usize,
    n: usize,
    /// Columns of a panel but the last.
    width: usize,
    /// Columns that the last panel holds room for.
    last_width: usize,
}

/// One panel: where it starts, how far its steps are apart, and which columns of the matrix it holds.
pub(super) struct Panel<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub cols: Range<usize>,
}

impl Panels {
    /// No matrix.
    pub const EMPTY: Self = Self { lines: Vec::new(), steps: 0, depth: 0, n: 0, width: 0, last_width: 0 };

    /// Lays out the `[k, n]` matrix whose elements are `element(k, n)`.
    pub fn pack<T: Packed>(
        kernels: &Kernels<T>,
        k: usize,
        n: usize,
        element: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        let mut panels = Self::default();
        panels.fill(kernels, k, n, |cols, places, stride| {
            for (step, places) in places.chunks_exact_mut(stride).enumerate() {
                for (col, place) in cols.clone().zip(places) {
                    *place = T::place(|i| {
                        let k_at = step * T::PER_STEP + i;
                        if k_at < k { element(k_at, col) } else { T::ZERO }
                    });
                }
            }
        });
        panels
    }

    /// Lays out a matrix for the kernels of `isa`, in the memory of the one before it.
    pub fn pack_matrix<T: Step>(&mut self, isa: Isa, b: MatRef<'_, T>) {
        self.fill(&Kernels::<T>::of(isa), b.rows(), b.cols(), |cols, places, stride| {
            let (rows, rest) = places.split_at_mut(b.rows() * stride);
            copy_rows(isa, b.part(0..b.rows(), cols), rows, stride);
            rest.fill(0.0);
        });
    }

    /// Lays out the transpose of a matrix that panels for the kernels of `isa` hold, in the memory of the one before it.
    pub fn pack_transpose(&mut self, isa: Isa, kernels: &Kernels<f32>, from: &Self) {
        let [rows, _] = from.shape();
        self.fill(kernels, from.n, rows, |cols, places, stride| {
            for i in 0..from.n.div_ceil(from.width) {
                let panel = from.get(i);
                let all = MatRef::strided(panel.data, [rows, panel.cols.len()], [panel.stride, 1]);
                let rows = all.part(cols.clone(), 0..panel.cols.len());
                simd::dispatch(isa, Transpose { rows, places: &mut places[panel.cols.start * stride..], stride });
            }
        });
    }

    /// Takes on the shape of a `[k, n]` matrix and has `fill(columns, places, stride)` write each panel, the steps behind the end
    /// of k too. Places that it does not write hold anything.
    fn fill<T: Operand>(
        &mut self,
        kernels: &Kernels<T>,
        k: usize,
        n: usize,
        fill: impl Fn(Range<usize>, &mut [f32], usize) + Sync,
    ) {
        let width = kernels.width();
        self.steps = k.div_ceil(T::PER_STEP);
        self.depth = self.steps.checked_next_multiple_of(kernels.steps).expect("panels that fit the address space");
        (self.n, self.width) = (n, width);
        self.last_width = (n % width).next_multiple_of(kernels.lanes);
        let (depth, last_width) = (self.depth, self.last_width);
        // Not a product that wraps: the kernels trust the shape.
        let places = (n / width * width + last_width).checked_mul(depth).expect("panels that fit the address space");
        if places == 0 {
            return;
        }
        self.lines.resize(self.lines.len().max(places.div_ceil(Line::LEN)), Line::ZERO);
        let all: &mut [f32] = &mut bytemuck::cast_slice_mut(&mut self.lines)[..places];
        let panel = |(i, places): (usize, &mut [f32])| {
            let cols = i * width..n.min((i + 1) * width);
            let stride = if cols.len() == width { width } else { last_width };
            fill(cols, places, stride);
        };
        if places <= SEQUENTIAL {
            all.chunks_mut(width * depth).enumerate().for_each(panel);
        } else {
            all.par_chunks_mut(width * depth).enumerate().for_each(panel);
        }
    }

    /// Bytes they take.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// `[k, n]`, with k in steps.
    pub fn shape(&self) -> [usize; 2] {
        [self.steps, self.n]
    }

    /// Panel `i`.
    pub fn get(&self, i: usize) -> Panel<'_> {
        let places: &[f32] = bytemuck::cast_slice(&self.lines);
        let cols = i * self.width..self.n.min((i + 1) * self.width);
        let stride = if cols.len() == self.width { self.width } else { self.last_width };
        Panel { data: &places[i * self.width * self.depth..][..stride * self.depth], stride, cols }
    }
}

/// Copies the rows of a matrix to rows of `stride` places each; what is behind a row's end is zero.
pub(super) fn copy_rows<T: Operand>(isa: Isa, from: MatRef<'_, T>, places: &mut [f32], stride: usize) {
    let [_, col_stride] = from.strides();
    let columns_lie = from.strides()[0] == 1 && size_of::<T>() == size_of::<f32>();
    if col_stride != 1 && columns_lie {
        simd::dispatch(isa, Transpose { rows: from.places().t(), places, stride });
    }
    for (i, places) in places.chunks_exact_mut(stride).enumerate() {
        let (to, rest) = bytemuck::cast_slice_mut::<f32, T>(places).split_at_mut(from.cols());
        if col_stride == 1 {
            to.copy_from_slice(from.row(i));
        } else if !columns_lie {
            to.iter_mut().enumerate().for_each(|(j, to)| *to = from.at(i, j));
        }
        rest.fill(T::zeroed());
    }
}

/// Writes the rows of a matrix as columns, `stride` from one place to the next of a row.
struct Transpose<'a> {
    rows: MatRef<'a>,
    places: &'a mut [f32],
    stride: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { rows, places, stride } = self;
        let [row_stride, _] = rows.strides();
        let square = |len: usize| len / S::LANES * S::LANES;
        let (whole_rows, whole_cols) = (square(rows.rows()), square(rows.cols()));
        for i in (0..whole_rows).step_by(S::LANES) {
            for j in (0..whole_cols).step_by(S::LANES) {
                s.transpose(rows.from(i, j), row_stride, &mut places[j * stride + i..], stride);
            }
        }
        for i in 0..rows.rows() {
            let done = if i < whole_rows { whole_cols } else { 0 };
            for (j, &v) in rows.row(i).iter().enumerate().skip(done) {
                places[j * stride + i] = v;
            }
        }
    }
}
