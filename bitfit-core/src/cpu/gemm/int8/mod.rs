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
//! Factors lie within ±127, those of the outliers within ±16,256. k is at most 131,592, so that the sum of a row's
//! factors is exact in f32; the sum of k products, at most 127² k + 4 · 127 · 16,256 in size, then fits 32 bits. It is
//! exact, so that every instruction set computes the same bits. Intermediate sums may wrap around and do not change it.

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
pub use self::quantize::QuantizedRows;
use super::{
    Epilogue, Output,
    driver::{MC, MIN_BLOCKS, NC, Product, block_width, row_tiles, run},
};
use crate::{cpu::Isa, memory::Line};

/// The largest factor.
const MOST: f32 = 127.0;

/// An f32 whose neighbours are 1 apart, far on both sides: added and subtracted, it rounds to a whole number.
const WHOLE: f32 = 12_582_912.0; // 1.5 · 2²³

/// Factors in a word, which an instruction multiplies and adds up.
const PER_WORD: usize = 4;

/// The most terms of a sum, so that the sum of a row's factors is exact in f32.
const MAX_TERMS: usize = ((1 << 24) - outliers::MOST_BEYOND) / 127;

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
    /// The words of a column.
    words: usize,
    nr: usize,
}

impl Int8Weight {
    /// Rounds and packs the row-wise concatenation of `parts`, each `[out_i, in]` row-major, for `isa`.
    ///
    /// # Panics
    /// Unless the parts hold `out_features` rows of `in_features` elements, or if either is more than 131,592.
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
        let scales: Vec<f32> =
            rows.par_iter().map(|row| row.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / MOST).collect();
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

    /// The scale of each row: the factors of `dy` in [`Int8Weight::input_gradient`].
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// `y = x · Wᵀ`; x `[T, in]`, y `[T, out]`.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn forward(&self, x: &QuantizedRows, y: Output<'_>, epilogue: &impl Epilogue) {
        self.product(x, &self.forward, &self.scales, y, epilogue);
    }

    /// `dx = dy · W`; dy `[T, out]`, quantized with the weight's [`scales`](Self::scales) as factors, dx `[T, in]`.
    ///
    /// # Panics
    /// If a shape does not fit.
    pub fn input_gradient(&self, dy: &QuantizedRows, dx: Output<'_>, epilogue: &impl Epilogue) {
        self.product(dy, &self.backward, &self.ones, dx, epilogue);
    }

    fn product(&self, a: &QuantizedRows, b: &Panels, scales: &[f32], to: Output<'_>, epilogue: &impl Epilogue) {
        let inner = if std::ptr::eq(b, &self.forward) { self.in_features } else { self.out_features };
        assert_eq!(a.cols(), inner, "columns of the left operand of {self:?}");
        Int8Product { kernels: Kernels::of(self.isa), a, b, scales }.run(self.isa, to, epilogue);
    }
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
        Self { lines, words, nr }
    }

    /// The address of panel `i`.
    fn get(&self, i: usize) -> *const u8 {
        let bytes: &[u8] = bytemuck::cast_slice(&self.lines);
        bytes[i * self.words * self.nr * PER_WORD..].as_ptr()
    }
}

struct Int8Product<'a> {
    kernels: Kernels,
    a: &'a QuantizedRows,
    b: &'a Panels,
    /// The scale of each column.
    scales: &'a [f32],
}

impl Int8Product<'_> {
    /// Computes the product with the macro-kernel of its instructions.
    fn run(&self, isa: Isa, to: Output<'_>, epilogue: &impl Epilogue) {
        match self.kernels.kind {
            KernelKind::Vectors(table) => run(isa, &VectorProduct { product: self, table }, to, epilogue),
            #[cfg(target_arch = "x86_64")]
            KernelKind::Amx => run(isa, &AmxProduct(self), to, epilogue),
        }
    }

    fn shape(&self) -> [usize; 3] {
        [self.a.rows(), self.a.cols(), self.scales.len()]
    }

    /// The tile of the rows `rows` and the columns of a panel before `end`, at `c`.
    #[inline]
    fn tile(
        &self,
        rows: Range<usize>,
        panel: usize,
        end: usize,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) -> Tile<'_> {
        let nr = self.kernels.nr;
        let (a, a_stride) = self.a.row(rows.start);
        Tile {
            words: self.b.words,
            a,
            a_stride,
            b: self.b.get(panel),
            starts: &self.a.starts()[rows.clone()],
            outliers: &self.a.outliers()[rows.clone()],
            row_scales: &self.a.scales()[rows],
            col_scales: &self.scales[panel * nr..end.min((panel + 1) * nr)],
            c,
            c_stride,
            accumulate,
        }
    }
}

/// A product computed by micro-kernels in vector registers.
struct VectorProduct<'a> {
    product: &'a Int8Product<'a>,
    table: &'static [MicroKernel],
}

impl Product for VectorProduct<'_> {
    fn shape(&self) -> [usize; 3] {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        let [m, _, n] = self.shape();
        [MC, block_width(m.div_ceil(MC), n, self.product.kernels.nr, NC, MIN_BLOCKS)]
    }

    unsafe fn macro_kernel(
        &self,
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let nr = self.product.kernels.nr;
        for panel in cols.start / nr..cols.end.div_ceil(nr) {
            for (ir, count) in row_tiles(&rows, self.table.len()) {
                let c = c.wrapping_add((ir - rows.start) * c_stride + panel * nr - cols.start);
                let tile = self.product.tile(ir..ir + count, panel, cols.end, c, c_stride, accumulate);
                // SAFETY: the micro-kernels belong to instructions that the CPU has. The rows of a hold as many words
                // as the panel, their outliers are in columns of a, and the caller guarantees c.
                unsafe { self.table[count - 1](&tile) };
            }
        }
    }
}
