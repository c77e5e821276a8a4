//! [`Matrix`]: the weight of a linear layer, packed for products of one precision, and both of its products.

use half::bf16;

use super::{
    Cpu, Elements,
    gemm::{self, Epilogue, Int8Weight, MatRef, Output, PackedWeight, QuantizedRows},
};
use crate::{HostTensor, Precision};

/// A weight, packed for products of one precision.
#[derive(Debug)]
pub enum Matrix {
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
        match precision {
            Precision::F32 => Self::F32(PackedWeight::new(cpu.isa(), &data, rows, cols)),
            Precision::Bf16 => Self::Bf16(PackedWeight::new(cpu.isa(), &data, rows, cols)),
            Precision::Int8 => Self::Int8(Int8Weight::new(cpu.isa(), &data, rows, cols)),
        }
    }

    /// The number of rows.
    pub(crate) fn out_features(&self) -> usize {
        match self {
            Self::F32(weight) => weight.out_features(),
            Self::Bf16(weight) => weight.out_features(),
            Self::Int8(weight) => weight.out_features(),
        }
    }

    /// The number of columns.
    pub(crate) fn in_features(&self) -> usize {
        match self {
            Self::F32(weight) => weight.in_features(),
            Self::Bf16(weight) => weight.in_features(),
            Self::Int8(weight) => weight.in_features(),
        }
    }

    /// `x · Wᵀ`; x `[T, in]` is rounded to the type of the factors.
    pub(crate) fn forward(&self, cpu: &Cpu, x: Elements<'_>, y: Output<'_>, epilogue: &impl Epilogue) {
        match self {
            Self::F32(w) => gemm::forward_view(cpu.isa(), MatRef::new(x.f32(), w.in_features()), w, y, epilogue),
            Self::Bf16(w) => cpu.with_bf16(x, |x| {
                gemm::forward_view(cpu.isa(), MatRef::new(x, w.in_features()), w, y, epilogue);
            }),
            Self::Int8(w) => {
                let x = match x {
                    Elements::F32(x) => QuantizedRows::new(cpu.isa(), x, w.in_features()),
                    Elements::Bf16(x) => QuantizedRows::new(cpu.isa(), x, w.in_features()),
                };
                w.forward(&x, y, epilogue);
            }
        }
    }

    /// `dy · W`; dy `[T, out]` is rounded to the type of the factors.
    pub(crate) fn input_gradient(&self, cpu: &Cpu, dy: Elements<'_>, dx: Output<'_>, epilogue: &impl Epilogue) {
        match self {
            Self::F32(w) => {
                gemm::input_gradient_view(cpu.isa(), MatRef::new(dy.f32(), w.out_features()), w, dx, epilogue);
            }
            Self::Bf16(w) => cpu.with_bf16(dy, |dy| {
                gemm::input_gradient_view(cpu.isa(), MatRef::new(dy, w.out_features()), w, dx, epilogue);
            }),
            Self::Int8(w) => {
                let dy = match dy {
                    Elements::F32(dy) => QuantizedRows::scaled(cpu.isa(), dy, w.scales()),
                    Elements::Bf16(dy) => QuantizedRows::scaled(cpu.isa(), dy, w.scales()),
                };
                w.input_gradient(&dy, dx, epilogue);
            }
        }
    }
}
