//! [`Matrix`]: the weight of a linear layer, packed for products of one precision, and both of its products.

use half::bf16;

use super::{
    Cpu, Elements, Isa,
    gemm::{self, Epilogue, Int8Weight, MatRef, Output, PackedWeight},
};
use crate::{HostTensor, Precision};

/// A weight of the CPU, packed for products of one precision and one instruction set.
#[derive(Debug)]
pub struct Matrix(Packed);

/// A packed weight, by the type of its elements.
#[derive(Debug)]
enum Packed {
    /// For products of f32.
    F32(PackedWeight),
    /// For products of bfloat16 with f32 sums.
    Bf16(PackedWeight<bf16>),
    /// For products of int8 with sums of integers; frozen.
    Int8(Int8Weight),
}

impl Matrix {
    /// Packs the row-wise concatenation of `parts`.
    pub(super) fn new(cpu: &Cpu, parts: &[HostTensor], precision: Precision) -> Self {
        let cols = parts.first().map_or(0, |part| part.shape()[1]);
        let data: Vec<&[f32]> = parts.iter().map(HostTensor::data).collect();
        let rows = data.iter().map(|part| part.len()).sum::<usize>() / cols.max(1);
        Self(match precision {
            Precision::F32 => Packed::F32(PackedWeight::new(cpu.isa(), &data, rows, cols)),
            Precision::Bf16 => Packed::Bf16(PackedWeight::new(cpu.isa(), &data, rows, cols)),
            Precision::Int8 => Packed::Int8(Int8Weight::new(cpu.isa(), &data, rows, cols)),
        })
    }

    /// Overwrites whole rows from `first_row` on, row-major, of a weight of which something trains.
    pub(super) fn write_rows(&mut self, from: &[f32], first_row: usize) {
        match &mut self.0 {
            Packed::F32(weight) => weight.write_rows(from, first_row),
            Packed::Bf16(weight) => weight.write_rows(from, first_row),
            Packed::Int8(weight) => unreachable!("{weight:?} is frozen"),
        }
    }

    /// Overwrites the elements with these row-major indices, counted from `first_row` on, of a weight of which
    /// something trains.
    pub(super) fn write_elements(&mut self, from: &[f32], at: &[u32], first_row: usize) {
        match &mut self.0 {
            Packed::F32(weight) => weight.write_elements(from, at, first_row),
            Packed::Bf16(weight) => weight.write_elements(from, at, first_row),
            Packed::Int8(weight) => unreachable!("{weight:?} is frozen"),
        }
    }

    /// The instruction set whose kernels read the weight.
    pub(super) fn isa(&self) -> Isa {
        match &self.0 {
            Packed::F32(weight) => weight.isa(),
            Packed::Bf16(weight) => weight.isa(),
            Packed::Int8(weight) => weight.isa(),
        }
    }

    /// Whether products, and what they are stored as, are f32.
    pub(crate) fn is_f32(&self) -> bool {
        matches!(self.0, Packed::F32(_))
    }

    /// The number of rows.
    pub(crate) fn out_features(&self) -> usize {
        match &self.0 {
            Packed::F32(weight) => weight.out_features(),
            Packed::Bf16(weight) => weight.out_features(),
            Packed::Int8(weight) => weight.out_features(),
        }
    }

    /// The number of columns.
    pub(crate) fn in_features(&self) -> usize {
        match &self.0 {
            Packed::F32(weight) => weight.in_features(),
            Packed::Bf16(weight) => weight.in_features(),
            Packed::Int8(weight) => weight.in_features(),
        }
    }

    /// `x · Wᵀ`; x `[T, in]` is rounded to the type of the factors.
    pub(crate) fn forward(&self, cpu: &Cpu, x: Elements<'_>, y: Output<'_>, epilogue: &impl Epilogue) {
        match &self.0 {
            Packed::F32(w) => gemm::forward(cpu.isa(), MatRef::new(x.f32(), w.in_features()), w, y, epilogue),
            Packed::Bf16(w) => cpu.with_bf16(x, |x| {
                gemm::forward(cpu.isa(), MatRef::new(x, w.in_features()), w, y, epilogue);
            }),
            Packed::Int8(w) => match x {
                Elements::F32(x) => w.forward(x, y, epilogue),
                Elements::Bf16(x) => w.forward(x, y, epilogue),
            },
        }
    }

    /// `dy · W`; dy `[T, out]` is rounded to the type of the factors.
    pub(crate) fn input_gradient(&self, cpu: &Cpu, dy: Elements<'_>, dx: Output<'_>, epilogue: &impl Epilogue) {
        match &self.0 {
            Packed::F32(w) => {
                gemm::input_gradient(cpu.isa(), MatRef::new(dy.f32(), w.out_features()), w, dx, epilogue);
            }
            Packed::Bf16(w) => cpu.with_bf16(dy, |dy| {
                gemm::input_gradient(cpu.isa(), MatRef::new(dy, w.out_features()), w, dx, epilogue);
            }),
            Packed::Int8(w) => match dy {
                Elements::F32(dy) => w.input_gradient(dy, dx, epilogue),
                Elements::Bf16(dy) => w.input_gradient(dy, dx, epilogue),
            },
        }
    }
}
