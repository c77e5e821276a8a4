//! [`HostTensor`]: a read-only f32 tensor in host memory, the form in which weights enter the engine.
//!
//! Frozen weights are hundreds of megabytes and are read once, when they are packed. A host tensor therefore either
//! owns its elements or refers to a range of shared bytes, such as a memory-mapped file; a clone is one reference count
//! in both cases.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::{Error, Result, rng::Random};

/// Bytes that several tensors refer to, such as a memory-mapped file.
///
/// `as_ref` must return the same bytes at the same address on every call.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// An immutable f32 tensor in host memory, row-major, cheap to clone.
#[derive(Clone)]
pub struct HostTensor {
    shape: Arc<[usize]>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Owned(Arc<Vec<f32>>),
    /// Aligned for f32, and a whole number of them: checked on construction.
    Window {
        bytes: SharedBytes,
        range: Range<usize>,
    },
}

impl HostTensor {
    /// A tensor of `shape` that owns `data`, row-major. A scalar has the shape `[]`.
    ///
    /// # Errors
    /// [`Error::Shape`] if the number of elements of `data` is not that of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
        if element_count(&shape) != Some(data.len()) {
            return Err(Error::shape("HostTensor::new", "the data", &shape, &[data.len()]));
        }
        Ok(Self { shape: shape.into(), data: Data::Owned(Arc::new(data)) })
    }

    /// A tensor of `shape` with `value` everywhere.
    ///
    /// # Panics
    ///
    /// If `shape` has more elements than a `usize` can count.
    pub fn filled(shape: impl Into<Vec<usize>>, value: f32) -> Self {
        let shape = shape.into();
        let data = vec![value; counted(&shape)];
        Self { shape: shape.into(), data: Data::Owned(Arc::new(data)) }
    }

    /// A tensor of `shape` with normal numbers of mean 0 and the given standard deviation, row-major.
    ///
    /// # Panics
    ///
    /// If `shape` has more elements than a `usize` can count.
    pub fn normal(shape: impl Into<Vec<usize>>, deviation: f64, random: &mut Random) -> Self {
        let shape = shape.into();
        let data = (0..counted(&shape)).map(|_| (deviation * random.normal()) as f32).collect();
        Self { shape: shape.into(), data: Data::Owned(Arc::new(data)) }
    }

    /// A tensor of `shape` over `range` of `bytes`, which hold little-endian f32.
    ///
    /// Nothing is copied if the range is aligned for f32 and the host is little-endian; otherwise the elements are
    /// copied once, and `bytes` is not kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `range` is out of bounds; [`Error::Shape`] if its length is not that of the elements of
    /// `shape`.
    pub fn from_shared(shape: impl Into<Vec<usize>>, bytes: SharedBytes, range: Range<usize>) -> Result<Self> {
        const OP: &str = "HostTensor::from_shared";
        let shape = shape.into();
        let all = (*bytes).as_ref();
        let window = all.get(range.clone()).ok_or_else(|| {
            Error::invalid(
                OP,
                format!("bytes {}..{} are out of range for a buffer of {} bytes", range.start, range.end, all.len()),
            )
        })?;
        if element_count(&shape).and_then(|n| n.checked_mul(size_of::<f32>())) != Some(window.len()) {
            return Err(Error::shape(OP, format!("a window of {} bytes", window.len()), &shape, &[window.len() / 4]));
        }
        if cfg!(target_endian = "little") && bytemuck::try_cast_slice::<u8, f32>(window).is_ok() {
            return Ok(Self { shape: shape.into(), data: Data::Window { bytes, range } });
        }
        let (words, _) = window.as_chunks::<4>();
        let data = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok(Self { shape: shape.into(), data: Data::Owned(Arc::new(data)) })
    }

    /// The extents, outermost dimension first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &[f32] {
        match &self.data {
            Data::Owned(data) => data,
            Data::Window { bytes, range } => bytemuck::cast_slice(&(**bytes).as_ref()[range.clone()]),
        }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.data().len()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.data().is_empty()
    }

    /// Whether the elements are in shared bytes rather than in memory that the tensor owns.
    pub fn is_shared(&self) -> bool {
        matches!(self.data, Data::Window { .. })
    }
}

/// Prints the shape and where the elements are, not the elements, which may be millions.
impl fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostTensor").field("shape", &self.shape).field("shared", &self.is_shared()).finish()
    }
}

/// The product of the extents; `None` if it overflows.
fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, &extent| count.checked_mul(extent))
}

/// The number of elements of a shape whose memory is taken next.
fn counted(shape: &[usize]) -> usize {
    element_count(shape).unwrap_or_else(|| panic!("a tensor of shape {shape:?} has more elements than can be counted"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic = "has more elements than can be counted"]
    fn a_shape_of_too_many_elements_does_not_wrap_around() {
        HostTensor::filled([1 << (usize::BITS - 1), 2], 0.0);
    }

    /// `pad` bytes of filler, then the floats: with an aligned base, the pad decides the alignment of the window.
    fn shared(floats: &[f32], pad: usize) -> (SharedBytes, Range<usize>) {
        // One f32 more than is needed; cast to bytes, an allocation of f32 is aligned for them.
        struct Aligned(Vec<f32>);
        impl AsRef<[u8]> for Aligned {
            fn as_ref(&self) -> &[u8] {
                bytemuck::cast_slice(&self.0)
            }
        }
        let mut storage = vec![0.0f32; floats.len() + 2];
        let bytes: Vec<u8> = floats.iter().flat_map(|x| x.to_le_bytes()).collect();
        bytemuck::cast_slice_mut::<f32, u8>(&mut storage)[pad..pad + bytes.len()].copy_from_slice(&bytes);
        (Arc::new(Aligned(storage)), pad..pad + bytes.len())
    }

    #[test]
    fn an_owned_tensor_returns_what_it_was_given() {
        let tensor = HostTensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(tensor.shape(), [2, 3]);
        assert_eq!(tensor.data(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert!(!tensor.is_shared());
        assert_eq!(tensor.clone().data().as_ptr(), tensor.data().as_ptr(), "a clone must not copy");
        assert_eq!(HostTensor::filled([2, 2], 7.0).data(), [7.0; 4]);
        let mut random = [Random::new(1, 0), Random::new(1, 0)];
        let drawn = HostTensor::normal([3], 0.5, &mut random[0]);
        assert_eq!(drawn.data(), [(); 3].map(|()| (0.5 * random[1].normal()) as f32));
        assert_eq!(HostTensor::new([], vec![7.0]).unwrap().len(), 1);
        assert!(HostTensor::new([4, 0], vec![]).unwrap().is_empty());
    }

    #[test]
    fn an_aligned_window_is_not_copied() {
        let floats = [0.5, -1.25, f32::MIN_POSITIVE, 3e30];
        let (bytes, range) = shared(&floats, 4);
        let tensor = HostTensor::from_shared([4], bytes.clone(), range.clone()).unwrap();
        assert_eq!(tensor.data(), floats);
        assert_eq!(tensor.is_shared(), cfg!(target_endian = "little"));
        if tensor.is_shared() {
            assert_eq!(tensor.data().as_ptr().cast::<u8>(), (*bytes).as_ref()[range].as_ptr());
        }
    }

    #[test]
    fn an_unaligned_window_is_copied_and_reads_the_same() {
        for pad in [1, 2, 3] {
            let floats = [0.5, -1.25, 3e30];
            let (bytes, range) = shared(&floats, pad);
            let tensor = HostTensor::from_shared([3, 1], bytes, range).unwrap();
            assert!(!tensor.is_shared());
            assert_eq!(tensor.data(), floats);
        }
    }

    #[test]
    fn a_wrong_shape_or_range_is_refused() {
        assert!(matches!(HostTensor::new([2, 2], vec![0.0; 3]), Err(Error::Shape { .. })));
        assert!(matches!(HostTensor::new([usize::MAX, 2], vec![0.0; 3]), Err(Error::Shape { .. })));
        let (bytes, _) = shared(&[1.0, 2.0], 0);
        let len = (*bytes).as_ref().len();
        assert!(matches!(HostTensor::from_shared([3], bytes.clone(), 0..8), Err(Error::Shape { .. })));
        assert!(matches!(HostTensor::from_shared([2], bytes.clone(), 0..9), Err(Error::Shape { .. })));
        assert!(matches!(HostTensor::from_shared([1], bytes.clone(), len..len + 4), Err(Error::Invalid { .. })));
        let backwards = Range { start: 8, end: 4 };
        assert!(matches!(HostTensor::from_shared([1], bytes, backwards), Err(Error::Invalid { .. })));
    }
}
