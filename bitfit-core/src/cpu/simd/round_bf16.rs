//! Rounding to bfloat16, to nearest even and NaN to a quiet NaN, on x86-64 without the instruction for it.

use std::arch::x86_64::*;

use super::{Avx2, Avx512};

/// The bits of the nearest bfloat16 in each of eight lanes.
#[inline(always)]
pub(super) fn eight(_proof: Avx2, v: __m256) -> __m256i {
    // SAFETY: the CPU has AVX2; no memory is accessed.
    unsafe {
        let wide = _mm256_castps_si256(v);
        let high = _mm256_srli_epi32::<16>(wide);
        let odd = _mm256_and_si256(high, _mm256_set1_epi32(1));
        let rounded = _mm256_add_epi32(wide, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
        let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
        let quiet = _mm256_or_si256(high, _mm256_set1_epi32(0x40));
        _mm256_blendv_epi8(_mm256_srli_epi32::<16>(rounded), quiet, nan)
    }
}

/// The bits of the nearest bfloat16 in each of sixteen lanes.
#[inline(always)]
pub(super) fn sixteen<const BF16: bool>(_proof: Avx512<BF16>, v: __m512) -> __m512i {
    // SAFETY: the CPU has AVX-512; no memory is accessed.
    unsafe {
        let wide = _mm512_castps_si512(v);
        let high = _mm512_srli_epi32::<16>(wide);
        let odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
        let rounded = _mm512_add_epi32(wide, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
        let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
        let quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
        _mm512_mask_mov_epi32(_mm512_srli_epi32::<16>(rounded), nan, quiet)
    }
}
