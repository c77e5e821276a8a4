//! [`Indices`]: a list of indices on a device.

use std::{fmt, sync::Arc};

use crate::{Device, Result};

/// A list of indices on a device, whose bound is known on the host so that an op can check it before it runs.
pub struct Indices<D: Device> {
    data: Arc<D::Indices>,
    len: usize,
    bound: usize,
}

impl<D: Device> Indices<D> {
    /// Copies `indices` to the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn new(device: &D, indices: &[u32]) -> Result<Self> {
        Ok(Self::of(device.indices(indices)?, indices))
    }

    /// Copies several lists to the device at once.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device is out of memory.
    pub fn several<const N: usize>(device: &D, lists: [&[u32]; N]) -> Result<[Self; N]> {
        let mut there = device.index_lists(&lists)?.into_iter();
        Ok(lists.map(|list| Self::of(there.next().expect("as many lists as were copied"), list)))
    }

    fn of(data: D::Indices, indices: &[u32]) -> Self {
        let bound = indices.iter().max().map_or(0, |&max| max as usize + 1);
        Self { data: Arc::new(data), len: indices.len(), bound }
    }

    /// The list on the device.
    pub fn data(&self) -> &D::Indices {
        &self.data
    }

    /// The number of indices.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One more than the greatest index; 0 for an empty list.
    pub fn bound(&self) -> usize {
        self.bound
    }
}

impl<D: Device> Clone for Indices<D> {
    fn clone(&self) -> Self {
        Self { data: Arc::clone(&self.data), ..*self }
    }
}

impl<D: Device> fmt::Debug for Indices<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indices").field("len", &self.len).field("bound", &self.bound).finish_non_exhaustive()
    }
}
