//! Products of frozen weights in int8: `x · Wᵀ` and `dy · W` with factors of eight bits and sums of 32.
//!
//! A weight has a scale for each output feature (row of W), a moving operand one for each row:
//!
//! ```text
//! y[t, o]  = sx[t] s[o] Σᵢ qx[t, i] q[o, i]        x[t, i] ≈ sx[t] qx[t, i],  W[o, i] ≈ s[o] q[o, i]
//! dx[t, i] = sd[t] Σₒ qd[t, o] q[o, i]             dy[t, o] s[o] ≈ sd[t] qd[t, o]
//! ```
//!
//! The scales of the weight are a factor of dy in the second product, so that one rounding of the weight serves both.
//! It is the scheme of SwitchBack (arXiv 2304.13013) with a scale for each row of the weight. A row is quantized by
//! itself, so that its result depends on no other row of its batch. Up to four elements of a row of x or dy that are
//! much larger than the rest do not count for its scale (`outliers`).
//!
//! Factors lie within ±127, those of the outliers within ±16,256. k is at most 132,632, so that the sum of k products,
//! at most 127² k + 4 · 127 · 16,256 in size, fits 32 bits. It is exact, so that every instruction set computes the
//! same bits. Intermediate sums may wrap around and do not change it.

#[cfg(target_arch = "x86_64")]
mod amx;
mod kernel;
mod outliers;
mod quantize;
mod row;
#[cfg(test)]
mod tests;
mod words;

use std::{fmt, ops::Range};

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use self::amx::AmxProduct;
use self::kernel::{KernelKind, Kernels, MicroKernel, Tile};
use self::quantize::{LEAST, QuantizedRows, Unquantized};
use super::{
    Epilogue, Output,
    driver::{MC, MIN_BLOCKS, NC, Product, block_width, row_tiles, run},
};
use crate::{
    cpu::{Float, Isa},
    memory::Line,
};

/// The largest factor.
const MOST: f32 = 127.0;

/// An f32 whose neighbours are 1 apart, far on both sides: added and subtracted, it rounds to a whole number.
const WHOLE: f32 = 12_582_912.0; // 1.5 · 2²³

/// Factors in a word, which an instruction multiplies and adds up.
const PER_WORD: usize = 4;

/// The most terms of a sum, so that it fits 32 bits.
const MAX_TERMS: usize = (i32::MAX as usize - 127 * outliers::MOST_BEYOND) / (127 * 127);

/// A frozen `[out, in]` weight in int8, packed for both of its products.
pub struct Int8Weight {
    isa: Isa,
    out_features: usize,
    in_features: usize,
    /// The scale of each output feature.
    scales: Vec<f32>,
    /// As many ones as there are input features: the scales of `dy · W`.
    ones: Vec<f32>,
    forward: Panels,
    backward: Panels,
}

/// A `[k, n]` matrix of factors in panels of NR columns: for each four rows a word of each column, whose bytes hold the
/// factors, plus 128. Columns past the last one and rows past the last one are unspecified: sums of the former are
/// discarded, and zeros are multiplied with the latter.
struct Panels {
    lines: Vec<Line>,
    /// The columns.
    n: usize,
    /// The words of a column.
    words: usize,
    nr: usize,
}

impl Int8Weight {
    /// Rounds and packs the row-wise concatenation of `parts`, each `[out_i, in]` row-major, for `isa`.
    ///
    /// A row with an element that is not finite has a scale that is not, so that its products show it.
    ///
    /// # Panics
    /// Unless the parts hold `out_features` rows of `in_features` elements, or if either is more than 132,632.
    pub fn new(isa: Isa, parts: &[&[f32]], out_features: usize, in_features: usize) -> Self {
        assert!(
            out_features.max(in_features) <= MAX_TERMS,
            "a sum of {out_features} or {in_features} products of int8"
        );
        let rows: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks(in_features.max(1))).collect();
        assert!(
            rows.len() == out_features && rows.iter().all(|row| row.len() == in_features),
            "the parts of a [{out_features}, {in_features}] weight hold {} elements",
            parts.iter().map(|part| part.len()).sum::<usize>()
        );
        let scales: Vec<f32> = rows.par_iter().map(|row| scale(row)).collect();
        let inverses: Vec<f32> = scales.iter().map(|&scale| if scale > 0.0 { 1.0 / scale } else { 0.0 }).collect();
        // The sum is a whole number, rounded to even.
        let factor = |out: usize, of: usize| ((rows[out][of] * inverses[out]).clamp(-MOST, MOST) + WHOLE - WHOLE) as i8;
        let isa = isa.available();
        let kernels = Kernels::of(isa);
        let forward = Panels::pack(kernels, in_features, out_features, |k, n| factor(n, k));
        let backward = Panels::pack(kernels, out_features, in_features, factor);
        let ones = vec![1.0; in_features];
        Self { isa, out_features, in_features, scales, ones, forward, backward }
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

    /// `y = x · Wᵀ`; x `[T, in]`, y `[T, out]`.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn forward<T: Float>(&self, x: &[T], y: Output<'_>, epilogue: &impl Epilogue) {
        self.product(Unquantized::new(x, self.in_features), &self.forward, &self.scales, y, epilogue);
    }

    /// `dx = dy · W`; dy `[T, out]`, dx `[T, in]`.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn input_gradient<T: Float>(&self, dy: &[T], dx: Output<'_>, epilogue: &impl Epilogue) {
        self.product(Unquantized::scaled(dy, &self.scales), &self.backward, &self.ones, dx, epilogue);
    }

    fn product<T: Float>(
        &self,
        a: Unquantized<'_, T>,
        b: &Panels,
        scales: &[f32],
        to: Output<'_>,
        epilogue: &impl Epilogue,
    ) {
        let kernels = Kernels::of(self.isa);
        let quantized;
        let a = if b.can_be_read_by_each_task(kernels) && fills_the_threads(a.rows().div_ceil(MC)) {
            Left::Unquantized(a)
        } else {
            quantized = a.quantize(self.isa);
            Left::Quantized(&quantized)
        };
        Int8Product { isa: self.isa, kernels, a, b, scales }.run(to, epilogue);
    }
}

/// The scale of a row of a weight.
fn scale(row: &[f32]) -> f32 {
    let most = row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    match row.iter().all(|value| value.is_finite()) {
        true if most > LEAST => most / MOST,
        true => 0.0,
        false => f32::NAN,
    }
}

/// Whether tasks of one length keep the threads of the pool busy, the last of them too.
fn fills_the_threads(tasks: usize) -> bool {
    let threads = rayon::current_num_threads();
    let rounds = tasks.div_ceil(threads);
    rounds >= 3 && 10 * tasks >= 9 * rounds * threads
}

impl fmt::Debug for Int8Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Int8Weight([{}, {}], {})", self.out_features, self.in_features, self.isa)
    }
}

impl Panels {
    fn pack(kernels: Kernels, k: usize, n: usize, factor: impl Fn(usize, usize) -> i8 + Sync) -> Self {
        let nr = kernels.nr;
        let words = k.div_ceil(PER_WORD).next_multiple_of(kernels.depth_multiple);
        let panel = words * nr * PER_WORD;
        let bytes = n.div_ceil(nr).checked_mul(panel).expect("panels that fit the address space");
        let mut lines = vec![Line::ZERO; bytes.div_ceil(size_of::<Line>())];
        if bytes > 0 {
            let all: &mut [u8] = &mut bytemuck::cast_slice_mut(&mut lines)[..bytes];
            all.par_chunks_mut(panel).enumerate().for_each(|(i, panel)| {
                for (word, columns) in panel.chunks_exact_mut(nr * PER_WORD).enumerate() {
                    let ks = k.min(word * PER_WORD)..k.min((word + 1) * PER_WORD);
                    for (col, factors) in (i * nr..n).zip(columns.chunks_exact_mut(PER_WORD)) {
                        ks.clone().zip(factors).for_each(|(k, to)| *to = factor(k, col).cast_unsigned() ^ 0x80);
                    }
                }
            });
        }
        Self { lines, n, words, nr }
    }

    /// Whether tasks of whole rows, each of which reads all panels and rounds its rows itself, are faster than blocks
    /// of rows that were rounded before. In tile registers a product takes hardly longer than reading the panels from
    /// the L3 cache, so there the panels must stay in the L2 cache, or the rows to round be as long as there are
    /// columns.
    fn can_be_read_by_each_task(&self, kernels: Kernels) -> bool {
        const L2_BYTES: usize = 640 << 10;
        match kernels.kind {
            KernelKind::Vectors(_) => true,
            #[cfg(target_arch = "x86_64")]
            KernelKind::Amx => self.lines.len() * size_of::<Line>() <= L2_BYTES || self.words * PER_WORD >= self.n,
        }
    }

    /// The address of panel `i`.
    fn get(&self, i: usize) -> *const u8 {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        bytes[i * self.words * self.nr * PER_WORD..].as_ptr()
    }
}

/// The left operand of a product.
#[derive(Clone, Copy)]
enum Left<'a, T> {
    /// Rounded before.
    Quantized(&'a QuantizedRows),
    /// Rounded by the tasks that compute whole rows.
    Unquantized(Unquantized<'a, T>),
}

/// The rows of the left operand in a task.
enum TaskRows<'a> {
    Own(QuantizedRows),
    /// Some of all rows, from this one on.
    From(&'a QuantizedRows, usize),
}

impl TaskRows<'_> {
    /// Where rows of the task are.
    fn at(&self, rows: Range<usize>) -> (&QuantizedRows, Range<usize>) {
        match self {
            Self::Own(own) => (own, rows),
            Self::From(all, first) => (all, first + rows.start..first + rows.end),
        }
    }
}

struct Int8Product<'a, T> {
    isa: Isa,
    kernels: Kernels,
    a: Left<'a, T>,
    b: &'a Panels,
    /// The scale of each column.
    scales: &'a [f32],
}

impl<T: Float> Int8Product<'_, T> {
    /// Computes the product with the macro-kernel of its instructions.
    fn run(&self, to: Output<'_>, epilogue: &impl Epilogue) {
        match self.kernels.kind {
            KernelKind::Vectors(table) => run(self.isa, &VectorProduct { product: self, table }, to, epilogue),
            #[cfg(target_arch = "x86_64")]
            KernelKind::Amx => run(self.isa, &AmxProduct(self), to, epilogue),
        }
    }

    fn shape(&self) -> [usize; 3] {
        let [m, k] = match &self.a {
            Left::Quantized(a) => [a.rows(), a.cols()],
            Left::Unquantized(a) => [a.rows(), a.cols()],
        };
        [m, k, self.scales.len()]
    }

    fn has_tasks_of_whole_rows(&self) -> bool {
        matches!(self.a, Left::Unquantized(_))
    }

    fn left(&self, rows: Range<usize>) -> TaskRows<'_> {
        match &self.a {
            Left::Quantized(a) => TaskRows::From(a, rows.start),
            Left::Unquantized(a) => TaskRows::Own(a.quantize_rows(self.isa, rows)),
        }
    }

    /// The tile of some rows and the columns of a panel before `end`, at `c`.
    #[inline]
    fn tile<'a>(
        &'a self,
        (left, rows): (&'a QuantizedRows, Range<usize>),
        panel: usize,
        end: usize,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) -> Tile<'a> {
        let nr = self.kernels.nr;
        let (a, a_stride) = left.row(rows.start);
        Tile {
            words: self.b.words,
            a,
            a_stride,
            b: self.b.get(panel),
            starts: &left.starts()[rows.clone()],
            outliers: &left.outliers()[rows.clone()],
            row_scales: &left.scales()[rows],
            col_scales: &self.scales[panel * nr..end.min((panel + 1) * nr)],
            c,
            c_stride,
            accumulate,
        }
    }
}

/// A product computed by micro-kernels in vector registers.
struct VectorProduct<'a, T> {
    product: &'a Int8Product<'a, T>,
    table: &'static [MicroKernel],
}

impl<T: Float> Product for VectorProduct<'_, T> {
    type Left<'a>
        = TaskRows<'a>
    where
        Self: 'a;

    fn shape(&self) -> [usize; 3] {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let [m, _, n] = self.shape();
        [MC, block_width(m.div_ceil(MC), n, self.product.kernels.nr, NC, MIN_BLOCKS)]
    }

    fn has_tasks_of_whole_rows(&self) -> bool {
        self.product.has_tasks_of_whole_rows()
    }

    fn left(&self, rows: Range<usize>) -> TaskRows<'_> {
        self.product.left(rows)
    }

    unsafe fn macro_kernel(
        &self,
        left: &TaskRows<'_>,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let nr = self.product.kernels.nr;
        for panel in cols.start / nr..cols.end.div_ceil(nr) {
            for (ir, count) in row_tiles(&(0..rows.len()), self.table.len()) {
                let c = c.wrapping_add(ir * c_stride + panel * nr - cols.start);
                let tile = self.product.tile(left.at(ir..ir + count), panel, cols.end, c, c_stride, accumulate);
                // SAFETY: the micro-kernels belong to instructions that the CPU has. The rows of a hold as many words
                // as the panel, their outliers are in columns of a, and the caller guarantees c.
                unsafe { self.table[count - 1](&tile) };
            }
        }
    }
}
