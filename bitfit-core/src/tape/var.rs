//! [`Var`]: a matrix on the tape, and [`Slot`], where its gradient is during backward.

use crate::{DType, Device, Result, Tensor, backend::Slice};

/// A handle to the gradient of a [`Var`] during backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// The number of its tape.
    pub(super) tape: u64,
    pub(super) index: usize,
    /// The number of elements of the matrix.
    pub(super) len: usize,
    /// The element type of the matrix, which is that of its gradient.
    pub(super) dtype: DType,
}

/// A matrix on the tape. Clones share it; when the last is dropped, its buffer is free unless a node holds it.
#[derive(Debug)]
pub struct Var<D: Device> {
    pub(super) tensor: Tensor<D>,
    /// The same matrix rounded to bfloat16, if the op that computed it wrote that too.
    pub(super) rounded: Option<Tensor<D>>,
    pub(super) slot: Option<Slot>,
}

impl<D: Device> Var<D> {
    /// The value of the matrix.
    pub fn tensor(&self) -> &Tensor<D> {
        &self.tensor
    }

    /// The element of a matrix `[1, 1]`, such as a loss; waits for it.
    ///
    /// # Errors
    /// As for [`Tensor::item`].
    pub fn item(&self) -> Result<f32> {
        self.tensor.item()
    }

    /// Copies the elements to the host, row-major.
    ///
    /// # Errors
    /// As for [`Tensor::to_vec`].
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        self.tensor.to_vec()
    }

    /// The number of rows: tokens or sequences.
    pub fn rows(&self) -> usize {
        self.tensor.rows()
    }

    /// The number of columns: features or classes.
    pub fn cols(&self) -> usize {
        self.tensor.cols()
    }

    /// The type of the elements.
    pub fn dtype(&self) -> DType {
        self.tensor.dtype()
    }

    /// The elements, row-major.
    pub fn slice(&self) -> Slice<'_, D> {
        self.tensor.slice()
    }

    /// The elements rounded to bfloat16 if `dtype` is that and a rounded copy exists; otherwise the elements of the
    /// matrix.
    pub(crate) fn slice_in(&self, dtype: DType) -> Slice<'_, D> {
        self.tensor_in(dtype).slice()
    }

    /// The matrix, or its copy rounded to bfloat16 if `dtype` is that and the copy exists.
    pub(crate) fn tensor_in(&self, dtype: DType) -> &Tensor<D> {
        match (&self.rounded, dtype) {
            (Some(rounded), DType::Bf16) => rounded,
            _ => &self.tensor,
        }
    }

    /// The matrix with a copy rounded to bfloat16.
    ///
    /// # Panics
    /// If the copy has another shape or element type.
    #[must_use]
    pub(crate) fn with_rounded(self, rounded: Tensor<D>) -> Self {
        assert_eq!((rounded.shape(), rounded.dtype()), (self.tensor.shape(), DType::Bf16), "a matrix, rounded");
        Self { rounded: Some(rounded), ..self }
    }

    /// The slot of the gradient; `None` if the matrix does not depend on a trainable parameter.
    pub fn slot(&self) -> Option<Slot> {
        self.slot
    }
}

impl<D: Device> Clone for Var<D> {
    fn clone(&self) -> Self {
        Self { tensor: self.tensor.clone(), rounded: self.rounded.clone(), slot: self.slot }
    }
}
