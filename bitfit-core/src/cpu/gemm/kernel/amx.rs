//! Products of bfloat16 in AMX's tile registers. Rows of A are read in place if each round of each row is one cache
//! line; all others are copied first.
//!
//! The instructions flush subnormal inputs and sums to zero.

use std::{marker::PhantomData, ops::Range};

use super::{
    super::{
        MatMut, MatRef,
        driver::{PanelProduct, Product, k_parts},
        pack::copy_rows,
    },
    Operand,
    tiles::{self, AmxTile, COLS, ConfiguredTiles, MR, NR, ROWS, STEPS},
};
use crate::{
    cpu::simd::{self, Isa, Kernel, Simd},
    memory::{Line, ThreadScratch},
};

/// The bytes of a row of a tile register.
const ROW_BYTES: usize = 64;

/// The most bytes between rows that are read in place: the copied rows of a block, up to fifteen, are as far apart.
const MAX_STRIDE: usize = 16 << 10;

/// KC in rounds of sixteen steps, chosen by measurement with [`tiles::block_shape`]: the fewer, the more of a panel
/// stays in the L1 cache, and the more often the sums are loaded and stored.
const KC_ROUNDS: usize = 24;

/// A product computed by micro-kernels in tile registers.
pub(in crate::cpu::gemm) struct AmxProduct<'a, 'b, T: 'static> {
    pub product: &'a PanelProduct<'b, T>,
}

impl<T: Operand> Product for AmxProduct<'_, '_, T> {
    type Left<'a>
        = ()
    where
        Self: 'a;

    fn shape(&self) -> [usize; 3] {
        self.product.shape()
    }

    fn block_shape(&self) -> [usize; 2] {
        tiles::block_shape(self.product.a.rows(), self.product.n, self.product.kernels.nr())
    }

    fn left(&self, _rows: Range<usize>) {}

    unsafe fn macro_kernel(
        &self,
        _left: &(),
        rows: Range<usize>,
        cols: Range<usize>,
        c: *mut f32,
        c_stride: usize,
        accumulate: bool,
    ) {
        let PanelProduct { kernels, a, scale, .. } = self.product;
        let nr = kernels.nr();
        for pc in k_parts::<T>(a.cols(), KC_ROUNDS * STEPS, KC_ROUNDS * STEPS) {
            let left = LeftRows::new(a.part(rows.clone(), pc.clone()));
            // SAFETY: this product is only used if the CPU has AMX and the system permits its use (`Isa::available`).
            let _tiles = unsafe { ConfiguredTiles::configure() };
            for jr in cols.start / nr..cols.end.div_ceil(nr) {
                let panel = self.product.panel(jr);
                let b = panel.data.as_ptr().wrapping_add(pc.start / T::PER_STEP * panel.stride);
                for ir in (0..rows.len()).step_by(MR) {
                    let count = rows.len().min(ir + MR) - ir;
                    let tile = AmxTile {
                        rounds: pc.len().div_ceil(STEPS * T::PER_STEP),
                        a: [0, 1].map(|i| left.at(ir / ROWS + i)),
                        a_stride: left.stride,
                        b: b.cast(),
                        c: c.wrapping_add(ir * c_stride + panel.cols.start - cols.start).cast(),
                        c_stride: c_stride * size_of::<f32>(),
                        accumulate: accumulate || pc.start > 0,
                    };
                    // SAFETY: the registers are configured. For all rounds, `left` has whole registers of rows from
                    // `ir` on, and the panel whole registers of steps; the stride of the panel is that of one register
                    // of columns or of two, as many as it has. The caller guarantees c.
                    unsafe { compute_tile(&tile, [count, panel.cols.len()], *scale) };
                }
            }
        }
    }
}

/// Computes a tile of `[rows, cols]` elements; through a buffer if it is not made of whole registers or has to be
/// scaled.
///
/// # Safety
/// As for the micro-kernel of this size, except that c need only be valid for the given number of elements.
unsafe fn compute_tile(tile: &AmxTile, [rows, cols]: [usize; 2], scale: f32) {
    let kernel = tiles::bf16(rows, cols);
    if rows.is_multiple_of(ROWS) && cols.is_multiple_of(COLS) && scale == 1.0 {
        // SAFETY: the caller's guarantee, and c consists of whole registers.
        return unsafe { kernel(tile) };
    }
    // SAFETY: the caller guarantees that these elements are valid and not accessed by anyone else.
    let mut to = unsafe { MatMut::from_raw(tile.c.cast(), [rows, cols], tile.c_stride / size_of::<f32>()) };
    let mut buffer = [Line::ZERO; MR * NR / Line::LEN];
    let buffer: &mut [f32] = bytemuck::cast_slice_mut(&mut buffer);
    // Unscaled sums start from the values of c, as for whole registers: a row's result must not depend on its
    // neighbours.
    let accumulate = tile.accumulate && scale == 1.0;
    if accumulate {
        for (i, buffer) in buffer.chunks_exact_mut(BUFFER_STRIDE).take(rows).enumerate() {
            buffer[..cols].copy_from_slice(to.row_mut(i));
        }
    }
    let staged =
        AmxTile { c: buffer.as_mut_ptr().cast(), c_stride: BUFFER_STRIDE * size_of::<f32>(), accumulate, ..*tile };
    // SAFETY: the caller's guarantee for a and b, and the buffer has room for whole registers.
    unsafe { kernel(&staged) };
    simd::dispatch(Isa::Amx, Deliver { from: buffer, to, scale, add: tile.accumulate && !accumulate });
}

/// The distance between rows of the buffer of a tile, in f32.
const BUFFER_STRIDE: usize = NR;

/// `to = scale * from`, or `to += scale * from` if `add`; rows of `from` are [`BUFFER_STRIDE`] apart.
struct Deliver<'a, 'b> {
    from: &'a [f32],
    to: MatMut<'b>,
    scale: f32,
    add: bool,
}

impl Kernel for Deliver<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let scale = s.splat(self.scale);
        for (i, from) in self.from.chunks_exact(BUFFER_STRIDE).take(self.to.rows()).enumerate() {
            for (to, from) in self.to.row_mut(i).chunks_mut(S::LANES).zip(from.chunks(S::LANES)) {
                let from = s.load(from);
                let value = if self.add { s.fma(from, scale, s.load_partial(to)) } else { s.mul(from, scale) };
                s.store_partial(to, value);
            }
        }
    }
}

/// The rows of A of one block and one part of k, in whole registers.
struct LeftRows<'a> {
    /// The distance between rows, in bytes.
    stride: usize,
    /// The number of registers of rows that are read in place, from `first` on.
    in_place: usize,
    first: *const u8,
    /// The other rows.
    copied: ThreadScratch,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> LeftRows<'a> {
    fn new<T: Operand>(a: MatRef<'a, T>) -> Self {
        let bytes = |elements: usize| elements * size_of::<T>();
        let whole = a.cols().next_multiple_of(STEPS * T::PER_STEP);
        let [row_stride, col_stride] = a.strides();
        // Reading rows that straddle cache lines takes four times as long. Fewer than a register of rows are excluded
        // because the stride of a single row is arbitrary.
        let can_be_in_place = a.rows() >= ROWS
            && whole > 0
            && col_stride == 1
            && a.cols() == whole
            && (whole..=MAX_STRIDE / size_of::<T>()).contains(&row_stride)
            && bytes(row_stride).is_multiple_of(ROW_BYTES)
            && a.as_ptr().addr().is_multiple_of(ROW_BYTES);
        let stride = bytes(if can_be_in_place { row_stride } else { whole });
        let in_place = if can_be_in_place { a.rows() / ROWS } else { 0 };
        let rows = a.part(in_place * ROWS..a.rows(), 0..a.cols());
        let words = stride / size_of::<f32>();
        let mut copied = ThreadScratch::unspecified(rows.rows().next_multiple_of(ROWS) * words);
        if words > 0 {
            copy_rows(Isa::Amx, rows, &mut copied[..rows.rows() * words], words);
        }
        Self { stride, in_place, first: a.as_ptr().cast(), copied, borrow: PhantomData }
    }

    /// The address of the `i`-th sixteen rows, which need not exist.
    fn at(&self, i: usize) -> *const u8 {
        let (first, i) = match i.checked_sub(self.in_place) {
            None => (self.first, i),
            Some(i) => (self.copied.as_ptr().cast(), i),
        };
        first.wrapping_add(i * ROWS * self.stride)
    }
}
