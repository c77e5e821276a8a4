//! [`Device`]: memory, and operations on whole buffers. Computations are defined by the op traits in [`crate::ops`].

use std::fmt::Debug;

use super::{DType, Precision, Slice, SliceMut};
use crate::{HostTensor, Result};

/// A device with buffers of f32, lists of u32 indices and weights in the layout of their products.
///
/// Operations may be asynchronous: only [`Device::read`] waits for those before it.
///
/// # Errors
/// All operations return [`Error::Device`](crate::Error::Device) if the device is out of memory or fails.
pub trait Device: Clone + Debug + Send + Sync + Sized + 'static {
    /// A contiguous buffer of f32; it also holds bfloat16, two to a word.
    type Buffer: Debug + Send + Sync;
    /// A list of u32: token ids, sequence offsets, class labels, masks.
    type Indices: Debug + Send + Sync;
    /// An `[out, in]` weight in the layout of the device's products.
    type Matrix: Debug + Send + Sync;

    /// A short name for messages, such as `cpu (avx512, f32, 2 threads)`.
    fn name(&self) -> String;
    /// The part of [`Device::name`] on which the last bits of results depend, such as `cpu (avx512, f32)`.
    fn arithmetic(&self) -> String {
        self.name()
    }
    /// The precision of products with frozen weights and of saved activations. The default of every device is f32.
    fn precision(&self) -> Precision {
        Precision::F32
    }
    /// The type of the factors of products with frozen weights. An op rounds what such a product will read.
    fn compute_dtype(&self) -> DType {
        self.precision().product_dtype()
    }
    /// Runs `work` on the thread from which calls to the device are fastest. Results do not depend on it; a training
    /// loop should run inside.
    fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
    /// Runs two functions, such as passes over two parts of a batch: at once where that is faster, one after the other
    /// elsewhere. Results do not depend on it.
    fn join<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        let a = a();
        (a, b())
    }
    /// Whether the bits of a row of a result do not depend on the other rows of the operands; in attention, on other
    /// sequences. The parts of a pass ([`Parts`](crate::tape::Parts)) rest on it.
    fn computes_rows_independently(&self) -> bool {
        false
    }
    /// Whether [`Device::allocate`] takes no longer than a few instructions once memory was freed, so that a workspace
    /// need not keep buffers.
    fn reuses_memory(&self) -> bool {
        false
    }
    /// The number of rows to which a batch of `rows` tokens should be padded, at least `rows`: some devices are faster
    /// if batches have few different shapes.
    fn padded_rows(&self, rows: usize) -> usize {
        rows
    }
    /// Allocates a buffer of `len` f32 with unspecified but initialised contents.
    fn allocate(&self, len: usize) -> Result<Self::Buffer>;
    /// Makes a read-only buffer with the elements of `data`, sharing its memory if the device can.
    fn upload(&self, data: &HostTensor) -> Result<Self::Buffer>;
    /// Copies `data` from the host to a slice of the same length, rounding to its element type.
    fn write(&self, data: &[f32], to: SliceMut<'_, Self>) -> Result<()>;
    /// Copies a slice to the host as f32, after all pending operations that write it.
    fn read(&self, from: Slice<'_, Self>, to: &mut [f32]) -> Result<()>;
    /// Copies a list of indices to the device.
    fn indices(&self, data: &[u32]) -> Result<Self::Indices>;
    /// Copies several lists of indices to the device, which can take less time than one by one.
    fn index_lists(&self, lists: &[&[u32]]) -> Result<Vec<Self::Indices>> {
        lists.iter().map(|list| self.indices(list)).collect()
    }
    /// Packs the row-wise concatenation of `parts`, each `[out_i, in]`, for products of the given precision.
    fn lay_out(&self, parts: &[HostTensor], precision: Precision) -> Result<Self::Matrix>;
    /// Overwrites whole rows of a laid-out weight, from `first_row` on, by `from`: f32 rows, row-major, that are
    /// rounded to the type of the weight.
    fn write_rows(&self, from: Slice<'_, Self>, to: &mut Self::Matrix, first_row: usize) -> Result<()>;
    /// Overwrites elements of a laid-out weight: `from[i]` is the one with the row-major index `at[i]`, counted from
    /// `first_row` on. `from` is f32 and has the length of `at`, which has no duplicates.
    fn write_elements(
        &self,
        from: Slice<'_, Self>,
        at: &Self::Indices,
        to: &mut Self::Matrix,
        first_row: usize,
    ) -> Result<()>;
    /// Sets every element of an f32 slice to `value`.
    fn fill(&self, value: f32, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to = from`, rounded to the type of `to`; both have the same length.
    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to += from`, computed in f32 and rounded to the type of `to`; both have the same length.
    fn accumulate(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to[i] += from[at[i]]` for f32 slices; `to` has the length of `at`.
    fn gather_accumulate(&self, from: Slice<'_, Self>, at: &Self::Indices, to: SliceMut<'_, Self>) -> Result<()>;
    /// `to[at[i]] = from[i]` for f32 slices; `from` has the length of `at`, which has no duplicates.
    fn scatter(&self, from: Slice<'_, Self>, at: &Self::Indices, to: SliceMut<'_, Self>) -> Result<()>;
}
