//! Handles to parameters. The types of frozen parameters have no gradient, so code that reads one does not compile.

use std::sync::Arc;

use super::{Mask, weight::stack};
use crate::{Device, HostTensor, Precision, Result, backend::Slice};

/// A frozen tensor on a device, such as a LayerNorm weight, an embedding table or a frozen bias. Clones share it.
#[derive(Debug)]
pub struct Frozen<D: Device> {
    buffer: Arc<D::Buffer>,
    shape: Arc<[usize]>,
    name: Option<Arc<str>>,
}

impl<D: Device> Frozen<D> {
    /// Copies `tensor` to the device; a CPU shares its memory, which may be a memory-mapped file.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn new(device: &D, tensor: &HostTensor) -> Result<Self> {
        Ok(Self { buffer: Arc::new(device.upload(tensor)?), shape: tensor.shape().into(), name: None })
    }

    /// The same tensor with the name under which it was registered.
    pub(super) fn named(self, name: &str) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The name under which it was registered with an [`ArenaBuilder`](super::ArenaBuilder); `None` without one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The shape of the tensor.
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
        Self { buffer: Arc::clone(&self.buffer), shape: Arc::clone(&self.shape), name: self.name.clone() }
    }
}

/// A frozen `[out, in]` weight, packed once in the layout of its products. Clones share it.
#[derive(Debug)]
pub struct FrozenMatrix<D: Device> {
    matrix: Arc<D::Matrix>,
    out_features: usize,
    in_features: usize,
    precision: Precision,
    name: Option<Arc<str>>,
}

impl<D: Device> FrozenMatrix<D> {
    /// Packs the row-wise concatenation of `parts`, each `[out_i, in]`, such as query, key and value as one product.
    /// Its products have the device's precision.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if a part is not a matrix, the parts differ in their columns, or there are
    /// no rows or columns; [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn new(device: &D, parts: &[HostTensor]) -> Result<Self> {
        Self::with_precision(device, parts, device.precision())
    }

    /// As [`FrozenMatrix::new`], with products of the given precision.
    ///
    /// # Errors
    /// As for [`FrozenMatrix::new`].
    pub fn with_precision(device: &D, parts: &[HostTensor], precision: Precision) -> Result<Self> {
        let (rows, in_features) = stack(parts.iter().map(|part| (None, part.shape())))?;
        let out_features = rows.last().map_or(0, |rows| rows.end);
        let matrix = Arc::new(device.lay_out(parts, precision)?);
        Ok(Self { matrix, out_features, in_features, precision, name: None })
    }

    /// The same weight with the name under which it was registered.
    pub(super) fn named(self, name: Arc<str>) -> Self {
        Self { name: Some(name), ..self }
    }

    /// As [`Weight::name`](super::Weight::name).
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The number of rows of the weight: the output features of a product with it.
    pub fn out_features(&self) -> usize {
        self.out_features
    }

    /// The number of columns of the weight: the input features of a product with it.
    pub fn in_features(&self) -> usize {
        self.in_features
    }

    /// The precision of products with the weight.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The weight in the device's layout.
    pub fn matrix(&self) -> &D::Matrix {
        &self.matrix
    }
}

impl<D: Device> Clone for FrozenMatrix<D> {
    fn clone(&self) -> Self {
        Self { matrix: Arc::clone(&self.matrix), name: self.name.clone(), ..*self }
    }
}

/// A parameter of which a mask chooses the trainable entries: a handle to an entry of the [`Arena`](super::Arena) whose
/// builder returned it.
#[derive(Clone, Debug)]
pub struct Trainable {
    /// The number of its arena.
    pub(crate) arena: u64,
    pub(crate) entry: usize,
    pub(super) name: Arc<str>,
    pub(crate) shape: Arc<[usize]>,
    pub(crate) mask: Arc<Mask>,
}

impl Trainable {
    /// The name under which it was registered.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The shape of the whole tensor.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The mask that chooses the trainable entries.
    pub fn mask(&self) -> &Mask {
        &self.mask
    }
}

/// A parameter that is either frozen or trainable, such as a bias or a LayerNorm weight.
#[derive(Debug)]
pub enum Param<D: Device> {
    /// A parameter that never changes and has no gradient.
    Frozen(Frozen<D>),
    /// A parameter with trainable entries.
    Trainable(Trainable),
}

impl<D: Device> Param<D> {
    /// The name under which it was registered; `None` of a frozen tensor that was not.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Frozen(frozen) => frozen.name(),
            Self::Trainable(trainable) => Some(trainable.name()),
        }
    }

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

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The handle of a trainable parameter; `None` if it is frozen.
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
    use crate::{Cpu, Error};

    #[test]
    fn parts_that_do_not_form_a_matrix_are_refused() {
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
