//! `LN(r + drop(x + b))` on the GPU: a block to a row in forward, to a few rows in backward, which stay in registers; the
//! column sums in two stages, blocks of rows first.

use bitfit_core::{
    DType, Error, Result, Slice,
    ops::add_norm::{AddNorm, BackwardInput, BackwardOutput, Input, Output},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, kernel, source},
};

pub(crate) static SOURCE: Source = source!("add_norm");

/// Columns of a row at the most: four a thread.
const MOST_COLUMNS: usize = 4096;

/// Rows of a block in backward, as in the source.
const BLOCK_ROWS: usize = 8;

/// Where a sum begins that is not asked for, as in the source.
const NOWHERE: usize = usize::MAX;

impl AddNorm for Cuda {
    fn add_norm(&self, input: Input<'_, Self>, output: Output<'_, Self>) -> Result<()> {
        let Output { mut y, rounded, kept } = output;
        let threads = threads(input.cols)?;
        let rows = y.len / input.cols.max(1);
        let (normal, rstd) = kept.map(|kept| (kept.normal, kept.rstd)).unzip();
        let name = kernel!("bitfit_add_norm", input.x.dtype, type_of(normal.as_ref().map(|normal| normal.dtype)));
        let mut arguments = Arguments::new();
        arguments.input(input.x).optional_input(input.bias).optional_input(input.residual);
        arguments.input(input.weight).input(input.beta).dropout(input.dropout).f32(input.eps);
        arguments.output(y.reborrow()).optional_output(normal).optional_output(rstd).usize(input.cols);
        self.launch(&SOURCE, name, Shape::blocks(rows, threads), &arguments)?;
        rounded.map_or(Ok(()), |rounded| bitfit_core::Device::copy(self, y.as_slice(), rounded))
    }

    fn add_norm_backward(&self, input: BackwardInput<'_, Self>, output: BackwardOutput<'_, Self>) -> Result<()> {
        let BackwardInput { cols, dy, weight, kept, dropout } = input;
        let BackwardOutput { sums, residual, x } = output;
        let threads = threads(cols)?;
        let rows = dy.len / cols.max(1);
        let blocks = rows.div_ceil(BLOCK_ROWS);
        let mut partial = match sums.at.iter().any(Option::is_some) {
            true => Some(self.temporary(DType::F32, blocks * 3 * cols)?),
            false => None,
        };
        let (normal, rstd) = kept.unzip();
        let types = (x.as_ref().map(|dx| dx.dtype), normal.as_ref().map(|normal: &Slice<'_, Self>| normal.dtype));
        let name = kernel!("bitfit_add_norm_backward", type_of(types.0), type_of(types.1));
        let mut arguments = Arguments::new();
        arguments.input(dy).input(weight).optional_input(normal).optional_input(rstd).dropout(dropout);
        arguments.optional_output(residual).optional_output(x);
        arguments.optional_output(partial.as_mut().map(|partial| partial.as_mut())).usize(rows).usize(cols);
        self.launch(&SOURCE, name, Shape::blocks(blocks, threads), &arguments)?;
        let Some(partial) = partial else { return Ok(()) };
        let mut arguments = Arguments::new();
        arguments.input(partial.as_ref()).usize(blocks).usize(cols).output(sums.buffer);
        sums.at.iter().for_each(|at| _ = arguments.usize(at.unwrap_or(NOWHERE)));
        let columns = Shape::blocks(cols.div_ceil(32), 256);
        let shape = Shape { grid: [columns.grid[0], 3, 1], ..columns };
        self.launch(&SOURCE, "bitfit_add_norm_sums", shape, &arguments)
    }
}

/// The type of a matrix that may not be there, as part of a kernel's name: any will do for one that is not.
fn type_of(dtype: Option<DType>) -> DType {
    dtype.unwrap_or(DType::F32)
}

/// Threads of a block for rows of so many columns.
fn threads(cols: usize) -> Result<u32> {
    if cols > MOST_COLUMNS {
        let reason = format!("{cols} columns; on a GPU a row has at most {MOST_COLUMNS}");
        return Err(Error::Invalid { op: "add_norm", reason });
    }
    Ok(cols.div_ceil(4).next_multiple_of(32).max(32) as u32)
}
