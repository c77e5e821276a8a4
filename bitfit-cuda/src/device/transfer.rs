//! The implementation of `Device`: allocation, copies between host and device, and kernels over whole buffers.

use std::sync::Arc;

use bitfit_core::{
    DType, Device, Error, HostTensor, Precision, Result,
    backend::{Slice, SliceMut},
};

use super::{Cuda, Matrix};
use crate::{
    Buffer, Indices,
    launch::{Arguments, Shape, Source, kernel, source},
};

/// The kernels of this file.
pub(crate) static SOURCE: Source = source!("transfer");

impl Device for Cuda {
    type Buffer = Buffer;
    type Indices = Indices;
    type Matrix = Matrix;

    fn name(&self) -> String {
        self.full_name()
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn reuses_memory(&self) -> bool {
        true
    }

    /// A multiple of 32 rows, or of 64 for more than 1,024: a run has few shapes, whose steps become graphs. The
    /// padding is a sequence in attention, and no longer than the kernels for the shortest ones take.
    fn padded_rows(&self, rows: usize) -> usize {
        rows.next_multiple_of(if rows <= 1024 { 32 } else { 64 })
    }

    fn allocate(&self, len: usize) -> Result<Buffer> {
        Buffer::new(self.heap(), len).map_err(|error| self.error(error))
    }

    fn upload(&self, data: &HostTensor) -> Result<Buffer> {
        let mut buffer = self.allocate(data.len())?;
        self.write(data.data(), SliceMut::new(&mut buffer, 0, data.len()))?;
        Ok(buffer)
    }

    fn write(&self, data: &[f32], to: SliceMut<'_, Self>) -> Result<()> {
        assert_eq!(data.len(), to.len, "a copy to a slice of another length");
        match to.dtype {
            DType::F32 => self.stage(bytemuck::cast_slice(data), to.buffer, to.offset),
            DType::Bf16 => {
                let mut wide = self.temporary(DType::F32, data.len())?;
                self.write(data, wide.as_mut())?;
                self.copy(wide.as_ref(), to)
            }
        }
    }

    fn read(&self, from: Slice<'_, Self>, to: &mut [f32]) -> Result<()> {
        assert_eq!(from.len, to.len(), "a copy from a slice of another length");
        if from.len == 0 {
            return Ok(());
        }
        self.check_buffer("read", from.buffer)?;
        if from.dtype == DType::Bf16 {
            let mut wide = self.temporary(DType::F32, from.len)?;
            self.copy(from, wide.as_mut())?;
            return self.read(wide.as_ref(), to);
        }
        let address = from.buffer.pointer(from.offset, from.len, from.dtype);
        let read = self.shared.staging.read(self.work(), address, bytemuck::cast_slice_mut(to));
        read.map_err(|error| self.error(error))
    }

    fn indices(&self, data: &[u32]) -> Result<Indices> {
        let mut lists = self.index_lists(&[data])?;
        Ok(lists.remove(0))
    }

    fn index_lists(&self, lists: &[&[u32]]) -> Result<Vec<Indices>> {
        let words = lists.concat();
        // Sums that wait hold memory, which would decide where the lists of the next part of a batch lie; staging the
        // words ends them anyway.
        self.work().direct(|_| Ok(())).map_err(|error| self.error(error))?;
        let mut buffer = self.allocate(words.len())?;
        self.stage(&words, &mut buffer, 0)?;
        let buffer = Arc::new(buffer);
        let mut end = 0;
        let list = |list: &&[u32]| {
            end += list.len();
            Indices::new(Arc::clone(&buffer), end - list.len(), list.len())
        };
        Ok(lists.iter().map(list).collect())
    }

    fn lay_out(&self, parts: &[HostTensor], precision: Precision) -> Result<Matrix> {
        let dtype = match precision {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::Bf16,
            Precision::Int8 => {
                let reason = "products of int8 are not supported on a GPU; choose f32 or bf16".into();
                return Err(Error::Device { device: self.name(), reason });
            }
        };
        Matrix::new(self, parts, dtype)
    }

    fn write_rows(&self, from: Slice<'_, Self>, to: &mut Matrix, first_row: usize) -> Result<()> {
        let rows = from.len / to.in_features();
        self.copy(from, to.rows_mut(first_row, rows))
    }

    fn write_elements(&self, from: Slice<'_, Self>, at: &Indices, to: &mut Matrix, first_row: usize) -> Result<()> {
        let rows = to.out_features() - first_row;
        self.scatter(from, at, to.rows_mut(first_row, rows))
    }

    fn fill(&self, value: f32, to: SliceMut<'_, Self>) -> Result<()> {
        let (len, dtype) = (to.len, to.dtype);
        let mut arguments = Arguments::new();
        arguments.f32(value).output(to).usize(len);
        self.launch(&SOURCE, kernel!("bitfit_fill", dtype), Shape::eights(len), &arguments)
    }

    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        let (len, shape) = same_length(&from, &to);
        let name = kernel!("bitfit_copy", from.dtype, to.dtype);
        let mut arguments = Arguments::new();
        arguments.input(from).output(to).usize(len);
        self.launch(&SOURCE, name, shape, &arguments)
    }

    fn accumulate(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) -> Result<()> {
        let (len, shape) = same_length(&from, &to);
        let name = kernel!("bitfit_accumulate", from.dtype, to.dtype);
        let mut arguments = Arguments::new();
        arguments.input(from).output(to).usize(len);
        self.launch(&SOURCE, name, shape, &arguments)
    }

    fn gather_accumulate(&self, from: Slice<'_, Self>, at: &Indices, to: SliceMut<'_, Self>) -> Result<()> {
        self.by_indices("bitfit_gather_accumulate", from, at, to)
    }

    fn scatter(&self, from: Slice<'_, Self>, at: &Indices, to: SliceMut<'_, Self>) -> Result<()> {
        let name = kernel!("bitfit_scatter", to.dtype);
        self.by_indices(name, from, at, to)
    }
}

/// The length of two slices, which has to be the same, and the launch shape for it.
fn same_length(from: &Slice<'_, Cuda>, to: &SliceMut<'_, Cuda>) -> (usize, Shape) {
    assert_eq!(from.len, to.len, "a copy to a slice of another length");
    (to.len, Shape::eights(to.len))
}

impl Cuda {
    /// Queues a copy of words from the host.
    pub(super) fn stage(&self, data: &[u32], to: &mut Buffer, offset: usize) -> Result<()> {
        self.check_buffer("write", to)?;
        self.shared.staging.copy(self.work(), data, to, offset).map_err(|error| self.error(error))
    }

    /// Launches a kernel that processes one element for every index.
    fn by_indices(
        &self,
        kernel: &'static str,
        from: Slice<'_, Self>,
        at: &Indices,
        to: SliceMut<'_, Self>,
    ) -> Result<()> {
        let mut arguments = Arguments::new();
        arguments.input(from).indices(at).output(to).usize(at.len());
        self.launch(&SOURCE, kernel, Shape::elements(at.len()), &arguments)
    }
}
