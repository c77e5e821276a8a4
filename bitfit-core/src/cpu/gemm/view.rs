//! Views of matrices: [`MatRef`] to read, [`MatMut`] to write.

use std::{marker::PhantomData, ops::Range};

use crate::cpu::simd::Simd;

/// A read-only view of a `[rows, cols]` matrix, element `(i, j)` at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> MatRef<'a, T> {
    /// A view of contiguous rows of `cols` elements; a matrix without columns has no rows.
    ///
    /// # Panics
    /// If `data` does not hold a whole number of rows.
    pub fn new(data: &'a [T], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "a matrix of {cols} columns over {} elements", data.len());
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A view with any strides.
    ///
    /// # Panics
    /// If the last element is past the end of `data`.
    pub fn strided(data: &'a [T], [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> Self {
        assert!(
            rows == 0 || cols == 0 || span([rows, cols], [row_stride, col_stride]) <= data.len(),
            "a [{rows}, {cols}] matrix of strides {row_stride}, {col_stride} over {} elements",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The distance between rows and between columns, in elements.
    pub fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.col_stride]
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The view of a range of rows and columns.
    ///
    /// # Panics
    /// If a range is out of bounds.
    pub fn part(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows && cols.start <= cols.end && cols.end <= self.cols);
        let first = if rows.is_empty() || cols.is_empty() {
            0
        } else {
            rows.start * self.row_stride + cols.start * self.col_stride
        };
        Self { data: &self.data[first..], rows: rows.len(), cols: cols.len(), ..self }
    }

    /// Row `i` of a matrix whose rows are contiguous.
    ///
    /// # Panics
    /// If the rows are not contiguous, or there is no row `i`.
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(self.col_stride == 1 && i < self.rows);
        &self.data[i * self.row_stride..][..self.cols]
    }

    /// The element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// The elements from `(i, j)` on, in the order of memory.
    pub(super) fn from(&self, i: usize, j: usize) -> &'a [T] {
        &self.data[i * self.row_stride + j * self.col_stride..]
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.data.as_ptr()
    }

    /// Prefetches columns of a row, which need not exist, of a matrix whose rows are contiguous.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, row: usize, cols: Range<usize>) {
        s.prefetch_all(self.data.as_ptr().wrapping_add(row.wrapping_mul(self.row_stride) + cols.start), cols.len());
    }
}

impl<'a, T: bytemuck::Pod> MatRef<'a, T> {
    /// The same matrix with its elements reinterpreted as f32, which have the same size.
    pub(super) fn words(self) -> MatRef<'a> {
        MatRef {
            data: bytemuck::cast_slice(self.data),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
}

/// The number of elements from the first to the last of a matrix that is not empty; `usize::MAX` if that overflows.
fn span([rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> usize {
    let last = (rows - 1).checked_mul(row_stride).zip((cols - 1).checked_mul(col_stride));
    last.and_then(|(row, col)| row.checked_add(col)).map_or(usize::MAX, |last| last.saturating_add(1))
}

/// A mutable view of a `[rows, cols]` matrix whose rows are contiguous and `row_stride` apart.
#[derive(Debug)]
pub struct MatMut<'a, T = f32> {
    data: *mut T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: the view is an exclusive borrow of its elements, like `&mut [T]`.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: a shared view gives safe code only its shape. Within `gemm`, `at` returns addresses of elements, and threads
// that share the view write blocks that do not overlap: elements move between threads, so they have to be `Send`.
unsafe impl<T: Send> Sync for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// A view of contiguous rows of `cols` elements; a matrix without columns has no rows.
    ///
    /// # Panics
    /// If `data` does not hold a whole number of rows.
    pub fn new(data: &'a mut [T], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "a matrix of {cols} columns over {} elements", data.len());
        Self { data: data.as_mut_ptr(), rows, cols, row_stride: cols, borrow: PhantomData }
    }

    /// A view of rows that are `row_stride` apart, which only tests need.
    ///
    /// # Panics
    /// If rows overlap or the last one ends past the end of `data`.
    #[cfg(test)]
    pub fn strided(data: &'a mut [T], [rows, cols]: [usize; 2], row_stride: usize) -> Self {
        assert!(
            rows == 0
                || cols == 0
                || ((rows == 1 || cols <= row_stride) && span([rows, cols], [row_stride, 1]) <= data.len()),
            "a [{rows}, {cols}] matrix of row stride {row_stride} over {} elements",
            data.len()
        );
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, borrow: PhantomData }
    }

    /// The matrix at an address.
    ///
    /// # Safety
    /// The elements must be valid for `'a` and not accessed by anyone else during it, and rows must not overlap.
    pub(super) unsafe fn from_raw(data: *mut T, [rows, cols]: [usize; 2], row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, borrow: PhantomData }
    }

    /// The number of rows and of columns.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`, for writing.
    pub(super) fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        // SAFETY: the row is inside the matrix, which is exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.at(i, 0), self.cols) }
    }

    /// The distance between rows, in elements.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// The address of element `(i, j)`, which has to be in bounds or one past the end.
    pub(super) fn at(&self, i: usize, j: usize) -> *mut T {
        debug_assert!(i <= self.rows && j <= self.cols);
        self.data.wrapping_add(i * self.row_stride + j)
    }
}
