//! Weights on the device.

use bitfit_core::{
    DType, Device, HostTensor, Result,
    backend::{Slice, SliceMut},
};
use half::bf16;

use crate::{Buffer, Cuda};

/// An `[out, in]` weight on the device, row-major. Products transpose while reading, so one copy serves `x · Wᵀ`
/// and `dy · W`.
#[derive(Debug)]
pub struct Matrix {
    data: Buffer,
    dtype: DType,
    out_features: usize,
    in_features: usize,
}

impl Matrix {
    /// Uploads the row-wise concatenation of `parts` as `dtype`.
    pub(super) fn new(device: &Cuda, parts: &[HostTensor], dtype: DType) -> Result<Self> {
        let in_features = parts.first().map_or(0, |part| part.shape()[1]);
        let len: usize = parts.iter().map(HostTensor::len).sum();
        let mut data = device.allocate(dtype.words(len))?;
        let mut offset = 0;
        for part in parts {
            if dtype == DType::F32 {
                device.write(part.data(), SliceMut::new(&mut data, offset, part.len()))?;
            }
            offset += part.len();
        }
        if dtype == DType::Bf16 {
            // Rounded on the host, which halves the size of the copy.
            let narrow: Vec<bf16> =
                parts.iter().flat_map(HostTensor::data).map(|&value| bf16::from_f32(value)).collect();
            let (pairs, last) = narrow.as_chunks::<2>();
            let pair = |low: bf16, high: bf16| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
            let mut words: Vec<u32> = pairs.iter().map(|&[low, high]| pair(low, high)).collect();
            words.extend(last.first().map(|&low| pair(low, bf16::ZERO)));
            device.stage(&words, &mut data, 0)?;
        }
        Ok(Self { data, dtype, out_features: len / in_features.max(1), in_features })
    }

    /// The elements, row-major.
    pub(crate) fn slice(&self) -> Slice<'_, Cuda> {
        Slice { buffer: &self.data, offset: 0, len: self.out_features * self.in_features, dtype: self.dtype }
    }

    /// `rows` rows from `first` on, for writing.
    ///
    /// # Panics
    /// If the weight has fewer.
    pub(super) fn rows_mut(&mut self, first: usize, rows: usize) -> SliceMut<'_, Cuda> {
        assert!(first + rows <= self.out_features, "rows of a weight");
        let (offset, len) = (first * self.in_features, rows * self.in_features);
        SliceMut { buffer: &mut self.data, offset, len, dtype: self.dtype }
    }

    /// The type of the elements.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of rows.
    pub(crate) fn out_features(&self) -> usize {
        self.out_features
    }

    /// The number of columns.
    pub(crate) fn in_features(&self) -> usize {
        self.in_features
    }
}
