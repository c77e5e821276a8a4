//! What a device is: memory, and the few things done to a whole buffer. What it computes is the sum of the op traits
//! in [`crate::ops`], each owned by its op's folder.

use std::fmt::Debug;

use super::{DType, Precision, Slice, SliceMut};
use crate::{HostTensor, Result};

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
    /// The precision of products with frozen weights and of saved activations; every device starts in f32.
    fn precision(&self) -> Precision {
        Precision::F32
    }
    /// The type of the factors of products with frozen weights. An op rounds what such a product will read.
    fn compute_dtype(&self) -> DType {
        self.precision().product_dtype()
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
    /// Lays out the row-wise concatenation of `parts`, each `[out_i, in]`, for products of the given precision.
    fn lay_out(&self, parts: &[HostTensor], precision: Precision) -> Result<Self::Matrix>;
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
