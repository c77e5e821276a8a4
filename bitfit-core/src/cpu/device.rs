//! [`Cpu`]: memory, and operations on whole buffers.

use half::bf16;
use rayon::prelude::*;

use super::{Buffer, ELEMENT_BLOCK, Elements, ElementsMut, Isa, Matrix, float::accumulate, simd};
use crate::{
    Device, Error, HostTensor, Precision, Result,
    backend::{Slice, SliceMut},
    memory::ThreadScratch,
};

/// The CPU as a device, with the instruction set and the precision that it uses.
#[derive(Clone, Debug)]
pub struct Cpu {
    isa: Isa,
    precision: Precision,
}

impl Cpu {
    /// The CPU using `isa`, or its best instruction set if it lacks `isa`.
    pub fn with_isa(isa: Isa) -> Self {
        Self { isa: isa.available(), precision: Precision::F32 }
    }

    /// The same CPU with another precision: f32 for parity with other frameworks, bfloat16 for half the memory and,
    /// with instructions for it, twice the speed.
    #[must_use]
    pub fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The instruction set that the CPU uses.
    pub fn isa(&self) -> Isa {
        self.isa
    }
}

impl Default for Cpu {
    /// The CPU using the instruction set that `BITFIT_ISA` forces, or its best one, in f32.
    fn default() -> Self {
        Self::with_isa(Isa::selected())
    }
}

impl Device for Cpu {
    type Buffer = Buffer;
    type Indices = Vec<u32>;
    type Matrix = Matrix;

    fn name(&self) -> String {
        let threads = rayon::current_num_threads();
        format!("cpu ({}, {}, {threads} thread{})", self.isa, self.precision, if threads == 1 { "" } else { "s" })
    }

    fn arithmetic(&self) -> String {
        format!("cpu ({}, {})", self.isa, self.precision)
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    /// Runs `work` on a thread of rayon's pool. A thread outside the pool waits for each op, and waking it takes as
    /// long as a small op.
    fn install<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        rayon::scope(|_| work())
    }

    /// An element of a product is summed in the order of its terms, whichever tile it is in.
    fn computes_rows_independently(&self) -> bool {
        true
    }

    /// Threads that wait for a part of an op run ops of the other function meanwhile.
    fn join<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        rayon::join(a, b)
    }

    fn allocate(&self, len: usize) -> Result<Buffer> {
        Buffer::zeros(len).ok_or_else(|| Error::Device {
            device: self.name(),
            reason: format!("out of memory for a buffer of {len} f32"),
        })
    }

    fn upload(&self, data: &HostTensor) -> Result<Buffer> {
        Ok(Buffer::shared(data.clone()))
    }

    fn write(&self, data: &[f32], to: SliceMut<'_, Self>) -> Result<()> {
        match to.elements() {
            ElementsMut::F32(to) => to.copy_from_slice(data),
            ElementsMut::Bf16(to) => simd::to_bf16_slice(self.isa, data, to),
        }
        Ok(())
    }

    fn read(&self, from: Slice<'_, Self>, to: &mut [f32]) -> Result<()> {
        match from.elements() {
            Elements::F32(from) => to.copy_from_slice(from),
            Elements::Bf16(from) => simd::from_bf16_slice(self.isa, from, to),
        }
        Ok(())
    }

    fn indices(&self, data: &[u32]) -> Result<Vec<u32>> {
        Ok(data.to_vec())
    }

    fn lay_out(&self, parts: &[HostTensor], precision: Precision) -> Result<Matrix> {
        Ok(Matrix::new(self, parts, precision))
    }

    fn write_rows(&self, from: Slice<'_, Self>, to: &mut Matrix, first_row: usize) -> Result<()> {
        to.write_rows(from.f32(), first_row);
        Ok(())
    }

    fn write_elements(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: &mut Matrix, first_row: usize) -> Result<()> {
        to.write_elements(from.f32(), at, first_row);
        Ok(())
    }

    fn fill(&self, value: f32, to: SliceMut<'_, Self>) -> Result<()> {
        to.f32().par_chunks_mut(ELEMENT_BLOCK).for_each(|to| to.fill(value));
        Ok(())
    }

    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        match (from.elements(), to.elements()) {
            (Elements::F32(from), ElementsMut::F32(to)) => to.copy_from_slice(from),
            (Elements::Bf16(from), ElementsMut::Bf16(to)) => to.copy_from_slice(from),
            (Elements::F32(from), ElementsMut::Bf16(to)) => simd::to_bf16_slice(self.isa, from, to),
            (Elements::Bf16(from), ElementsMut::F32(to)) => simd::from_bf16_slice(self.isa, from, to),
        }
        Ok(())
    }

    fn accumulate(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        match (from.elements(), to.elements()) {
            (Elements::F32(from), ElementsMut::F32(to)) => accumulate(from, to),
            (Elements::Bf16(from), ElementsMut::Bf16(to)) => accumulate(from, to),
            (Elements::F32(from), ElementsMut::Bf16(to)) => accumulate(from, to),
            (Elements::Bf16(from), ElementsMut::F32(to)) => accumulate(from, to),
        }
        Ok(())
    }

    fn gather_accumulate(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: SliceMut<'_, Self>) -> Result<()> {
        let (from, to) = (from.f32(), to.f32());
        assert_eq!(to.len(), at.len(), "gather_accumulate: lengths differ");
        for (to, &at) in to.iter_mut().zip(at) {
            *to += from[at as usize];
        }
        Ok(())
    }

    fn scatter(&self, from: Slice<'_, Self>, at: &Vec<u32>, to: SliceMut<'_, Self>) -> Result<()> {
        let (from, to) = (from.f32(), to.f32());
        assert_eq!(from.len(), at.len(), "scatter: lengths differ");
        for (from, &at) in from.iter().zip(at) {
            to[at as usize] = *from;
        }
        Ok(())
    }
}

impl Cpu {
    /// Checks that weights were laid out for this CPU's instruction set.
    pub(crate) fn check_weights(&self, op: &'static str, weights: &[&Matrix]) -> Result<()> {
        match weights.iter().map(|weight| weight.isa()).find(|&isa| isa != self.isa) {
            None => Ok(()),
            Some(isa) => Err(Error::foreign(op, format!("a weight that was laid out for {isa}"), "device")),
        }
    }

    /// Calls `work` with a matrix in bfloat16, which is rounded first if it is f32.
    pub(crate) fn with_bf16<R>(&self, x: Elements<'_>, work: impl FnOnce(&[bf16]) -> R) -> R {
        let from = match x {
            Elements::Bf16(x) => return work(x),
            Elements::F32(x) => x,
        };
        let mut memory = ThreadScratch::unspecified(from.len().div_ceil(2));
        let to: &mut [bf16] = &mut bytemuck::cast_slice_mut(&mut memory)[..from.len()];
        to.par_chunks_mut(ELEMENT_BLOCK)
            .zip(from.par_chunks(ELEMENT_BLOCK))
            .for_each(|(to, from)| simd::to_bf16_slice(self.isa, from, to));
        work(to)
    }
}
