//! [`Buffer`]: the buffers of the CPU, and access to their elements as f32 or bfloat16.

use std::fmt;

use half::bf16;

use super::{Cpu, Elements, ElementsMut};
use crate::{
    DType, HostTensor,
    backend::{Slice, SliceMut},
    memory::Line,
};

/// A buffer of f32 in host memory, owned or shared with a [`HostTensor`].
pub struct Buffer(Memory);

impl Buffer {
    /// An owned buffer of `len` zeros; `None` if memory cannot be allocated.
    pub(super) fn zeros(len: usize) -> Option<Self> {
        let lines = len.div_ceil(Line::LEN);
        let mut memory = Vec::new();
        memory.try_reserve_exact(lines).ok()?;
        memory.resize(lines, Line::ZERO);
        Some(Self(Memory::Owned(memory)))
    }

    /// A read-only buffer that shares the memory of `tensor`.
    pub(super) fn shared(tensor: HostTensor) -> Self {
        Self(Memory::Shared(tensor))
    }
}

enum Memory {
    Owned(Vec<Line>),
    Shared(HostTensor),
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Memory::Owned(lines) => write!(f, "Buffer({} lines)", lines.len()),
            Memory::Shared(tensor) => write!(f, "Buffer(shared {:?})", tensor.shape()),
        }
    }
}

impl<'a> Slice<'a, Cpu> {
    /// The elements as f32.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn f32(&self) -> &'a [f32] {
        assert_eq!(self.dtype, DType::F32, "read as f32");
        let all: &[f32] = match &self.buffer.0 {
            Memory::Owned(lines) => bytemuck::cast_slice(lines),
            Memory::Shared(tensor) => tensor.data(),
        };
        &all[self.offset..self.offset + self.len]
    }

    /// The elements as bfloat16.
    ///
    /// # Panics
    /// If they are of another type.
    pub fn bf16(&self) -> &'a [bf16] {
        assert_eq!(self.dtype, DType::Bf16, "read as bfloat16");
        match &self.buffer.0 {
            Memory::Owned(lines) => &bytemuck::cast_slice(lines)[self.offset..self.offset + self.len],
            Memory::Shared(_) => unreachable!("tensors shared with the host are f32"),
        }
    }

    /// The elements, with their type.
    pub(crate) fn elements(&self) -> Elements<'a> {
        match self.dtype {
            DType::F32 => Elements::F32(self.f32()),
            DType::Bf16 => Elements::Bf16(self.bf16()),
        }
    }
}

impl<'a> SliceMut<'a, Cpu> {
    /// The elements as f32, for writing.
    ///
    /// # Panics
    /// If they are of another type, or the memory is shared with a [`HostTensor`], as only that of frozen tensors is.
    pub fn f32(self) -> &'a mut [f32] {
        assert_eq!(self.dtype, DType::F32, "written as f32");
        match &mut self.buffer.0 {
            Memory::Owned(lines) => {
                let all: &mut [f32] = bytemuck::cast_slice_mut(lines);
                &mut all[self.offset..self.offset + self.len]
            }
            Memory::Shared(_) => unreachable!("a frozen tensor is never written"),
        }
    }

    /// The elements as bfloat16, for writing.
    ///
    /// # Panics
    /// If they are of another type, or the memory is shared with a [`HostTensor`].
    pub fn bf16(self) -> &'a mut [bf16] {
        assert_eq!(self.dtype, DType::Bf16, "written as bfloat16");
        match &mut self.buffer.0 {
            Memory::Owned(lines) => &mut bytemuck::cast_slice_mut(lines)[self.offset..self.offset + self.len],
            Memory::Shared(_) => unreachable!("a frozen tensor is never written"),
        }
    }

    /// The elements, with their type.
    pub(crate) fn elements(self) -> ElementsMut<'a> {
        match self.dtype {
            DType::F32 => ElementsMut::F32(self.f32()),
            DType::Bf16 => ElementsMut::Bf16(self.bf16()),
        }
    }
}
