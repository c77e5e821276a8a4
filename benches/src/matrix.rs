//! Matrices of the CPU for benches of a device's functions.

use bitfit_core::{
    Cpu, DType, Device,
    backend::{Slice, SliceMut},
    cpu::Buffer,
};

/// `len` values in -1..1 that are the same in every run.
pub fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect()
}

/// A matrix of f32 or bfloat16, in a buffer of the engine.
pub struct Matrix {
    buffer: Buffer,
    dtype: DType,
    len: usize,
}

impl Matrix {
    /// A matrix of `len` elements with the first of [`values`].
    ///
    /// # Panics
    /// If there is no memory for it.
    pub fn new(device: &Cpu, dtype: DType, len: usize) -> Self {
        let mut buffer = device.allocate(dtype.words(len)).expect("memory");
        device.write(&values(len), SliceMut { buffer: &mut buffer, offset: 0, len, dtype }).expect("values");
        Self { buffer, dtype, len }
    }

    /// The elements, for reading.
    pub fn slice(&self) -> Slice<'_, Cpu> {
        Slice { buffer: &self.buffer, offset: 0, len: self.len, dtype: self.dtype }
    }

    /// The elements, for writing.
    pub fn slice_mut(&mut self) -> SliceMut<'_, Cpu> {
        SliceMut { buffer: &mut self.buffer, offset: 0, len: self.len, dtype: self.dtype }
    }
}
