//! Sum, difference, product and scaling on the GPU.

use bitfit_core::{
    Result,
    backend::{Slice, SliceMut},
    ops::arithmetic::Arithmetic,
};

use crate::{
    Cuda,
    launch::{Arguments, Shape, Source, source},
};

pub(crate) static SOURCE: Source = source!("arithmetic");

impl Arithmetic for Cuda {
    fn add(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(a).input(b).output(y).usize(b.len).usize(len);
        self.launch(&SOURCE, "bitfit_add", Shape::elements(len), &arguments)
    }

    fn sub(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(a).input(b).output(y).usize(b.len).usize(len);
        self.launch(&SOURCE, "bitfit_sub", Shape::elements(len), &arguments)
    }

    fn scale(&self, x: Slice<'_, Self>, factor: f32, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(x).f32(factor).output(y).flag(accumulate).usize(len);
        self.launch(&SOURCE, "bitfit_scale", Shape::elements(len), &arguments)
    }

    fn scale_in_place(&self, factor: f32, x: SliceMut<'_, Self>) -> Result<()> {
        let len = x.len;
        let mut arguments = Arguments::new();
        arguments.f32(factor).output(x).usize(len);
        self.launch(&SOURCE, "bitfit_scale_in_place", Shape::elements(len), &arguments)
    }

    fn mul(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let len = y.len;
        let mut arguments = Arguments::new();
        arguments.input(a).input(b).output(y).flag(accumulate).usize(b.len).usize(len);
        self.launch(&SOURCE, "bitfit_mul", Shape::elements(len), &arguments)
    }

    fn column_dot(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, sum: SliceMut<'_, Self>) -> Result<()> {
        let cols = sum.len;
        let rows = a.len / cols.max(1);
        let mut partial = self.partial_sums(rows, cols)?;
        let mut arguments = Arguments::new();
        arguments.input(a).input(b).usize(rows).usize(cols).output(partial.as_mut());
        self.launch(&SOURCE, "bitfit_column_dot", Shape::tiles(rows, cols), &arguments)?;
        self.add_partial_sums(partial, sum)
    }
}
