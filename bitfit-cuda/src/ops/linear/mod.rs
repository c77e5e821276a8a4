//! Linear layers on the GPU: products through cuBLASLt, then the bias, which is added in f32 so that small changes of
//! it are not lost in the rounding to bfloat16.

use std::ops::Range;

use bitfit_core::{
    DType, Mask, Result,
    backend::{Slice, SliceMut},
    ops::linear::{Linear, WeightGradient},
    tape::ColumnSums,
};

use crate::{
    Cuda, Matrix,
    launch::{Arguments, RUNS, Shape, Source, TILE_ROWS, kernel, source},
    memory::Temporary,
    products::{Factor, Product},
    sums::Partial,
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

    fn weight_gradient(&self, input: WeightGradient<'_, Self>, dw: SliceMut<'_, Self>) -> Result<()> {
        let WeightGradient { dy, dy_cols, first, x, shape: [out_features, in_features], mask, precision } = input;
        let rows = dy.len / dy_cols;
        let dtype = precision.product_dtype();
        // dw [m, n] += aᵀ · b; a [rows, m], b [rows, n].
        let add = |a: Slice<'_, Self>, m, b: Slice<'_, Self>, n, dw| {
            let (a_rounded, b_rounded) = (self.rounded(a, dtype)?, self.rounded(b, dtype)?);
            let a = Factor::transposed(a_rounded.as_ref().map_or(a, Temporary::as_ref));
            let b = Factor::plain(b_rounded.as_ref().map_or(b, Temporary::as_ref));
            self.multiply(Product { m, k: rows, n, a, b, accumulate: true }, dw)
        };
        match mask {
            Mask::None => Ok(()),
            // Select the columns first, so that the product has the size of the mask.
            Mask::Rows(chosen) => {
                let chosen: Vec<u32> = chosen.iter().map(|row| first as u32 + row).collect();
                let dy = self.selected(dy, dy_cols, &chosen)?;
                add(dy.as_ref(), chosen.len(), x, in_features, dw)
            }
            Mask::All | Mask::Columns(_) => {
                let n = if let Mask::Columns(chosen) = mask { chosen.len() } else { in_features };
                let window = self.window(dy, dy_cols, first, out_features)?;
                add(window.as_ref().map_or(dy, Temporary::as_ref), out_features, x, n, dw)
            }
            Mask::Elements(chosen) => {
                let list = self.lasting_indices(chosen)?;
                let mut arguments = Arguments::new();
                arguments.input(dy).usize(dy_cols).usize(first).input(x).indices(&list).output(dw);
                arguments.usize(rows).usize(in_features).usize(chosen.len());
                let name = kernel!("bitfit_linear_weight_elements", dy.dtype, x.dtype);
                self.launch(&SOURCE, name, Shape::warps(chosen.len()), &arguments)
            }
        }
    }

    fn select_columns(&self, x: Slice<'_, Self>, cols: usize, chosen: &[u32], to: SliceMut<'_, Self>) -> Result<()> {
        let rows = x.len / cols;
        let list = self.lasting_indices(chosen)?;
        let mut arguments = Arguments::new();
        arguments.input(x).indices(&list).output(to).usize(rows).usize(cols).usize(chosen.len());
        let name = kernel!("bitfit_linear_select_columns", x.dtype);
        self.launch(&SOURCE, name, Shape::elements(rows * chosen.len()), &arguments)
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
            let lengths = || from.iter().map(|(_, len)| *len);
            let width = lengths().sum();
            let mut partial = self.partial_sums(rows, width)?;
            let mut arguments = Arguments::new();
            arguments.runs(&from).usize(width).input(dy).usize(rows).usize(cols).output(partial.as_mut());
            self.launch(&SOURCE, name, Shape::tiles_of_runs(rows, lengths()), &arguments)?;
            let mut first = 0;
            let run = |(columns, at): &(&Range<usize>, usize)| {
                first += columns.len();
                (first - columns.len()..first, *at)
            };
            let runs = wanted.iter().map(run).collect();
            let partial = Partial { matrix: partial, rows: rows.div_ceil(TILE_ROWS), cols: width, runs };
            self.add_partial_sums_to(partial, sums.buffer.reborrow())?;
        }
        Ok(())
    }
}

impl Cuda {
    /// `y = x · Wᵀ` in the type of W.
    pub(crate) fn multiply_weight(&self, x: Slice<'_, Self>, weight: &Matrix, y: SliceMut<'_, Self>) -> Result<()> {
        let (k, n) = (weight.in_features(), weight.out_features());
        let m = x.len / k;
        let (rounded, b) = (self.rounded(x, weight.dtype())?, Factor::transposed(weight.slice()));
        let a = Factor::plain(rounded.as_ref().map_or(x, Temporary::as_ref));
        self.multiply(Product { m, k, n, a, b, accumulate: false }, y)
    }

    /// `dx = dy · W`, or `dx += dy · W`.
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

    /// The matrix of the chosen columns, in f32.
    fn selected(&self, from: Slice<'_, Self>, cols: usize, chosen: &[u32]) -> Result<Temporary> {
        let mut to = self.temporary(DType::F32, from.len / cols * chosen.len())?;
        self.select_columns(from, cols, chosen, to.as_mut())?;
        Ok(to)
    }

    /// The matrix of `len` columns from `first` on, in the same type; `None` if those are all.
    fn window(&self, from: Slice<'_, Self>, cols: usize, first: usize, len: usize) -> Result<Option<Temporary>> {
        if len == cols {
            return Ok(None);
        }
        let rows = from.len / cols;
        let mut to = self.temporary(from.dtype, rows * len)?;
        let mut arguments = Arguments::new();
        arguments.input(from).output(to.as_mut()).usize(rows).usize(cols).usize(first).usize(len);
        let name = kernel!("bitfit_linear_window", from.dtype);
        self.launch(&SOURCE, name, Shape::elements(rows * len), &arguments)?;
        Ok(Some(to))
    }
}
