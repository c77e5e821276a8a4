//! The element types in which weights are stored, and their exact conversion to f32.

use half::{bf16, f16};
use safetensors::Dtype;

/// Whether a type is supported: whether f32 represents all of its values exactly.
pub(crate) fn is_supported(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// The size in bytes of an element of a supported type.
pub(super) fn element_size(dtype: Dtype) -> usize {
    dtype.bitsize() / 8
}

/// The little-endian elements of a supported type, as f32.
pub(crate) fn to_f32(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.as_chunks::<2>().0.iter().copied();
    match dtype {
        Dtype::F16 => halves().map(|half| f16::from_le_bytes(half).to_f32()).collect(),
        Dtype::BF16 => halves().map(|half| bf16::from_le_bytes(half).to_f32()).collect(),
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().copied().map(f32::from_le_bytes).collect(),
        other => unreachable!("{other} was refused when the checkpoint was opened"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_half_is_converted_exactly() {
        for bits in 0..=u16::MAX {
            let [wide] = to_f32(Dtype::F16, &bits.to_le_bytes())[..] else { panic!() };
            assert!(f16::from_bits(bits).is_nan() || f16::from_f32(wide).to_bits() == bits);
            let [wide] = to_f32(Dtype::BF16, &bits.to_le_bytes())[..] else { panic!() };
            assert!(bf16::from_bits(bits).is_nan() || bf16::from_f32(wide).to_bits() == bits);
        }
        assert_eq!(to_f32(Dtype::F16, &[0x00, 0x3c, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(to_f32(Dtype::BF16, &[0x80, 0x3f, 0x00, 0xc0]), [1.0, -2.0]);
        assert_eq!(to_f32(Dtype::F32, &1.5f32.to_le_bytes()), [1.5]);
    }
}
