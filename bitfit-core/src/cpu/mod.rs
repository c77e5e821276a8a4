//! The CPU backend: memory and whole-buffer operations. Its arithmetic stands in each op's `cpu.rs`, on the vectors of
//! [`crate::simd`] and the products of [`crate::gemm`].
//!
//! Work is split by fixed blocks of rows, never by the number of threads, and sums over blocks are added in their order:
//! the same bits come out whether one thread runs or many.

mod rows;

use std::fmt;

use bytemuck::{Pod, Zeroable};

pub(crate) use rows::{ELEMENT_BLOCK, ROW_BLOCK, blocks, blocks_of, load, optional_blocks, store, sum_columns};

use crate::{
    Device, Error, HostTensor, Result, Slice, SliceMut,
    gemm::PackedWeight,
    simd::{self, Level},
};

/// The CPU, with the instruction set it uses.
#[derive(Clone, Debug)]
pub struct Cpu {
    level: Level,
}

impl Cpu {
    /// The CPU by a given instruction set, or the best it has where it lacks that one.
    pub fn with_level(level: Level) -> Self {
        Self { level: level.available() }
    }

    /// The instruction set in use.
    pub fn level(&self) -> Level {
        self.level
    }
}

impl Default for Cpu {
    /// The best instruction set the CPU has, or the one that `BITFIT_ISA` forces.
    fn default() -> Self {
        Self::with_level(simd::level())
    }
}

/// One cache line: buffers start at one, so that no vector straddles two.
#[derive(Clone, Copy, Zeroable, Pod)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// f32 on the CPU: its own, or shared with whoever loaded them.
pub struct Buffer(Memory);

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
    /// The elements.
    pub fn f32(&self) -> &'a [f32] {
        let all: &[f32] = match &self.buffer.0 {
            Memory::Owned(lines) => bytemuck::cast_slice(lines),
            Memory::Shared(tensor) => tensor.data(),
        };
        &all[self.offset..self.offset + self.len]
    }
}

impl<'a> SliceMut<'a, Cpu> {
    /// The elements.
    ///
    /// # Panics
    /// On memory shared with the host: only frozen tensors are, and nothing writes those.
    pub fn f32(self) -> &'a mut [f32] {
        match &mut self.buffer.0 {
            Memory::Owned(lines) => {
                let all: &mut [f32] = bytemuck::cast_slice_mut(lines);
                &mut all[self.offset..self.offset + self.len]
            }
            Memory::Shared(_) => unreachable!("a frozen tensor is never written"),
        }
    }
}

impl Device for Cpu {
    type Buffer = Buffer;
    type Indices = Vec<u32>;
    type Matrix = PackedWeight;

    fn name(&self) -> String {
        let threads = rayon::current_num_threads();
        format!("cpu ({}, {threads} thread{})", self.level, if threads == 1 { "" } else { "s" })
    }

    fn allocate(&self, len: usize) -> Result<Buffer> {
        let lines = len.div_ceil(16);
        let mut memory = Vec::new();
        memory.try_reserve_exact(lines).map_err(|_| Error::Device {
            device: self.name(),
            reason: format!("out of memory for a buffer of {len} f32"),
        })?;
        memory.resize(lines, Line([0.0; 16]));
        Ok(Buffer(Memory::Owned(memory)))
    }

    fn upload(&self, data: &HostTensor) -> Result<Buffer> {
        Ok(Buffer(Memory::Shared(data.clone())))
    }

    fn write(&self, data: &[f32], to: SliceMut<'_, Self>) -> Result<()> {
        to.f32().copy_from_slice(data);
        Ok(())
    }

    fn read(&self, from: Slice<'_, Self>, to: &mut [f32]) -> Result<()> {
        to.copy_from_slice(from.f32());
        Ok(())
    }

    fn indices(&self, data: &[u32]) -> Result<Vec<u32>> {
        Ok(data.to_vec())
    }

    fn lay_out(&self, parts: &[HostTensor]) -> Result<PackedWeight> {
        let in_features = parts.first().map_or(0, |part| part.shape()[1]);
        let data: Vec<&[f32]> = parts.iter().map(HostTensor::data).collect();
        let out_features = data.iter().map(|part| part.len()).sum::<usize>() / in_features.max(1);
        Ok(PackedWeight::new(self.level, &data, out_features, in_features))
    }

    fn fill(&self, value: f32, to: SliceMut<'_, Self>) -> Result<()> {
        to.f32().fill(value);
        Ok(())
    }

    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        to.f32().copy_from_slice(from.f32());
        Ok(())
    }

    fn accumulate(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        for (to, from) in to.f32().iter_mut().zip(from.f32()) {
            *to += from;
        }
        Ok(())
    }

    fn gather(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: SliceMut<'_, Self>) -> Result<()> {
        let from = from.f32();
        for (to, &at) in to.f32().iter_mut().zip(at) {
            *to = from[at as usize];
        }
        Ok(())
    }

    fn gather_accumulate(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: SliceMut<'_, Self>) -> Result<()> {
        let from = from.f32();
        for (to, &at) in to.f32().iter_mut().zip(at) {
            *to += from[at as usize];
        }
        Ok(())
    }

    fn scatter(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: SliceMut<'_, Self>) -> Result<()> {
        let to = to.f32();
        for (from, &at) in from.f32().iter().zip(at) {
            to[at as usize] = *from;
        }
        Ok(())
    }
}
