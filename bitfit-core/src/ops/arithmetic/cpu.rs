//! Sum, difference, product and scaling on the CPU: bound by memory bandwidth, so plain loops that the compiler
//! vectorises suffice.

use rayon::prelude::*;

use super::Arithmetic;
use crate::{
    Cpu, Result,
    backend::{Slice, SliceMut},
    cpu::{ELEMENT_BLOCK, ROW_BLOCK, blocks, blocks_of, sum_columns},
    memory::ThreadScratch,
};

impl Arithmetic for Cpu {
    fn add(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()> {
        elementwise(a.f32(), b.f32(), y.f32(), |a, b, y| *y = a + b);
        Ok(())
    }

    fn sub(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>) -> Result<()> {
        elementwise(a.f32(), b.f32(), y.f32(), |a, b, y| *y = a - b);
        Ok(())
    }

    fn scale(&self, x: Slice<'_, Self>, factor: f32, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        let tasks = y.f32().par_chunks_mut(ELEMENT_BLOCK).zip(x.f32().par_chunks(ELEMENT_BLOCK));
        tasks.for_each(|(y, x)| match accumulate {
            true => y.iter_mut().zip(x).for_each(|(y, x)| *y += factor * x),
            false => y.iter_mut().zip(x).for_each(|(y, x)| *y = factor * x),
        });
        Ok(())
    }

    fn scale_in_place(&self, factor: f32, x: SliceMut<'_, Self>) -> Result<()> {
        x.f32().par_chunks_mut(ELEMENT_BLOCK).for_each(|x| x.iter_mut().for_each(|x| *x *= factor));
        Ok(())
    }

    fn mul(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, y: SliceMut<'_, Self>, accumulate: bool) -> Result<()> {
        match accumulate {
            true => elementwise(a.f32(), b.f32(), y.f32(), |a, b, y| *y += a * b),
            false => elementwise(a.f32(), b.f32(), y.f32(), |a, b, y| *y = a * b),
        }
        Ok(())
    }

    fn column_dot(&self, a: Slice<'_, Self>, b: Slice<'_, Self>, sum: SliceMut<'_, Self>) -> Result<()> {
        let (a, b, sum) = (a.f32(), b.f32(), sum.f32());
        let cols = sum.len();
        let mut partial = ThreadScratch::filled(a.len().div_ceil(ROW_BLOCK * cols) * cols, 0.0);
        let tasks = partial.par_chunks_exact_mut(cols).zip(blocks_of(a, cols)).zip(blocks_of(b, cols));
        tasks.for_each(|((partial, a), b)| {
            for (a, b) in a.chunks_exact(cols).zip(b.chunks_exact(cols)) {
                for ((sum, a), b) in partial.iter_mut().zip(a).zip(b) {
                    *sum += a * b;
                }
            }
        });
        sum_columns(&partial, sum);
        Ok(())
    }
}

/// Calls `f` with every element of a, the matching element of b (one broadcast row if b is shorter) and that of y.
fn elementwise(a: &[f32], b: &[f32], y: &mut [f32], f: impl Fn(f32, f32, &mut f32) + Sync) {
    let run = |y: &mut [f32], a: &[f32], b: &[f32]| y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| f(a, b, y));
    if b.len() == a.len() {
        let tasks = y.par_chunks_mut(ELEMENT_BLOCK).zip(a.par_chunks(ELEMENT_BLOCK)).zip(b.par_chunks(ELEMENT_BLOCK));
        tasks.for_each(|((y, a), b)| run(y, a, b));
    } else {
        let cols = b.len();
        blocks(y, cols).zip(blocks_of(a, cols)).for_each(|(y, a)| {
            y.chunks_exact_mut(cols).zip(a.chunks_exact(cols)).for_each(|(y, a)| run(y, a, b));
        });
    }
}
