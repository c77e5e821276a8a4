//! [`Tensor`]: an immutable matrix on a device.

use std::{fmt, sync::Arc};

use ndarray::Array2;

use super::Scratch;
use crate::{DType, Device, Error, Result, backend::Slice};

/// An immutable matrix `[rows, cols]` on a device, row-major. Clones share the buffer.
pub struct Tensor<D: Device> {
    data: Arc<Scratch<D>>,
    rows: usize,
    cols: usize,
}

impl<D: Device> Tensor<D> {
    /// Makes a matrix `[rows, cols]` of a buffer that has been written.
    ///
    /// # Errors
    /// [`Error::Shape`] if the buffer does not hold `rows * cols` elements.
    pub fn new(data: Scratch<D>, rows: usize, cols: usize) -> Result<Self> {
        if rows.checked_mul(cols) != Some(data.len()) {
            return Err(Error::shape("Tensor::new", "the buffer", &[rows, cols], &[data.len()]));
        }
        Ok(Self { data: Arc::new(data), rows, cols })
    }

    /// The number of rows: tokens, sequences or table entries.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns: features or classes.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The shape `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements, row-major.
    pub fn slice(&self) -> Slice<'_, D> {
        self.data.as_ref().as_ref()
    }

    /// Copies the elements to the host, row-major, after all pending work that writes them.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.rows * self.cols];
        self.data.device().read(self.slice(), &mut values)?;
        Ok(values)
    }

    /// The element of a matrix `[1, 1]`, such as a loss; waits for it.
    ///
    /// # Errors
    /// [`Error::Shape`] if there is not exactly one element; [`Error::Device`] if work that was queued earlier failed.
    pub fn item(&self) -> Result<f32> {
        if self.shape() != [1, 1] {
            return Err(Error::shape("item", "the matrix", &[1, 1], &self.shape()));
        }
        Ok(self.to_vec()?[0])
    }

    /// Copies the matrix to the host as an array, after all pending work that writes it.
    ///
    /// # Errors
    /// [`Error::Device`] if work that was queued earlier failed.
    pub fn to_array(&self) -> Result<Array2<f32>> {
        let mut array = Array2::zeros((self.rows, self.cols));
        let to = array.as_slice_mut().ok_or_else(|| Error::invalid("to_array", "the new array is not contiguous"))?;
        self.data.device().read(self.slice(), to)?;
        Ok(array)
    }
}

impl<D: Device> Clone for Tensor<D> {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), rows: self.rows, cols: self.cols }
    }
}

impl<D: Device> fmt::Debug for Tensor<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tensor").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Workspace};

    #[test]
    fn a_buffer_of_another_length_is_refused() {
        let workspace = Workspace::new(Cpu::default());
        for (rows, cols) in [(2, 3), (usize::MAX, 2)] {
            let made = Tensor::new(workspace.scratch(5).unwrap(), rows, cols);
            assert!(matches!(made, Err(Error::Shape { op: "Tensor::new", .. })), "[{rows}, {cols}]");
        }
    }

    #[test]
    fn a_tensor_comes_back_as_it_was_given_transposed_or_not() {
        let workspace = Workspace::new(Cpu::default());
        let array = Array2::from_shape_fn((3, 5), |(i, j)| (i * 10 + j) as f32);
        assert_eq!(workspace.tensor(array.view()).unwrap().to_array().unwrap(), array);
        assert_eq!(workspace.tensor(array.t()).unwrap().to_array().unwrap(), array.t());
    }
}
