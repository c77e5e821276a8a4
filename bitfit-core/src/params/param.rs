//! Handles to parameters. A frozen one is a type without a gradient: there is nothing to ask for.

use std::sync::Arc;

use super::Mask;
use crate::{Device, Error, HostTensor, Precision, Result, backend::Slice};

/// A frozen tensor on a device: a LayerNorm weight, an embedding table, a bias that does not train.
#[derive(Debug)]
pub struct Frozen<D: Device> {
    buffer: Arc<D::Buffer>,
    shape: Arc<[usize]>,
}

impl<D: Device> Frozen<D> {
    /// Puts `tensor` on the device; a CPU shares the host's memory, a memory-mapped file included.
    ///
    /// # Errors
    /// [`Error::Device`] when the device is out of memory.
    pub fn new(device: &D, tensor: &HostTensor) -> Result<Self> {
        Ok(Self { buffer: Arc::new(device.upload(tensor)?), shape: tensor.shape().into() })
    }

    /// The shape it was given.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn slice(&self) -> Slice<'_, D> {
        Slice::new(&*self.buffer, 0, self.shape.iter().product())
    }
}

impl<D: Device> Clone for Frozen<D> {
    fn clone(&self) -> Self {
        Self { buffer: Arc::clone(&self.buffer), shape: Arc::clone(&self.shape) }
    }
}

/// A frozen `[out, in]` weight, laid out once in the form its products read.
#[derive(Debug)]
pub struct FrozenMatrix<D: Device> {
    matrix: Arc<D::Matrix>,
    out_features: usize,
    in_features: usize,
    precision: Precision,
}

impl<D: Device> FrozenMatrix<D> {
    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]`: query, key and value as one product. Its
    /// products have the device's precision.
    ///
    /// # Errors
    /// [`Error::Shape`] when a part is no matrix or has other columns than the first, or there are no rows or columns;
    /// [`Error::Device`] when the device is out of memory.
    pub fn new(device: &D, parts: &[HostTensor]) -> Result<Self> {
        Self::with_precision(device, parts, device.precision())
    }

    /// As [`FrozenMatrix::new`], with products of the given precision.
    ///
    /// # Errors
    /// As [`FrozenMatrix::new`].
    pub fn with_precision(device: &D, parts: &[HostTensor], precision: Precision) -> Result<Self> {
        let Some([_, in_features]) = parts.first().map(HostTensor::shape) else {
            let found = parts.first().map_or(&[][..], HostTensor::shape);
            return Err(Error::shape("lay out", "the weight", &[0, 0], found));
        };
        let mut out_features = 0;
        for part in parts {
            match part.shape() {
                [rows, cols] if cols == in_features => out_features += rows,
                found => {
                    let rows = found.first().copied().unwrap_or(0);
                    return Err(Error::shape("lay out", "a part of the weight", &[rows, *in_features], found));
                }
            }
        }
        if out_features == 0 || *in_features == 0 {
            return Err(Error::shape("lay out", "the weight", &[1, 1], &[out_features, *in_features]));
        }
        let matrix = Arc::new(device.lay_out(parts, precision)?);
        Ok(Self { matrix, out_features, in_features: *in_features, precision })
    }

    /// Rows of the weight: the features a product with it makes.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// Columns of the weight: the features a product with it reads.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The precision of its products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The device's own layout.
    pub fn matrix(&self) -> &D::Matrix {
        &self.matrix
    }
}

impl<D: Device> Clone for FrozenMatrix<D> {
    fn clone(&self) -> Self {
        Self { matrix: Arc::clone(&self.matrix), ..*self }
    }
}

/// A parameter that trains under a mask: an entry of the [`Arena`](super::Arena) that made it.
#[derive(Clone, Debug)]
pub struct Trainable {
    /// The arena that made it.
    pub(crate) arena: u64,
    pub(crate) entry: usize,
    pub(crate) shape: Arc<[usize]>,
    pub(crate) mask: Arc<Mask>,
}

impl Trainable {
    /// The shape of the whole tensor.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Which of its entries train.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }
}

/// A parameter that trains or does not: biases and LayerNorm weights, whose part is the user's choice.
#[derive(Debug)]
pub enum Param<D: Device> {
    /// Never changes, has no gradient.
    Frozen(Frozen<D>),
    /// Trains under its mask.
    Trainable(Trainable),
}

impl<D: Device> Param<D> {
    /// The shape of the whole tensor.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Frozen(frozen) => frozen.shape(),
            Self::Trainable(trainable) => trainable.shape(),
        }
    }

    /// The number of elements of the whole tensor.
    pub fn len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The handle by which a gradient is asked for, if there is one.
    pub fn trainable(&self) -> Option<&Trainable> {
        match self {
            Self::Frozen(_) => None,
            Self::Trainable(trainable) => Some(trainable),
        }
    }
}

impl<D: Device> Clone for Param<D> {
    fn clone(&self) -> Self {
        match self {
            Self::Frozen(frozen) => Self::Frozen(frozen.clone()),
            Self::Trainable(trainable) => Self::Trainable(trainable.clone()),
        }
    }
}

impl<D: Device> From<Trainable> for Param<D> {
    fn from(trainable: Trainable) -> Self {
        Self::Trainable(trainable)
    }
}

impl<D: Device> From<Frozen<D>> for Param<D> {
    fn from(frozen: Frozen<D>) -> Self {
        Self::Frozen(frozen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn parts_that_make_no_matrix_are_refused() {
        let part = |shape: &[usize]| HostTensor::new(shape, vec![1.0; shape.iter().product()]).unwrap();
        let lay_out = |parts: &[HostTensor]| FrozenMatrix::new(&Cpu::default(), parts);
        for other in [&[][..], &[3], &[2, 4], &[2, 3, 1]] {
            for parts in [[part(&[2, 3]), part(other)], [part(other), part(&[2, 3])]] {
                assert!(matches!(lay_out(&parts), Err(Error::Shape { .. })), "{other:?}");
            }
        }
        assert!(matches!(lay_out(&[]), Err(Error::Shape { .. })));
        for empty in [[0, 3], [2, 0]] {
            assert!(matches!(lay_out(&[part(&empty)]), Err(Error::Shape { .. })), "{empty:?}");
        }
        let whole = lay_out(&[part(&[2, 3]), part(&[4, 3])]).unwrap();
        assert_eq!((whole.out_features(), whole.in_features()), (6, 3));
    }
}
