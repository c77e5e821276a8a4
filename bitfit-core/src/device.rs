//! What a device is: memory, and the few things done to a whole buffer. What it computes is the sum of the op traits
//! in [`crate::ops`], each owned by its op's folder.

use std::fmt::Debug;

use crate::{HostTensor, Result};

/// The type of a matrix's elements. Sums, statistics, parameters and the residual stream are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE floats.
    F32,
    /// bfloat16: the upper half of an f32.
    Bf16,
}

impl DType {
    /// How many f32 take the place of `len` elements.
    pub fn words(self, len: usize) -> usize {
        match self {
            Self::F32 => len,
            Self::Bf16 => len.div_ceil(2),
        }
    }
}

/// A device that holds f32 buffers, u32 index lists and laid-out frozen matrices.
///
/// Work may be asynchronous: only [`Device::read`] has to wait for what came before it.
pub trait Device: Clone + Debug + Send + Sync + Sized + 'static {
    /// A contiguous run of f32.
    type Buffer: Debug + Send + Sync;
    /// A list of u32: token ids, sequence offsets, class labels, masks.
    type Indices: Debug + Send + Sync;
    /// A frozen `[out, in]` weight, laid out once for the products that read it.
    type Matrix: Debug + Send + Sync;

    /// A short name for plans and error messages, such as `cpu (avx512, f32, 2 threads)`.
    fn name(&self) -> String;
    /// The type in which products with frozen weights are made and what backward reads is kept: f32 in full precision,
    /// which is what every device starts with.
    fn narrow(&self) -> DType {
        DType::F32
    }
    /// Runs `work` where the device likes to be called from. Nothing depends on it but time: whoever makes many calls, such
    /// as a training loop, makes them from in here.
    fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
    /// A buffer of `len` f32 with unspecified (but initialised) contents.
    fn allocate(&self, len: usize) -> Result<Self::Buffer>;
    /// A read-only buffer that holds `data`; shares the memory where the device can.
    fn upload(&self, data: &HostTensor) -> Result<Self::Buffer>;
    /// Copies from the host into a buffer of the same length, rounding where it is narrow.
    fn write(&self, data: &[f32], to: SliceMut<'_, Self>) -> Result<()>;
    /// Copies a buffer to the host, widening where it is narrow, after everything that writes it is done.
    fn read(&self, from: Slice<'_, Self>, to: &mut [f32]) -> Result<()>;
    /// A list of indices on the device.
    fn indices(&self, data: &[u32]) -> Result<Self::Indices>;
    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]`, for products of the given type.
    fn lay_out(&self, parts: &[HostTensor], dtype: DType) -> Result<Self::Matrix>;
    /// Sets every element to `value`. f32 alone, as the lists below.
    fn fill(&self, value: f32, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to = from`, rounded where `to` is narrower; both of the same length.
    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to += from`; both of the same length, of whatever types.
    fn accumulate(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to[i] += from[at[i]]`, `to` being as long as `at`.
    fn gather_accumulate(&self, from: Slice<'_, Self>, at: &Self::Indices, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to[at[i]] = from[i]`, `from` being as long as `at`, which names no element twice.
    fn scatter(&self, from: Slice<'_, Self>, at: &Self::Indices, to: SliceMut<'_, Self>) -> Result<()>;
}

/// A window of a device buffer, for reading.
#[derive(Debug)]
pub struct Slice<'a, D: Device> {
    /// The buffer that holds it.
    pub buffer: &'a D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// Their type; `offset` and `len` count such elements.
    pub dtype: DType,
}

impl<'a, D: Device> Slice<'a, D> {
    /// A window of f32.
    pub fn new(buffer: &'a D::Buffer, offset: usize, len: usize) -> Self {
        Self { buffer, offset, len, dtype: DType::F32 }
    }
}

impl<D: Device> Clone for Slice<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Slice<'_, D> {}

/// A window of a device buffer, for writing.
#[derive(Debug)]
pub struct SliceMut<'a, D: Device> {
    /// The buffer that holds it.
    pub buffer: &'a mut D::Buffer,
    /// The first element.
    pub offset: usize,
    /// The number of elements.
    pub len: usize,
    /// Their type; `offset` and `len` count such elements.
    pub dtype: DType,
}

impl<'a, D: Device> SliceMut<'a, D> {
    /// A window of f32.
    pub fn new(buffer: &'a mut D::Buffer, offset: usize, len: usize) -> Self {
        Self { buffer, offset, len, dtype: DType::F32 }
    }

    /// The same window for a shorter time.
    pub fn reborrow(&mut self) -> SliceMut<'_, D> {
        SliceMut { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }

    /// The same window, read-only.
    pub fn as_slice(&self) -> Slice<'_, D> {
        Slice { buffer: self.buffer, offset: self.offset, len: self.len, dtype: self.dtype }
    }
}
