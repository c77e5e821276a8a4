//! Matrices that lie in somebody else's memory.

use std::{marker::PhantomData, ops::Range};

use crate::cpu::simd::Simd;

/// A `[rows, cols]` matrix to read, element `(i, j)` at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy, Debug)]
pub struct MatRef<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> MatRef<'a, T> {
    /// Whole rows of `cols` elements, one after the other; a matrix without columns has no rows.
    ///
    /// # Panics
    /// Where the last row is not whole.
    pub fn new(data: &'a [T], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "a matrix of {cols} columns over {} elements", data.len());
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// A matrix of any strides.
    ///
    /// # Panics
    /// Where the last element lies past the end of `data`.
    pub fn strided(data: &'a [T], [rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> Self {
        assert!(
            rows == 0 || cols == 0 || span([rows, cols], [row_stride, col_stride]) <= data.len(),
            "a [{rows}, {cols}] matrix of strides {row_stride}, {col_stride} over {} elements",
            data.len()
        );
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// From a row to the next and from a column to the next, in elements.
    pub fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.col_stride]
    }

    /// The transpose.
    pub fn t(self) -> Self {
        Self { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The rows and columns in the ranges.
    ///
    /// # Panics
    /// Where a range is not inside.
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
    /// Where they are not, or there is no such row.
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(self.col_stride == 1 && i < self.rows);
        &self.data[i * self.row_stride..][..self.cols]
    }

    /// Element `(i, j)`.
    pub fn at(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// The elements from `(i, j)` on, in memory's order.
    pub(super) fn from(&self, i: usize, j: usize) -> &'a [T] {
        &self.data[i * self.row_stride + j * self.col_stride..]
    }

    pub(super) fn as_ptr(&self) -> *const T {
        self.data.as_ptr()
    }

    /// Asks for columns of a row, which need not be there, of a matrix whose rows are contiguous.
    #[inline(always)]
    pub(super) fn prefetch<S: Simd>(&self, s: S, row: usize, cols: Range<usize>) {
        s.prefetch_all(self.data.as_ptr().wrapping_add(row.wrapping_mul(self.row_stride) + cols.start), cols.len());
    }
}

impl<'a, T: bytemuck::Pod> MatRef<'a, T> {
    /// The same matrix of f32 places, whose bits are the elements'; they are as large.
    pub(super) fn places(self) -> MatRef<'a> {
        MatRef {
            data: bytemuck::cast_slice(self.data),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
        }
    }
}

/// Elements from the first to the last of a matrix that has any; more than there can be where that overflows.
fn span([rows, cols]: [usize; 2], [row_stride, col_stride]: [usize; 2]) -> usize {
    let last = (rows - 1).checked_mul(row_stride).zip((cols - 1).checked_mul(col_stride));
    last.and_then(|(row, col)| row.checked_add(col)).map_or(usize::MAX, |last| last.saturating_add(1))
}

/// A `[rows, cols]` matrix to write, whose rows are contiguous and `row_stride` apart.
///
/// Threads that share one write its elements, so they must be [`Send`]; that they are [`Sync`] is not enough:
///
/// ```compile_fail,E0277
/// fn shared<T: Sync>() {}
/// shared::<bitfit_core::cpu::gemm::MatMut<'static, std::sync::MutexGuard<'static, f32>>>();
/// ```
#[derive(Debug)]
pub struct MatMut<'a, T = f32> {
    data: *mut T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it is an exclusive borrow of its elements, as `&mut [T]` is.
unsafe impl<T: Send> Send for MatMut<'_, T> {}
// SAFETY: shared, it gives safe code its shape alone. Inside this room `at` gives out the elements' addresses, and threads
// that share the matrix write blocks that do not overlap: the elements move between threads, so they must be `Send`.
unsafe impl<T: Send> Sync for MatMut<'_, T> {}

impl<'a, T> MatMut<'a, T> {
    /// Whole rows of `cols` elements, one after the other; a matrix without columns has no rows.
    ///
    /// # Panics
    /// Where the last row is not whole.
    pub fn new(data: &'a mut [T], cols: usize) -> Self {
        let rows = data.len().checked_div(cols).unwrap_or(0);
        assert_eq!(rows * cols, data.len(), "a matrix of {cols} columns over {} elements", data.len());
        Self { data: data.as_mut_ptr(), rows, cols, row_stride: cols, borrow: PhantomData }
    }

    /// Rows that are `row_stride` apart.
    ///
    /// # Panics
    /// Where rows overlap or the last one ends past the end of `data`.
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
    /// Its elements must be valid for `'a` and used by nobody else meanwhile, and rows must not overlap.
    #[cfg(target_arch = "x86_64")]
    pub(super) unsafe fn from_raw(data: *mut T, [rows, cols]: [usize; 2], row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, borrow: PhantomData }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Row `i`.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn row_mut(&mut self, i: usize) -> &mut [T] {
        assert!(i < self.rows);
        // SAFETY: the row is inside the matrix, which is exclusively borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.at(i, 0), self.cols) }
    }

    /// From a row to the next, in elements.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// The address of element `(i, j)`, which must be inside or one past the end.
    pub(super) fn at(&self, i: usize, j: usize) -> *mut T {
        debug_assert!(i <= self.rows && j <= self.cols);
        self.data.wrapping_add(i * self.row_stride + j)
    }
}
