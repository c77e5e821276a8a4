//! Linear layers on the GPU: products through cuBLASLt, then the bias, which is added in f32 so that small changes of
//! it are not lost in the rounding to bfloat16.

use std::ops::Range;

use bitfit_core::{
    DType, Mask, Result,
    backend::{Slice, SliceMut},
    ops::linear::{Dense, Linear},
    tape::ColumnSums,
};

use crate::{
    Cuda, Matrix,
    launch::{Arguments, RUNS, Shape, Source, kernel, source},
    memory::Temporary,
    products::{Factor, Product},
};

pub(crate) static SOURCE: Source = source!("linear");

impl Linear for Cuda {
    fn linear(
        &self,
        x: Slice<'_, Self>,
        weight: &Matrix,
        bias: &[Slice<'_, Self>],
        mut y: SliceMut<'_, Self>,
    ) -> Result<()> {
        self.multiply_weight(x, weight, y.reborrow())?;
        self.add_bias(bias, weight.out_features(), y)
    }

    fn linear_input(
        &self,
        dy: Slice<'_, Self>,
        weight: &Matrix,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        self.multiply_weight_back(dy, weight, dx, accumulate)
    }

    fn linear_trainable(
        &self,
        x: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        bias: &[Slice<'_, Self>],
        mut y: SliceMut<'_, Self>,
    ) -> Result<()> {
        let Dense { data, out_features, in_features } = weight;
        let m = x.len / in_features;
        let (a, b) = (Factor::plain(x), Factor::transposed(data));
        self.multiply(Product { m, k: in_features, n: out_features, a, b, accumulate: false }, y.reborrow())?;
        self.add_bias(bias, out_features, y)
    }

    fn linear_trainable_input(
        &self,
        dy: Slice<'_, Self>,
        weight: Dense<'_, Self>,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let Dense { data, out_features, in_features } = weight;
        let m = dy.len / out_features;
        let (a, b) = (Factor::plain(dy), Factor::plain(data));
        self.multiply(Product { m, k: out_features, n: in_features, a, b, accumulate }, dx)
    }

    fn linear_weight(
        &self,
        dy: Slice<'_, Self>,
        x: Slice<'_, Self>,
        [out_features, in_features]: [usize; 2],
        mask: &Mask,
        dw: SliceMut<'_, Self>,
    ) -> Result<()> {
        let rows = dy.len / out_features;
        // dw [m, n] += aᵀ · b; a [rows, m], b [rows, n].
        let add = |a, m, b, n, dw| {
            let (a, b) = (Factor::transposed(a), Factor::plain(b));
            self.multiply(Product { m, k: rows, n, a, b, accumulate: true }, dw)
        };
        match mask {
            Mask::None => Ok(()),
            Mask::All => add(dy, out_features, x, in_features, dw),
            // Select the columns first, so that the product has the size of the mask.
            Mask::Rows(chosen) => {
                let dy = self.select_columns(dy, out_features, chosen)?;
                add(dy.as_ref(), chosen.len(), x, in_features, dw)
            }
            Mask::Columns(chosen) => {
                let x = self.select_columns(x, in_features, chosen)?;
                add(dy, out_features, x.as_ref(), chosen.len(), dw)
            }
            Mask::Elements(chosen) => {
                let list = self.lasting_indices(chosen)?;
                let mut arguments = Arguments::new();
                arguments.input(dy).input(x).indices(&list).output(dw);
                arguments.usize(rows).usize(out_features).usize(in_features).usize(chosen.len());
                self.launch(&SOURCE, "bitfit_linear_weight_elements", Shape::warps(chosen.len()), &arguments)
            }
        }
    }

    fn column_sum(&self, dy: Slice<'_, Self>, cols: usize, first: usize, sum: SliceMut<'_, Self>) -> Result<()> {
        let columns = first..first + sum.len;
        self.column_sums(dy, cols, [columns], ColumnSums { buffer: sum, at: [Some(0)] })
    }

    fn column_sums<const N: usize>(
        &self,
        dy: Slice<'_, Self>,
        cols: usize,
        columns: [Range<usize>; N],
        mut sums: ColumnSums<'_, Self, N>,
    ) -> Result<()> {
        let rows = dy.len / cols;
        let name = kernel!("bitfit_linear_column_sum", dy.dtype);
        let wanted: Vec<_> = columns.iter().zip(sums.at).filter_map(|(columns, at)| Some((columns, at?))).collect();
        for wanted in wanted.chunks(RUNS) {
            let from: Vec<_> = wanted.iter().map(|(columns, _)| (columns.start, columns.len())).collect();
            let to: Vec<_> = wanted.iter().map(|(columns, at)| (*at, columns.len())).collect();
            let lengths = || from.iter().map(|(_, len)| *len);
            let width = lengths().sum();
            let mut partial = self.partial_sums(rows, width)?;
            let mut arguments = Arguments::new();
            arguments.runs(&from).usize(width).input(dy).usize(rows).usize(cols).output(partial.as_mut());
            self.launch(&SOURCE, name, Shape::tiles_of_runs(rows, lengths()), &arguments)?;
            self.add_partial_sums_to(partial.as_ref(), sums.buffer.reborrow(), &to)?;
        }
        Ok(())
    }
}

impl Cuda {
    /// `y = x · Wᵀ` with a frozen W, in the type of W.
    pub(crate) fn multiply_weight(&self, x: Slice<'_, Self>, weight: &Matrix, y: SliceMut<'_, Self>) -> Result<()> {
        let (k, n) = (weight.in_features(), weight.out_features());
        let m = x.len / k;
        let (rounded, b) = (self.rounded(x, weight.dtype())?, Factor::transposed(weight.slice()));
        let a = Factor::plain(rounded.as_ref().map_or(x, Temporary::as_ref));
        self.multiply(Product { m, k, n, a, b, accumulate: false }, y)
    }

    /// `dx = dy · W`, or `dx += dy · W`, with a frozen W.
    pub(crate) fn multiply_weight_back(
        &self,
        dy: Slice<'_, Self>,
        weight: &Matrix,
        dx: SliceMut<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let (k, n) = (weight.out_features(), weight.in_features());
        let m = dy.len / k;
        let (rounded, b) = (self.rounded(dy, weight.dtype())?, Factor::plain(weight.slice()));
        let a = Factor::plain(rounded.as_ref().map_or(dy, Temporary::as_ref));
        self.multiply(Product { m, k, n, a, b, accumulate }, dx)
    }

    /// A copy of a matrix in another type; `None` if it already has that type.
    fn rounded(&self, x: Slice<'_, Self>, dtype: DType) -> Result<Option<Temporary>> {
        if x.dtype == dtype {
            return Ok(None);
        }
        let mut to = self.temporary(dtype, x.len)?;
        bitfit_core::Device::copy(self, x, to.as_mut())?;
        Ok(Some(to))
    }

    /// Adds the concatenated parts of a bias to the rows of y.
    fn add_bias(&self, bias: &[Slice<'_, Self>], cols: usize, mut y: SliceMut<'_, Self>) -> Result<()> {
        let rows = y.len / cols;
        let name = kernel!("bitfit_linear_add_bias", y.dtype);
        let mut first = 0;
        for parts in bias.chunks(RUNS) {
            let width = parts.iter().map(|part| part.len).sum();
            let mut arguments = Arguments::new();
            for i in 0..RUNS {
                let part = parts.get(i);
                arguments.optional_input(part.copied()).usize(part.map_or(0, |part| part.len));
            }
            arguments.usize(first).usize(width).output(y.reborrow()).usize(rows).usize(cols);
            self.launch(&SOURCE, name, Shape::tiles(rows, width), &arguments)?;
            first += width;
        }
        Ok(())
    }

    /// The matrix of the chosen columns.
    fn select_columns(&self, from: Slice<'_, Self>, cols: usize, chosen: &[u32]) -> Result<Temporary> {
        let rows = from.len / cols;
        let list = self.lasting_indices(chosen)?;
        let mut to = self.temporary(DType::F32, rows * chosen.len())?;
        let mut arguments = Arguments::new();
        arguments.input(from).indices(&list).output(to.as_mut()).usize(rows).usize(cols).usize(chosen.len());
        self.launch(&SOURCE, "bitfit_linear_select_columns", Shape::elements(rows * chosen.len()), &arguments)?;
        Ok(to)
    }
}
