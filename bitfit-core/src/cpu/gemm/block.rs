//! Blocks of a product, and the auxiliary matrices that an epilogue writes.
//!
//! The blocks of one product do not overlap, and there is only one [`Block`] value for each. Exclusive access to it is
//! therefore exclusive access to the same rows and columns of the output and of an [`Aux`] matrix: an epilogue writes
//! them without locks and without unsafe code. An auxiliary matrix belongs to one product, which it records at its
//! first use.

use std::{
    fmt,
    marker::PhantomData,
    ops::Range,
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use half::bf16;

use super::{MC, MatMut};
use crate::{
    cpu::{
        load,
        simd::{Isa, Simd},
        store,
    },
    memory::ThreadScratch,
};

/// A finished block of a product, still in cache.
pub struct Block<'a> {
    isa: Isa,
    /// The number of the product that it is a block of.
    product: u64,
    rows: Range<usize>,
    cols: Range<usize>,
    /// The address of element `(rows.start, cols.start)`.
    data: *mut f32,
    row_stride: usize,
    /// The whole product rounded, if that is its output.
    rounded: Option<&'a MatMut<'a, bf16>>,
    borrow: PhantomData<&'a mut [f32]>,
}

/// A row of a block.
#[derive(Debug)]
pub struct BlockRow<'b> {
    product: &'b mut [f32],
    rounded: Option<&'b mut [bf16]>,
}

impl BlockRow<'_> {
    /// The number of columns.
    pub fn len(&self) -> usize {
        self.product.len()
    }

    /// The product's elements from column `j` on; lanes past the last column are zero. If the block
    /// [is rounded](Block::is_rounded), what is stored does not change them.
    #[inline(always)]
    pub fn load<S: Simd>(&self, s: S, j: usize) -> S::F32 {
        load(s, self.product, j)
    }

    /// Makes the lanes the output's elements from column `j` on, up to the last column.
    #[inline(always)]
    pub fn store<S: Simd>(&mut self, s: S, j: usize, values: S::F32) {
        match &mut self.rounded {
            Some(rounded) => s.store_bf16(&mut rounded[j..], values),
            None => store(s, self.product, j, values),
        }
    }
}

impl<'a> Block<'a> {
    /// The block of the given rows and columns of product number `product`, whose first element is at `data`.
    ///
    /// # Safety
    /// `rounded` must have the shape of the product. During the block's lifetime its elements, and those of `rounded`
    /// in the same rows and columns, must be writable and not accessed by anyone else, and no other block of `product`
    /// may overlap this one.
    pub(super) unsafe fn new(
        isa: Isa,
        product: u64,
        (rows, cols): (Range<usize>, Range<usize>),
        (data, row_stride): (*mut f32, usize),
        rounded: Option<&'a MatMut<'a, bf16>>,
    ) -> Self {
        Self { isa, product, rows, cols, data, row_stride, rounded, borrow: PhantomData }
    }

    /// The instruction set of the product, for the epilogue to use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The rows of the product in this block: at most [`MC`], starting at a multiple of it.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns of the product in this block: at most [`NC`](super::NC). How many may depend on the number of
    /// threads.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// Whether the output is another matrix, so that what an epilogue does not store is not written.
    pub fn is_rounded(&self) -> bool {
        self.rounded.is_some()
    }

    /// Prefetches the block's columns of a row of the output, which need not exist, if it is another matrix.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, row: usize) {
        if let Some(to) = self.rounded {
            let first = to.at(0, self.cols.start).wrapping_add(row.wrapping_mul(to.row_stride()));
            s.prefetch_all(first.cast_const(), self.cols.len());
        }
    }

    /// Row `i` of the product, in the block's columns.
    ///
    /// # Panics
    /// If row `i` is not in the block.
    pub fn row(&mut self, i: usize) -> BlockRow<'_> {
        assert!(self.rows.contains(&i));
        let len = self.cols.len();
        // SAFETY: the row is inside the block, whose elements are its own, as are those in the same place of the
        // rounded matrix, and the borrow of the block is exclusive.
        unsafe {
            let product = self.data.add((i - self.rows.start) * self.row_stride);
            let rounded = self.rounded.map(|to| slice::from_raw_parts_mut(to.at(i, self.cols.start), len));
            BlockRow { product: slice::from_raw_parts_mut(product, len), rounded }
        }
    }

    /// Row `i` of the product and of an auxiliary matrix, in the block's columns.
    ///
    /// # Panics
    /// If row `i` is not in the block, or the matrix is smaller than the product or was used with another one.
    pub fn row_and_aux<'b, T>(&'b mut self, i: usize, aux: &'b Aux<'_, T>) -> (BlockRow<'b>, &'b mut [T]) {
        assert!(i < aux.rows && self.cols.end <= aux.cols);
        aux.claim(self.product);
        let beside = aux.data.wrapping_add(i * aux.row_stride + self.cols.start);
        let row = self.row(i);
        // SAFETY: the matrix holds an exclusive borrow of its elements for longer than `'b`, so they are valid and
        // distinct from the product's and its output's. The matrix belongs to this product alone; of the product's
        // blocks only this one covers these elements, and it stays exclusively borrowed for as long as the slices are
        // in use.
        let beside = unsafe { slice::from_raw_parts_mut(beside, row.len()) };
        (row, beside)
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

/// A number that identifies a product; every call returns another.
pub(super) fn next_product() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An auxiliary matrix that an epilogue writes block by block. It has the product's shape, or one row for each row of
/// blocks.
#[derive(Debug)]
pub struct Aux<'a, T = f32> {
    data: *mut T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    /// The number of the product that it belongs to; 0 before the first block.
    product: AtomicU64,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: an exclusive borrow of its elements, which threads reach only through blocks that do not overlap.
unsafe impl<T: Send> Send for Aux<'_, T> {}
// SAFETY: as above; the elements move between threads, so they must be `Send`.
unsafe impl<T: Send> Sync for Aux<'_, T> {}

impl<'a, T> Aux<'a, T> {
    /// An auxiliary matrix of the product's shape.
    pub fn new(matrix: MatMut<'a, T>) -> Self {
        Self {
            data: matrix.at(0, 0),
            rows: matrix.rows(),
            cols: matrix.cols(),
            row_stride: matrix.row_stride(),
            product: AtomicU64::new(0),
            borrow: PhantomData,
        }
    }

    /// Prefetches columns of a row, which need not exist.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, row: usize, cols: Range<usize>) {
        s.prefetch_all(self.data.wrapping_add(row.wrapping_mul(self.row_stride) + cols.start).cast_const(), cols.len());
    }

    /// Records the first product that it is used with, and panics for any other: blocks of different products can
    /// overlap.
    fn claim(&self, product: u64) {
        // Called for every row of every block: a plain load is free, an exchange would move the cache line between
        // threads.
        if self.product.load(Ordering::Relaxed) == product {
            return;
        }
        if let Err(first) = self.product.compare_exchange(0, product, Ordering::Relaxed, Ordering::Relaxed) {
            assert_eq!(first, product, "an auxiliary matrix belongs to one product");
        }
    }
}

/// Column sums of a product, computed for each block and added up in the order of the rows.
pub struct ColumnPartials {
    cols: usize,
    /// `[row blocks, cols]`; accessed only through `aux` until all blocks are done.
    memory: ThreadScratch,
    aux: Aux<'static, f32>,
}

/// Omits the sums, which other threads may be writing.
impl fmt::Debug for ColumnPartials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ColumnPartials").field("cols", &self.cols).finish_non_exhaustive()
    }
}

impl ColumnPartials {
    /// Zero sums for a product of shape `[rows, cols]`.
    ///
    /// # Panics
    /// If the sums of the shape do not fit the address space.
    pub fn new(rows: usize, cols: usize) -> Self {
        let blocks = rows.div_ceil(MC);
        // Checked, because `of` relies on the shape.
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

    /// The sums of the block's columns over its rows, for the epilogue to write.
    ///
    /// # Panics
    /// If the block is outside the shape, or belongs to another product than the blocks before it.
    pub fn of<'b>(&'b self, block: &'b mut Block<'_>) -> &'b mut [f32] {
        let row = block.rows.start / MC;
        assert!(block.rows.start.is_multiple_of(MC) && row < self.aux.rows && block.cols.end <= self.cols);
        self.aux.claim(block.product);
        // SAFETY: the memory is owned by this value, which is borrowed for as long as the slice is in use, so it is
        // neither freed nor added up meanwhile. Blocks in a row of blocks differ in their columns, and rows of blocks
        // have different rows here; this block is exclusively borrowed for as long: no one else has access to these
        // elements.
        unsafe { slice::from_raw_parts_mut(self.aux.data.add(row * self.cols + block.cols.start), block.cols.len()) }
    }

    /// Adds the sums over all rows to `to`, one row block after the other.
    ///
    /// # Panics
    /// If `to` does not have one element for each column.
    pub fn add_to(self, to: &mut [f32]) {
        assert_eq!(to.len(), self.cols, "column sums of another width");
        for row in self.memory.chunks_exact(self.cols.max(1)) {
            for (to, &sum) in to.iter_mut().zip(row) {
                *to += sum;
            }
        }
    }
}
