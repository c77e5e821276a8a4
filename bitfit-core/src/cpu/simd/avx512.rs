//! AVX-512 (F, BW, DQ, VL): sixteen lanes, with or without the bfloat16 instructions.

use std::arch::x86_64::*;

use half::bf16;

use super::{Kernel, Simd, round_bf16};

/// Proof that the CPU has AVX-512 F, BW, DQ and VL, and AVX512_BF16 if `BF16`; only
/// [`dispatch`](super::dispatch) makes one.
#[derive(Clone, Copy, Debug)]
pub struct Avx512<const BF16: bool>(());

/// Runs `kernel` compiled for AVX-512.
///
/// # Safety
/// The CPU must have AVX-512 F, BW, DQ and VL, AVX2 and FMA.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<false>(()))
}

/// Runs `kernel` compiled for AVX-512 with AVX512_BF16.
///
/// # Safety
/// As for [`run`], and the CPU must have AVX512_BF16.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
pub(super) unsafe fn run_bf16<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<true>(()))
}

/// A mask of the first `n.min(16)` lanes.
#[inline(always)]
fn first(n: usize) -> u16 {
    if n >= 16 { u16::MAX } else { (1u16 << n) - 1 }
}

/// A safe method for an intrinsic that only computes: sound because `self` proves that the CPU has it.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $body:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: __m512),+) -> __m512 {
            // SAFETY: `self` is only made where the CPU has AVX-512; the intrinsic accesses no memory.
            unsafe { $body }
        }
    )+};
}

impl<const BF16: bool> Avx512<BF16> {
    /// Makes the proof, in code that is itself compiled for these instructions.
    ///
    /// # Safety
    /// The CPU must have the instruction sets that [`run`] requires, and those of [`run_bf16`] if `BF16`.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx512(())
    }
}

impl<const BF16: bool> Simd for Avx512<BF16> {
    type F32 = __m512;
    type Mask = __mmask16;
    type U32 = __m512i;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, v: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        assert!(from.len() >= 16);
        // SAFETY: sixteen values are in bounds; the load is unaligned.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m512) {
        assert!(to.len() >= 16);
        // SAFETY: sixteen elements are in bounds; the store is unaligned.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> __m512 {
        if from.len() >= 16 {
            return self.load(from);
        }
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not read.
        unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: __m512) {
        if to.len() >= 16 {
            return self.store(to, v);
        }
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m512 {
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not read; without a mask sixteen
        // elements are in bounds.
        unsafe {
            let narrow = match from.len() >= 16 {
                true => _mm256_loadu_si256(from.as_ptr().cast()),
                false => _mm256_maskz_loadu_epi16(first(from.len()), from.as_ptr().cast()),
            };
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(narrow)))
        }
    }
    #[inline(always)]
    fn store_bf16(self, to: &mut [bf16], v: __m512) {
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not written; the store without a mask is
        // used where sixteen elements are in bounds. The bfloat16 instruction is used only where `BF16` proves it; its
        // result has the size of the integers it is cast to.
        unsafe {
            let narrow = if BF16 {
                std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v))
            } else {
                _mm512_cvtepi32_epi16(round_bf16::sixteen(self, v))
            };
            match to.len() >= 16 {
                true => _mm256_storeu_si256(to.as_mut_ptr().cast(), narrow),
                false => _mm256_mask_storeu_epi16(to.as_mut_ptr().cast(), first(to.len()), narrow),
            }
        }
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8]) -> __m512 {
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not read; without a mask sixteen
        // elements are in bounds.
        unsafe {
            let narrow = match from.len() >= 16 {
                true => _mm_loadu_si128(from.as_ptr().cast()),
                false => _mm_maskz_loadu_epi8(first(from.len()), from.as_ptr().cast()),
            };
            _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(narrow))
        }
    }
    #[inline(always)]
    fn store_i8(self, to: &mut [i8], v: __m512) {
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not written. A store without a mask,
        // which is several times as fast on AMD's CPUs, is used where sixteen elements are in bounds.
        unsafe {
            let narrow = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
            match to.len() >= 16 {
                true => _mm_storeu_si128(to.as_mut_ptr().cast(), narrow),
                false => _mm_mask_storeu_epi8(to.as_mut_ptr(), first(to.len()), narrow),
            }
        }
    }

    #[inline(always)]
    fn store_i8x4(self, to: &mut [i8], [a, b, c, d]: [__m512; 4]) {
        let to = &mut to[..64];
        // SAFETY: `self` proves AVX-512, and 64 elements are in bounds.
        unsafe {
            let ab = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
            let cd = _mm512_packs_epi32(_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d));
            let bytes = _mm512_packs_epi16(ab, cd);
            // In each 128 bits four elements of every vector follow each other; now those of a vector do.
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_storeu_si512(to.as_mut_ptr().cast(), _mm512_permutexvar_epi32(order, bytes));
        }
    }
    #[inline(always)]
    fn sum_i8(self, from: &[i8]) -> i32 {
        let (vectors, rest) = from.as_chunks::<64>();
        assert!(rest.is_empty(), "whole vectors");
        // SAFETY: `self` proves AVX-512, and the loads are those of whole vectors, unaligned.
        unsafe {
            // The instruction adds up bytes without a sign, so that 128 is added to each.
            let (mut sums, zero, sign) = (_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_set1_epi8(-128));
            for vector in vectors {
                let bytes = _mm512_xor_si512(_mm512_loadu_si512(vector.as_ptr().cast()), sign);
                sums = _mm512_add_epi64(sums, _mm512_sad_epu8(bytes, zero));
            }
            _mm512_reduce_add_epi64(sums) as i32 - 128 * from.len() as i32
        }
    }
    #[inline(always)]
    fn max_magnitude_bf16(self, most: __m512, from: &[bf16]) -> __m512 {
        let (pairs, rest) = from.as_chunks::<32>();
        // SAFETY: `self` proves AVX-512, and the loads are those of whole vectors, unaligned.
        let mut most = unsafe {
            let (mut first, mut second) = (_mm512_setzero_si512(), _mm512_setzero_si512());
            let (magnitude, (both, last)) = (_mm512_set1_epi16(0x7fff), pairs.as_chunks::<2>());
            // Two at a time, so that not each waits for the one before it.
            for [a, b] in both {
                first = _mm512_max_epu16(first, _mm512_and_si512(magnitude, _mm512_loadu_si512(a.as_ptr().cast())));
                second = _mm512_max_epu16(second, _mm512_and_si512(magnitude, _mm512_loadu_si512(b.as_ptr().cast())));
            }
            for a in last {
                first = _mm512_max_epu16(first, _mm512_and_si512(magnitude, _mm512_loadu_si512(a.as_ptr().cast())));
            }
            // The upper halves of lanes are bfloat16 as f32, but for their lowest bits.
            let pairs = _mm512_max_epu16(first, second);
            let (low, high) = (_mm512_slli_epi32::<16>(pairs), _mm512_and_si512(pairs, _mm512_set1_epi32(-65536)));
            let most = self.max_magnitude(most, _mm512_castsi512_ps(low));
            self.max_magnitude(most, _mm512_castsi512_ps(high))
        };
        for from in rest.chunks(16) {
            most = self.max_magnitude(most, self.abs(self.load_bf16(from)));
        }
        most
    }
    #[inline(always)]
    fn max_magnitude(self, a: __m512, b: __m512) -> __m512 {
        // Of values without a sign, the order of the bits is that of the values, NaN last.
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a), _mm512_castps_si512(b))) }
    }

    lanewise! {
        add(a, b) = _mm512_add_ps(a, b);
        sub(a, b) = _mm512_sub_ps(a, b);
        mul(a, b) = _mm512_mul_ps(a, b);
        div(a, b) = _mm512_div_ps(a, b);
        fma(a, b, c) = _mm512_fmadd_ps(a, b, c);
        fnma(a, b, c) = _mm512_fnmadd_ps(a, b, c);
        neg(a) = _mm512_xor_ps(a, _mm512_set1_ps(-0.0));
        abs(a) = _mm512_abs_ps(a);
        sqrt(a) = _mm512_sqrt_ps(a);
        max(a, b) = _mm512_max_ps(a, b);
        min(a, b) = _mm512_min_ps(a, b);
        copysign(a, sign) = _mm512_or_ps(
            _mm512_andnot_ps(_mm512_set1_ps(-0.0), a),
            _mm512_and_ps(_mm512_set1_ps(-0.0), sign)
        );
        round(a) = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        scale(a, n) = _mm512_scalef_ps(a, n);
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512, and the bfloat16 instruction is used only where `BF16` proves it; its operands
        // are as wide as the floats whose bits hold them. No memory is accessed.
        unsafe {
            if BF16 {
                let pairs = |v| std::mem::transmute::<__m512, __m512bh>(v);
                _mm512_dpbf16_ps(c, pairs(a), pairs(b))
            } else {
                let low = |v| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_castps_si512(v)));
                let high = |v| _mm512_and_ps(v, _mm512_castsi512_ps(_mm512_set1_epi32(0xffff_0000_u32 as i32)));
                _mm512_fmadd_ps(low(a), low(b), _mm512_fmadd_ps(high(a), high(b), c))
            }
        }
    }
    #[inline(always)]
    fn pair_bf16(self, low: __m512, high: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512, and the bfloat16 instruction is used only where `BF16` proves it; its result
        // has the size of the floats it is cast to. No memory is accessed.
        unsafe {
            let (low, high) = if BF16 {
                let wide = |v| _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)));
                (wide(low), wide(high))
            } else {
                (round_bf16::sixteen(self, low), round_bf16::sixteen(self, high))
            };
            _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32::<16>(high)))
        }
    }
    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        let extent = |stride: usize| stride.saturating_mul(15).saturating_add(16);
        assert!(from.len() >= extent(from_stride) && to.len() >= extent(to_stride));
        // Not `array::from_fn`, which would not be compiled for the instruction set where it is not inlined.
        let mut rows = [self.zero(); 16];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the length of `from` was checked.
            *row = unsafe { self.load_ptr(from.as_ptr().add(i * from_stride)) };
        }
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            // Four by four within each 128-bit lane: pairs of rows, then pairs of pairs.
            for quad in rows.chunks_exact_mut(4) {
                let [a, b, c, d] = [quad[0], quad[1], quad[2], quad[3]].map(|v| _mm512_castps_pd(v));
                let pairs = |a, b| {
                    let (a, b) = (_mm512_castpd_ps(a), _mm512_castpd_ps(b));
                    [_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)].map(|v| _mm512_castps_pd(v))
                };
                let ([ab_low, ab_high], [cd_low, cd_high]) = (pairs(a, b), pairs(c, d));
                quad[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
                quad[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
                quad[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
                quad[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
            }
            // Then the 128-bit lanes themselves: lane q of quad p goes to lane p of quad q.
            for i in 0..4 {
                let [a, b, c, d] = [rows[i], rows[i + 4], rows[i + 8], rows[i + 12]];
                let (ab_even, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
                let (cd_even, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
                rows[i] = _mm512_shuffle_f32x4::<0x88>(ab_even, cd_even);
                rows[i + 4] = _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd);
                rows[i + 8] = _mm512_shuffle_f32x4::<0xdd>(ab_even, cd_even);
                rows[i + 12] = _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd);
            }
        }
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: the length of `to` was checked.
            unsafe { self.store_ptr(to.as_mut_ptr().add(i * to_stride), row) };
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m512 {
        // SAFETY: guaranteed by the caller; the load is unaligned.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: __m512) {
        // SAFETY: guaranteed by the caller; the store is unaligned.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    fn prefetch(self, at: *const f32) {
        // SAFETY: prefetching is allowed for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
    #[inline(always)]
    fn prefetch_to_l2(self, at: *const f32) {
        // SAFETY: prefetching is allowed for any address.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, mask: __mmask16, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_mask_blend_ps(mask, no, yes) }
    }

    #[inline(always)]
    fn splat_u32(self, v: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_set1_epi32(v.cast_signed()) }
    }
    #[inline(always)]
    fn count_u32(self, first: u32) -> __m512i {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_add_epi32(self.splat_u32(first), lanes)
        }
    }
    #[inline(always)]
    fn xor_u32(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn multiply_u32(self, a: __m512i, b: __m512i) -> (__m512i, __m512i) {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            // The instruction takes the even lanes; their products of 64 bits occupy a pair of lanes.
            let even = _mm512_mul_epu32(a, b);
            let odd = _mm512_mul_epu32(_mm512_srli_epi64::<32>(a), _mm512_srli_epi64::<32>(b));
            let high = _mm512_mask_shuffle_epi32::<_MM_PERM_DDBB>(odd, 0x5555, even);
            let low = _mm512_mask_shuffle_epi32::<_MM_PERM_CCAA>(even, 0xaaaa, odd);
            (high, low)
        }
    }
    #[inline(always)]
    fn halves_u32(self, a: __m512i) -> (__m512, __m512) {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            let low = _mm512_and_si512(a, _mm512_set1_epi32(0xffff));
            (_mm512_cvtepi32_ps(_mm512_srli_epi32::<16>(a)), _mm512_cvtepi32_ps(low))
        }
    }

    #[inline(always)]
    fn reduce_sum(self, a: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            let b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
            let d = _mm_add_ps(c, _mm_movehl_ps(c, c));
            _mm_cvtss_f32(_mm_add_ss(d, _mm_shuffle_ps::<1>(d, d)))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: __m512) -> f32 {
        // SAFETY: `self` proves AVX-512; no memory is accessed.
        unsafe {
            let b = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let c = _mm_max_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps::<1>(b));
            let d = _mm_max_ps(c, _mm_movehl_ps(c, c));
            _mm_cvtss_f32(_mm_max_ss(d, _mm_shuffle_ps::<1>(d, d)))
        }
    }
}
