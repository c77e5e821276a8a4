//! [`DType`]: the types of elements.

/// The type of the elements of a matrix. Sums, statistics, parameters and the residual stream are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// 32-bit IEEE floats.
    F32,
    /// bfloat16, the upper half of an f32.
    Bf16,
}

impl DType {
    /// The number of f32 words that `len` elements occupy.
    pub fn words(self, len: usize) -> usize {
        match self {
            Self::F32 => len,
            Self::Bf16 => len.div_ceil(2),
        }
    }
}
