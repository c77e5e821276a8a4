//! Packing: the right operand as panels. A panel holds NR columns of B, a few vectors wide, one step of k after the
//! other, contiguous and aligned to cache lines.

use std::{marker::PhantomData, ops::Range};

use rayon::prelude::*;

use super::{MatRef, Operand, kernel::Kernels};
use crate::{
    cpu::{
        Float, load,
        simd::{self, Isa, Kernel, Simd},
        store,
    },
    memory::Line,
};

/// The number of words up to which one thread does the packing.
const SEQUENTIAL: usize = 1 << 16;

/// A `[k, n]` matrix in panels of NR columns, the last one as narrow as whole vectors allow.
#[derive(Default)]
pub(super) struct Panels {
    lines: Vec<Line>,
    /// The number of steps of k.
    steps: usize,
    /// The number of steps in a panel; those past the end of k are zero.
    depth: usize,
    n: usize,
    /// NR: the number of columns of every panel but the last.
    nr: usize,
    /// The number of columns that the last panel is padded to.
    last_width: usize,
}

/// One panel: its words, the distance between its steps, and the columns of the matrix that it holds.
pub(super) struct Panel<'a> {
    pub data: &'a [f32],
    pub stride: usize,
    pub cols: Range<usize>,
}

impl Panels {
    /// The panels of an empty matrix.
    pub const EMPTY: Self = Self { lines: Vec::new(), steps: 0, depth: 0, n: 0, nr: 0, last_width: 0 };

    /// Packs the `[k, n]` matrix whose elements are `element(k, n)`.
    pub fn pack<T: Float>(
        kernels: &Kernels<T>,
        k: usize,
        n: usize,
        element: impl Fn(usize, usize) -> T + Sync,
    ) -> Self {
        let mut panels = Self::default();
        panels.fill(kernels, k, n, |cols, words, stride| {
            for (step, words) in words.chunks_exact_mut(stride).enumerate() {
                for (col, word) in cols.clone().zip(words) {
                    *word = T::word(|i| {
                        let k_at = step * T::PER_STEP + i;
                        if k_at < k { element(k_at, col) } else { T::zeroed() }
                    });
                }
            }
        });
        panels
    }

    /// Packs a matrix for the kernels of `isa`, reusing the memory of the previous one.
    pub fn pack_matrix<T: Operand>(&mut self, isa: Isa, b: MatRef<'_, T>) {
        self.fill(&Kernels::<T>::of(isa), b.rows(), b.cols(), |cols, words, stride| {
            let (rows, rest) = words.split_at_mut(b.rows() * stride);
            copy_rows(isa, b.part(0..b.rows(), cols), rows, stride);
            rest.fill(0.0);
        });
    }

    /// Packs the transpose of a matrix of f32 that `from` holds in panels of the same kernels, reusing the memory of
    /// the previous matrix.
    pub fn pack_transpose<T: Operand>(&mut self, isa: Isa, kernels: &Kernels<T>, from: &Self) {
        debug_assert_eq!(T::PER_STEP, 1, "words that hold two elements cannot be transposed");
        let [rows, _] = from.shape();
        self.fill(kernels, from.n, rows, |cols, words, stride| {
            from.transpose_part(isa, cols, 0..from.n, words, stride);
        });
    }

    /// Writes the transpose of a part of the `[k, n]` matrix of f32, of the rows `rows` and the columns `cols`, to rows
    /// of `stride` words. Also prefetches the same number of rows after them, from which the next panel is made.
    pub fn transpose_part(&self, isa: Isa, rows: Range<usize>, cols: Range<usize>, words: &mut [f32], stride: usize) {
        simd::dispatch(isa, TransposePart { panels: self, rows, cols, words, stride });
    }

    /// Takes the shape of a `[k, n]` matrix and calls `fill(columns, words, stride)` to write each panel, including the
    /// steps past the end of k. Words that it does not write have unspecified values.
    fn fill<T: Operand>(
        &mut self,
        kernels: &Kernels<T>,
        k: usize,
        n: usize,
        fill: impl Fn(Range<usize>, &mut [f32], usize) + Sync,
    ) {
        let nr = kernels.nr();
        self.steps = k.div_ceil(T::PER_STEP);
        self.depth =
            self.steps.checked_next_multiple_of(kernels.depth_multiple).expect("panels that fit the address space");
        (self.n, self.nr) = (n, nr);
        self.last_width = (n % nr).next_multiple_of(kernels.lanes);
        let (depth, last_width) = (self.depth, self.last_width);
        // Checked, because the kernels rely on the shape.
        let words = (n / nr * nr + last_width).checked_mul(depth).expect("panels that fit the address space");
        if words == 0 {
            return;
        }
        self.lines.resize(self.lines.len().max(words.div_ceil(Line::LEN)), Line::ZERO);
        let all: &mut [f32] = &mut bytemuck::cast_slice_mut(&mut self.lines)[..words];
        let panel = |(i, words): (usize, &mut [f32])| {
            let cols = i * nr..n.min((i + 1) * nr);
            let stride = if cols.len() == nr { nr } else { last_width };
            fill(cols, words, stride);
        };
        if words <= SEQUENTIAL {
            all.chunks_mut(nr * depth).enumerate().for_each(panel);
        } else {
            all.par_chunks_mut(nr * depth).enumerate().for_each(panel);
        }
    }

    /// Overwrites columns from `first` on by the rows of `rows`, whose words are the steps of k.
    pub fn write_columns(&mut self, isa: Isa, first: usize, rows: MatRef<'_>) {
        assert_eq!(rows.cols(), self.steps, "steps of columns");
        self.for_each_panel(first..first + rows.rows(), |cols, words, stride| {
            let (from, to) = (cols.start.max(first), cols.end.min(first + rows.rows()));
            let rows = rows.part(from - first..to - first, 0..rows.cols());
            simd::dispatch(isa, Transpose { rows, words: &mut words[from - cols.start..], stride });
        });
    }

    /// Overwrites rows of the matrix from `first` on by the rows of `rows`, which are `[rows, n]`.
    pub fn write_rows<T: Float>(&mut self, isa: Isa, first: usize, rows: MatRef<'_>) {
        assert_eq!(rows.cols(), self.n, "columns of rows");
        self.for_each_panel(0..self.n, |cols, words, stride| {
            let rows = rows.part(0..rows.rows(), cols);
            simd::dispatch(isa, WriteRows::<T> { first, rows, words, stride, element: PhantomData });
        });
    }

    /// Overwrites the element `(k, n)`.
    pub fn set<T: Float>(&mut self, k: usize, n: usize, value: T) {
        assert!(k < self.steps * T::PER_STEP && n < self.n, "an element of the matrix");
        let panel = n / self.nr;
        let stride = if (panel + 1) * self.nr <= self.n { self.nr } else { self.last_width };
        let word = panel * self.nr * self.depth + k / T::PER_STEP * stride + n % self.nr;
        let elements: &mut [T] = bytemuck::cast_slice_mut(&mut self.lines);
        elements[word * T::PER_STEP + k % T::PER_STEP] = value;
    }

    /// Calls `work(columns, words, stride)` for each panel that holds some of `columns`.
    fn for_each_panel(&mut self, columns: Range<usize>, work: impl Fn(Range<usize>, &mut [f32], usize) + Sync) {
        let (n, nr, depth, last_width) = (self.n, self.nr, self.depth, self.last_width);
        if columns.is_empty() || depth == 0 {
            return;
        }
        let words = (n / nr * nr + last_width) * depth;
        let all: &mut [f32] = &mut bytemuck::cast_slice_mut(&mut self.lines)[..words];
        let first = columns.start / nr;
        let panels = &mut all[first * nr * depth..words.min(columns.end.div_ceil(nr) * nr * depth)];
        let panel = |(i, words): (usize, &mut [f32])| {
            let cols = (first + i) * nr..n.min((first + i + 1) * nr);
            let stride = if cols.len() == nr { nr } else { last_width };
            work(cols, words, stride);
        };
        if panels.len() <= SEQUENTIAL {
            panels.chunks_mut(nr * depth).enumerate().for_each(panel);
        } else {
            panels.par_chunks_mut(nr * depth).enumerate().for_each(panel);
        }
    }

    /// The shape `[k, n]`, with k in steps.
    pub fn shape(&self) -> [usize; 2] {
        [self.steps, self.n]
    }

    /// NR: the columns of every panel but the last.
    pub fn nr(&self) -> usize {
        self.nr
    }

    /// The words from panel `i` on.
    pub fn from(&self, i: usize) -> &[f32] {
        let words: &[f32] = bytemuck::cast_slice(&self.lines);
        &words[i * self.nr * self.depth..]
    }

    /// All panels.
    pub fn iter(&self) -> impl Iterator<Item = Panel<'_>> {
        (0..self.n.div_ceil(self.nr)).map(|i| self.get(i))
    }

    /// Panel `i`, which holds the columns from `i * NR` on.
    pub fn get(&self, i: usize) -> Panel<'_> {
        let cols = i * self.nr..self.n.min((i + 1) * self.nr);
        let stride = if cols.len() == self.nr { self.nr } else { self.last_width };
        Panel { data: &self.from(i)[..stride * self.depth], stride, cols }
    }
}

/// Writes rows of a matrix into a panel of it, of which a step has `stride` words.
struct WriteRows<'a, T> {
    first: usize,
    rows: MatRef<'a>,
    words: &'a mut [f32],
    stride: usize,
    element: PhantomData<T>,
}

impl<T: Float> Kernel for WriteRows<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { first, rows, words, stride, .. } = self;
        let mut i = 0;
        while i < rows.rows() {
            let (step, part) = ((first + i) / T::PER_STEP, (first + i) % T::PER_STEP);
            let to = &mut words[step * stride..][..rows.cols()];
            if T::PER_STEP == 2 && part == 0 && i + 1 < rows.rows() {
                let (low, high) = (rows.row(i), rows.row(i + 1));
                for at in (0..rows.cols()).step_by(S::LANES) {
                    store(s, to, at, s.pair_bf16(load(s, low, at), load(s, high, at)));
                }
                i += 2;
                continue;
            }
            let to: &mut [T] = bytemuck::cast_slice_mut(to);
            let to = to.iter_mut().skip(part).step_by(T::PER_STEP);
            to.zip(rows.row(i)).for_each(|(to, &from)| *to = T::from_f32(from));
            i += 1;
        }
    }
}

/// Copies the rows of a matrix to rows of `stride` words each, padded with zeros.
pub(super) fn copy_rows<T: Operand>(isa: Isa, from: MatRef<'_, T>, words: &mut [f32], stride: usize) {
    let [_, col_stride] = from.strides();
    let columns_are_contiguous = from.strides()[0] == 1 && size_of::<T>() == size_of::<f32>();
    if col_stride != 1 && columns_are_contiguous {
        simd::dispatch(isa, Transpose { rows: from.words().t(), words, stride });
    }
    for (i, words) in words.chunks_exact_mut(stride).enumerate() {
        let (to, rest) = bytemuck::cast_slice_mut::<f32, T>(words).split_at_mut(from.cols());
        if col_stride == 1 {
            to.copy_from_slice(from.row(i));
        } else if !columns_are_contiguous {
            to.iter_mut().enumerate().for_each(|(j, to)| *to = from.at(i, j));
        }
        rest.fill(T::zeroed());
    }
}

/// [`Panels::transpose_part`].
struct TransposePart<'a> {
    panels: &'a Panels,
    rows: Range<usize>,
    cols: Range<usize>,
    words: &'a mut [f32],
    stride: usize,
}

impl Kernel for TransposePart<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { panels, rows, cols, words, stride } = self;
        for i in cols.start / panels.nr..cols.end.div_ceil(panels.nr) {
            let panel = panels.get(i);
            let all = MatRef::strided(panel.data, [panels.steps, panel.cols.len()], [panel.stride, 1]);
            let (first, last) = (panel.cols.start.max(cols.start), panel.cols.end.min(cols.end));
            let part = all.part(rows.clone(), first - panel.cols.start..last - panel.cols.start);
            transpose_rows::<S, true>(s, part, &mut words[(first - cols.start) * stride..], stride);
        }
    }
}

/// Writes the rows of a matrix as columns of rows that are `stride` words apart.
struct Transpose<'a> {
    rows: MatRef<'a>,
    words: &'a mut [f32],
    stride: usize,
}

impl Kernel for Transpose<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        transpose_rows::<S, false>(s, self.rows, self.words, self.stride);
    }
}

/// Writes the rows of a matrix as columns of rows that are `stride` words apart. With `AHEAD`, also prefetches the
/// same number of rows after them, from which the next panel is made. The CPU's own prefetcher does not detect the
/// pattern, because what is read of each panel is too short.
#[inline(always)]
fn transpose_rows<S: Simd, const AHEAD: bool>(s: S, rows: MatRef<'_>, words: &mut [f32], stride: usize) {
    let [row_stride, _] = rows.strides();
    let square = |len: usize| len / S::LANES * S::LANES;
    let (whole_rows, whole_cols) = (square(rows.rows()), square(rows.cols()));
    for i in (0..whole_rows).step_by(S::LANES) {
        for j in (0..whole_cols).step_by(S::LANES) {
            if AHEAD && j % Line::LEN == 0 {
                for row in rows.rows() + i..rows.rows() + i + S::LANES {
                    s.prefetch_to_l2(rows.as_ptr().wrapping_add(row * row_stride + j));
                }
            }
            s.transpose(rows.from(i, j), row_stride, &mut words[j * stride + i..], stride);
        }
    }
    if whole_rows == rows.rows() && whole_cols == rows.cols() {
        return;
    }
    for i in 0..rows.rows() {
        let done = if i < whole_rows { whole_cols } else { 0 };
        for (j, &v) in rows.row(i).iter().enumerate().skip(done) {
            words[j * stride + i] = v;
        }
    }
}

/// Writes the transpose of a matrix of words: `to` is `[cols, rows]`, in rows `stride` apart; what is past the end of
/// them keeps its value.
pub fn transpose(isa: Isa, from: MatRef<'_>, to: &mut [f32], stride: usize) {
    assert!(from.rows() <= stride, "rows of a transpose");
    /// Columns of `from` in a task: whole cache lines.
    const COLUMNS: usize = 64;
    to.par_chunks_mut(COLUMNS * stride).enumerate().for_each(|(i, words)| {
        let columns = i * COLUMNS..from.cols().min((i + 1) * COLUMNS);
        transpose_block(isa, from.part(0..from.rows(), columns), words, stride);
    });
}

/// As [`transpose`], in the calling thread.
pub fn transpose_block(isa: Isa, from: MatRef<'_>, to: &mut [f32], stride: usize) {
    assert!(from.rows() <= stride, "rows of a transpose");
    simd::dispatch(isa, Transpose { rows: from, words: to, stride });
}
