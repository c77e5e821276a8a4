//! The types of elements.

/// The type of a matrix's elements. Sums, statistics, parameters and the residual stream are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE floats.
    F32,
    /// bfloat16: the upper half of an f32.
    Bf16,
}

impl DType {
    /// How many f32 take the place of `len` elements.
    pub fn words(self, len: usize) -> usize {
        match self {
            Self::F32 => len,
            Self::Bf16 => len.div_ceil(2),
        }
    }
}
