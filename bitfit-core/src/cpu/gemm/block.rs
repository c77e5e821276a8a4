//! Blocks of a product, and the matrices that an epilogue writes beside it.
//!
//! The blocks of one product do not overlap, and a thread that works on one holds the only [`Block`] for it. That makes
//! the block a ticket: whoever shows it may write the same rows and columns of a [`Aux`], with no lock and no
//! unsafe code outside this room. A side matrix serves one product, which it takes note of on first use.

use std::{
    fmt,
    marker::PhantomData,
    ops::Range,
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    cpu::simd::{Isa, Simd},
    memory::ThreadScratch,
};

/// Rows of a block, but for the last: the unit in which column sums are made.
pub const ROW_BLOCK: usize = 96;

/// Columns of a block at most. Where in between it ends may depend on the number of threads.
pub const COL_BLOCK: usize = 192;

/// A finished block of a product, still in the cache.
pub struct Block<'a> {
    isa: Isa,
    /// Which product this is a block of.
    product: u64,
    rows: Range<usize>,
    cols: Range<usize>,
    /// Element `(rows.start, cols.start)`.
    data: *mut f32,
    row_stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

impl Block<'_> {
    /// # Safety
    /// The elements at `data` must be writable for the block's life and used by nobody else, and no other block of
    /// `product` may overlap this one while it lives.
    pub(super) unsafe fn new(
        isa: Isa,
        product: u64,
        rows: Range<usize>,
        cols: Range<usize>,
        data: *mut f32,
        row_stride: usize,
    ) -> Self {
        Self { isa, product, rows, cols, data, row_stride, borrow: PhantomData }
    }

    /// The instruction set to work with.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Which rows of the product these are. Starts at a multiple of [`ROW_BLOCK`].
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Which columns of the product these are: [`COL_BLOCK`] at most.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// The block's columns of row `i` of the product.
    ///
    /// # Panics
    /// Where the row is not the block's.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(self.rows.contains(&i));
        // SAFETY: the row is inside the block, whose elements are its own, and the borrow of the block is exclusive.
        unsafe { slice::from_raw_parts_mut(self.data.add((i - self.rows.start) * self.row_stride), self.cols.len()) }
    }

    /// The block's columns of row `i`, of the product and of a matrix beside it.
    ///
    /// # Panics
    /// Where the row is not the block's, or the matrix is smaller than the product or serves another one.
    ///
    /// The side's part lives no longer than the side:
    ///
    /// ```compile_fail,E0515
    /// use bitfit_core::cpu::gemm::{Block, MatMut, Aux};
    ///
    /// fn dangling<'b>(block: &'b mut Block<'_>) -> &'b mut [f32] {
    ///     let mut data = vec![0.0_f32; 4];
    ///     let side = Aux::new(MatMut::new(&mut data, 2));
    ///     block.row_and_aux(0, &side).1
    /// }
    /// ```
    pub fn row_and_aux<'b, T>(&'b mut self, i: usize, aux: &'b Aux<'_, T>) -> (&'b mut [f32], &'b mut [T]) {
        assert!(self.rows.contains(&i) && i < aux.rows && self.cols.end <= aux.cols);
        aux.claim(self.product);
        // SAFETY: the row as in `row_mut`. The side's elements are exclusively borrowed for a time that outlasts `'b`, so
        // they live and lie apart from the product's. The side serves this product alone; of the product's blocks only
        // this one covers these elements, and it stays exclusively borrowed for as long as the slices are in use.
        unsafe {
            let row = self.data.add((i - self.rows.start) * self.row_stride);
            let beside = aux.data.add(i * aux.row_stride + self.cols.start);
            (slice::from_raw_parts_mut(row, self.cols.len()), slice::from_raw_parts_mut(beside, self.cols.len()))
        }
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

/// A number for a product, never given twice.
pub(super) fn next_product() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A matrix that an epilogue writes block by block: of the product's shape, or with a row to each row of blocks.
#[derive(Debug)]
pub struct Aux<'a, T = f32> {
    data: *mut T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    /// The product it serves; 0 before the first block.
    product: AtomicU64,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: an exclusive borrow of its elements, which threads reach only through blocks that do not overlap.
unsafe impl<T: Send> Send for Aux<'_, T> {}
// SAFETY: as above; the elements move between threads, so they must be `Send`.
unsafe impl<T: Send> Sync for Aux<'_, T> {}

impl<'a, T> Aux<'a, T> {
    /// A matrix of the product's shape, to be written beside it.
    pub fn new(matrix: super::MatMut<'a, T>) -> Self {
        Self {
            data: matrix.at(0, 0),
            rows: matrix.rows(),
            cols: matrix.cols(),
            row_stride: matrix.row_stride(),
            product: AtomicU64::new(0),
            borrow: PhantomData,
        }
    }

    /// Asks for columns of a row, which need not be there.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, row: usize, cols: Range<usize>) {
        s.prefetch_all(self.data.wrapping_add(row.wrapping_mul(self.row_stride) + cols.start).cast_const(), cols.len());
    }

    /// Remembers the first product it is used with, and panics on any other: two products run at the same time have
    /// blocks that overlap.
    fn claim(&self, product: u64) {
        // Every row of every block asks; a plain read costs nothing, an exchange would pass the line between threads.
        if self.product.load(Ordering::Relaxed) == product {
            return;
        }
        if let Err(first) = self.product.compare_exchange(0, product, Ordering::Relaxed, Ordering::Relaxed) {
            assert_eq!(first, product, "an epilogue's matrix serves one product");
        }
    }
}

/// Column sums of a product, made block by block and added up in the order of the rows.
pub struct ColumnPartials {
    cols: usize,
    /// `[blocks, cols]`, reached through `side` alone until all blocks are done.
    memory: ThreadScratch,
    aux: Aux<'static, f32>,
}

/// Without the sums, which other threads may be writing.
impl fmt::Debug for ColumnPartials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnPartials").field("cols", &self.cols).finish_non_exhaustive()
    }
}

impl ColumnPartials {
    /// Zero sums for a product of shape `[rows, cols]`.
    ///
    /// # Panics
    /// For a shape that no memory could hold.
    pub fn new(rows: usize, cols: usize) -> Self {
        let blocks = rows.div_ceil(ROW_BLOCK);
        // Not a product that wraps: `of` trusts the shape.
        let len = blocks.checked_mul(cols).expect("column sums that fit the address space");
        let mut memory = ThreadScratch::filled(len, 0.0);
        let aux = Aux {
            data: memory.as_mut_ptr(),
            rows: blocks,
            cols,
            row_stride: cols,
            product: AtomicU64::new(0),
            borrow: PhantomData,
        };
        Self { cols, memory, aux }
    }

    /// The sums of a block's columns over its rows.
    ///
    /// # Panics
    /// Where the block is outside the shape, or of another product than those before it.
    ///
    /// They live no longer than the sums of the whole product:
    ///
    /// ```compile_fail,E0515
    /// use bitfit_core::cpu::gemm::{Block, ColumnPartials};
    ///
    /// fn dangling<'b>(block: &'b mut Block<'_>) -> &'b mut [f32] {
    ///     let sums = ColumnPartials::new(2, 2);
    ///     sums.of(block)
    /// }
    /// ```
    pub fn of<'b>(&'b self, block: &'b mut Block<'_>) -> &'b mut [f32] {
        let row = block.rows.start / ROW_BLOCK;
        assert!(block.rows.start.is_multiple_of(ROW_BLOCK) && row < self.aux.rows && block.cols.end <= self.cols);
        self.aux.claim(block.product);
        // SAFETY: the memory is this value's own, which is borrowed for as long as the slice is in use, and so is neither
        // dropped nor added up meanwhile. The product's blocks in a row of blocks differ in their columns and no two rows
        // of blocks share a row here; this block is exclusively borrowed as long: nobody else holds these elements.
        unsafe { slice::from_raw_parts_mut(self.aux.data.add(row * self.cols + block.cols.start), block.cols.len()) }
    }

    /// Adds the sums over all rows to `to`, block after block.
    ///
    /// # Panics
    /// Unless `to` has an element for each column.
    pub fn add_to(self, to: &mut [f32]) {
        assert_eq!(to.len(), self.cols, "column sums of another width");
        for row in self.memory.chunks_exact(self.cols.max(1)) {
            for (to, &sum) in to.iter_mut().zip(row) {
                *to += sum;
            }
        }
    }
}
