//! `LN(r + drop(x + b))` on the GPU: a block processes a few rows at once, in registers; the column sums have two
//! stages, first over the rows of each block.

use bitfit_core::{
    DType, Error, Result,
    backend::Slice,
    ops::add_norm::{AddNorm, BackwardInput, BackwardOutput, Input, Output},
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, kernel, source},
    memory::Temporary,
    sums::Partial,
};

pub(crate) static SOURCE: Source = source!("add_norm");

/// The maximum number of columns, four for each thread.
const MAX_COLUMNS: usize = 4096;

/// The maximum number of columns for blocks of four rows; the registers of more threads suffice for two rows.
const FOUR_ROWS_COLUMNS: usize = 1024;
/// The minimum number of rows for blocks of four rows in forward. With fewer, smaller blocks use the GPU better.
const FOUR_ROWS: usize = 2048;

/// The approximate number of blocks of backward. Few, because each writes a row of partial sums; enough for the largest
/// GPUs.
const BACKWARD_BLOCKS: usize = 512;
/// The maximum number of rows of a block in backward.
const MAX_BLOCK_ROWS: usize = 32;

impl AddNorm for Cuda {
    fn add_norm(&self, input: Input<'_, Self>, output: Output<'_, Self>) -> Result<()> {
        let Output { y, rounded, saved } = output;
        let cols = input.cols;
        let threads = threads(cols)?;
        let rows = y.len / cols.max(1);
        let (normalized, rstd) = saved.map(|saved| (saved.normalized, saved.rstd)).unzip();
        let (x, k) = (input.x.dtype, type_of(normalized.as_ref().map(|normalized| normalized.dtype)));
        let (block_rows, name) = match cols <= FOUR_ROWS_COLUMNS && rows >= FOUR_ROWS {
            true => (4, kernel!("bitfit_add_norm_by4", x, k)),
            false => (2, kernel!("bitfit_add_norm_by2", x, k)),
        };
        let mut arguments = Arguments::new();
        arguments.input(input.x).optional_input(input.linear_bias).optional_input(input.residual);
        arguments.input(input.gamma).input(input.beta).dropout(input.dropout).f32(input.eps);
        arguments.output(y).optional_output(rounded).optional_output(normalized).optional_output(rstd);
        arguments.usize(rows).usize(cols);
        self.launch(&SOURCE, name, Shape::blocks(rows.div_ceil(block_rows), threads), &arguments)
    }

    fn add_norm_backward(&self, input: BackwardInput<'_, Self>, output: BackwardOutput<'_, Self>) -> Result<()> {
        let BackwardInput { cols, dy, gamma, saved, dropout } = input;
        let BackwardOutput { mut sums, residual, x } = output;
        let threads = threads(cols)?;
        let rows = dy.len / cols.max(1);
        let (normalized, rstd) = saved.unzip();
        let types =
            (x.as_ref().map(|dx| dx.dtype), normalized.as_ref().map(|normalized: &Slice<'_, Self>| normalized.dtype));
        let (x_type, k) = (type_of(types.0), type_of(types.1));
        let name = match cols <= FOUR_ROWS_COLUMNS {
            true => kernel!("bitfit_add_norm_backward_by4", x_type, k),
            false => kernel!("bitfit_add_norm_backward_by2", x_type, k),
        };
        let block_rows = backward_block_rows(rows);
        let blocks = rows.div_ceil(block_rows);
        // Sums of parameters that do not train are not computed.
        let partial = |index: usize| sums.at[index].map(|_| self.temporary(DType::F32, blocks * cols)).transpose();
        let mut partial: [Option<Temporary>; 3] = [partial(0)?, partial(1)?, partial(2)?];
        let mut arguments = Arguments::new();
        arguments.input(dy).input(gamma).optional_input(normalized).optional_input(rstd).dropout(dropout);
        arguments.optional_output(residual).optional_output(x);
        partial.iter_mut().for_each(|sum| _ = arguments.optional_output(sum.as_mut().map(Temporary::as_mut)));
        arguments.usize(rows).usize(block_rows).usize(cols);
        self.launch(&SOURCE, name, Shape::blocks(blocks, threads), &arguments)?;
        for (matrix, at) in partial.into_iter().zip(sums.at) {
            if let Some((matrix, at)) = matrix.zip(at) {
                let partial = Partial { matrix, rows: blocks, cols, runs: vec![(0..cols, at)] };
                self.add_partial_sums_to(partial, sums.buffer.reborrow())?;
            }
        }
        Ok(())
    }
}

/// The number of rows of a block in backward, a multiple of four. It depends only on the number of rows, because it
/// determines the order of the sums.
fn backward_block_rows(rows: usize) -> usize {
    ((rows / BACKWARD_BLOCKS + 2) / 4 * 4).clamp(4, MAX_BLOCK_ROWS)
}

/// The type of an optional matrix for the name of a kernel; arbitrary if there is none.
fn type_of(dtype: Option<DType>) -> DType {
    dtype.unwrap_or(DType::F32)
}

/// The number of threads of a block for rows of `cols` columns.
fn threads(cols: usize) -> Result<u32> {
    if cols > MAX_COLUMNS {
        let reason = format!("{cols} columns, expected at most {MAX_COLUMNS} on a GPU");
        return Err(Error::Invalid { op: "add_norm", reason });
    }
    Ok(cols.div_ceil(4).next_multiple_of(32).max(32) as u32)
}
