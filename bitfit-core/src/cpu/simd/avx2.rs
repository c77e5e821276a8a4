//! AVX2 and FMA: eight lanes.

use std::arch::x86_64::*;

use half::bf16;

use super::{Kernel, Simd, round_bf16};

/// Proof that the CPU has AVX2 and FMA; only [`dispatch`](super::dispatch) makes one.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

/// Runs `kernel` compiled for AVX2 and FMA.
///
/// # Safety
/// The CPU must have AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2(()))
}

/// Eight lanes on and eight off: the eight entries from index `8 - n` have the first `n` lanes on.
static WINDOW: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

/// A mask of the first `n.min(8)` lanes.
#[inline(always)]
fn first(_proof: Avx2, n: usize) -> __m256i {
    let start = 8 - n.min(8);
    // SAFETY: the CPU has AVX2, and 8 of the 16 entries from an offset of at most 8 are inside.
    unsafe { _mm256_loadu_si256(WINDOW.as_ptr().add(start).cast()) }
}

/// A safe method for an intrinsic that only computes: sound because `self` proves that the CPU has it.
macro_rules! lanewise {
    ($($name:ident($($arg:ident),+) = $body:expr;)+) => {$(
        #[inline(always)]
        fn $name(self, $($arg: __m256),+) -> __m256 {
            // SAFETY: `self` is only made where the CPU has AVX2 and FMA; the intrinsic accesses no memory.
            unsafe { $body }
        }
    )+};
}

impl Avx2 {
    /// Makes the proof, in code that is itself compiled for AVX2 and FMA.
    ///
    /// # Safety
    /// The CPU must have AVX2 and FMA.
    #[inline(always)]
    pub(crate) unsafe fn assume() -> Self {
        Avx2(())
    }
}

impl Simd for Avx2 {
    type F32 = __m256;
    type Mask = __m256;
    type U32 = __m256i;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, v: f32) -> __m256 {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        assert!(from.len() >= 8);
        // SAFETY: eight values are in bounds; the load is unaligned.
        unsafe { _mm256_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m256) {
        assert!(to.len() >= 8);
        // SAFETY: eight elements are in bounds; the store is unaligned.
        unsafe { _mm256_storeu_ps(to.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32]) -> __m256 {
        if from.len() >= 8 {
            return self.load(from);
        }
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not read.
        unsafe { _mm256_maskload_ps(from.as_ptr(), first(self, from.len())) }
    }
    #[inline(always)]
    fn store_partial(self, to: &mut [f32], v: __m256) {
        if to.len() >= 8 {
            return self.store(to, v);
        }
        // SAFETY: lanes outside the slice are masked off, and a masked lane is not written.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), first(self, to.len()), v) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[bf16]) -> __m256 {
        let mut whole = [bf16::ZERO; 8];
        let bits = match from.first_chunk::<8>() {
            Some(bits) => bits,
            None => {
                whole[..from.len()].copy_from_slice(from);
                &whole
            }
        };
        // SAFETY: `bits` is 16 bytes; `self` proves AVX2.
        unsafe {
            let narrow = _mm_loadu_si128(bits.as_ptr().cast());
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(narrow)))
        }
    }
    #[inline(always)]
    fn store_bf16(self, to: &mut [bf16], v: __m256) {
        let mut bits = [bf16::ZERO; 8];
        // SAFETY: `bits` takes the 16 bytes that are stored; `self` proves AVX2.
        unsafe {
            let narrow = round_bf16::eight(self, v);
            let packed = _mm_packus_epi32(_mm256_castsi256_si128(narrow), _mm256_extracti128_si256::<1>(narrow));
            _mm_storeu_si128(bits.as_mut_ptr().cast(), packed);
        }
        match to.first_chunk_mut::<8>() {
            Some(to) => *to = bits,
            None => to.copy_from_slice(&bits[..to.len()]),
        }
    }
    #[inline(always)]
    fn load_i8(self, from: &[i8]) -> __m256 {
        let bytes = match from.first_chunk::<8>() {
            Some(bytes) => *bytes,
            None => {
                let mut bytes = [0; 8];
                bytes[..from.len()].copy_from_slice(from);
                bytes
            }
        };
        // SAFETY: eight bytes are read from `bytes`; `self` proves AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn store_i8(self, to: &mut [i8], v: __m256) {
        let mut bytes = [0_i8; 8];
        // SAFETY: `bytes` takes the eight bytes that are stored; `self` proves AVX2.
        unsafe {
            let wide = _mm256_cvtps_epi32(v);
            let halves = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256::<1>(wide));
            _mm_storel_epi64(bytes.as_mut_ptr().cast(), _mm_packs_epi16(halves, halves));
        }
        match to.first_chunk_mut::<8>() {
            Some(to) => *to = bytes,
            None => to.copy_from_slice(&bytes[..to.len()]),
        }
    }

    #[inline(always)]
    fn store_i8x4(self, to: &mut [i8], [a, b, c, d]: [__m256; 4]) {
        let to = &mut to[..32];
        // SAFETY: `self` proves AVX2, and 32 elements are in bounds.
        unsafe {
            let ab = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
            let cd = _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
            let bytes = _mm256_packs_epi16(ab, cd);
            // In each 128 bits four elements of every vector follow each other; now those of a vector do.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_permutevar8x32_epi32(bytes, order));
        }
    }
    #[inline(always)]
    fn sum_i8(self, from: &[i8]) -> i32 {
        let (vectors, rest) = from.as_chunks::<32>();
        assert!(rest.is_empty(), "whole vectors");
        // SAFETY: `self` proves AVX2, and the loads are those of whole vectors, unaligned.
        unsafe {
            // The instruction adds up bytes without a sign, so that 128 is added to each.
            let (mut sums, zero, sign) = (_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_set1_epi8(-128));
            for vector in vectors {
                let bytes = _mm256_xor_si256(_mm256_loadu_si256(vector.as_ptr().cast()), sign);
                sums = _mm256_add_epi64(sums, _mm256_sad_epu8(bytes, zero));
            }
            let halves = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
            let sum = _mm_add_epi64(halves, _mm_unpackhi_epi64(halves, halves));
            _mm_cvtsi128_si32(sum) - 128 * from.len() as i32
        }
    }
    #[inline(always)]
    fn max_magnitude_bf16(self, most: __m256, from: &[bf16]) -> __m256 {
        let (pairs, rest) = from.as_chunks::<16>();
        // SAFETY: `self` proves AVX2, and the loads are those of whole vectors, unaligned.
        let mut most = unsafe {
            let (mut first, mut second) = (_mm256_setzero_si256(), _mm256_setzero_si256());
            let (magnitude, (both, last)) = (_mm256_set1_epi16(0x7fff), pairs.as_chunks::<2>());
            // Two at a time, so that not each waits for the one before it.
            for [a, b] in both {
                first = _mm256_max_epu16(first, _mm256_and_si256(magnitude, _mm256_loadu_si256(a.as_ptr().cast())));
                second = _mm256_max_epu16(second, _mm256_and_si256(magnitude, _mm256_loadu_si256(b.as_ptr().cast())));
            }
            for a in last {
                first = _mm256_max_epu16(first, _mm256_and_si256(magnitude, _mm256_loadu_si256(a.as_ptr().cast())));
            }
            // The upper halves of lanes are bfloat16 as f32, but for their lowest bits.
            let pairs = _mm256_max_epu16(first, second);
            let (low, high) = (_mm256_slli_epi32::<16>(pairs), _mm256_and_si256(pairs, _mm256_set1_epi32(-65536)));
            let most = self.max_magnitude(most, _mm256_castsi256_ps(low));
            self.max_magnitude(most, _mm256_castsi256_ps(high))
        };
        for from in rest.chunks(8) {
            most = self.max_magnitude(most, self.abs(self.load_bf16(from)));
        }
        most
    }
    #[inline(always)]
    fn max_magnitude(self, a: __m256, b: __m256) -> __m256 {
        // Of values without a sign, the order of the bits is that of the values, NaN last.
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_castsi256_ps(_mm256_max_epu32(_mm256_castps_si256(a), _mm256_castps_si256(b))) }
    }

    lanewise! {
        add(a, b) = _mm256_add_ps(a, b);
        sub(a, b) = _mm256_sub_ps(a, b);
        mul(a, b) = _mm256_mul_ps(a, b);
        div(a, b) = _mm256_div_ps(a, b);
        fma(a, b, c) = _mm256_fmadd_ps(a, b, c);
        fnma(a, b, c) = _mm256_fnmadd_ps(a, b, c);
        neg(a) = _mm256_xor_ps(a, _mm256_set1_ps(-0.0));
        abs(a) = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        sqrt(a) = _mm256_sqrt_ps(a);
        max(a, b) = _mm256_max_ps(a, b);
        min(a, b) = _mm256_min_ps(a, b);
        copysign(a, sign) = _mm256_or_ps(
            _mm256_andnot_ps(_mm256_set1_ps(-0.0), a),
            _mm256_and_ps(_mm256_set1_ps(-0.0), sign)
        );
        round(a) = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        lt(a, b) = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        select(mask, yes, no) = _mm256_blendv_ps(no, yes, mask);
    }

    #[inline(always)]
    fn dot_bf16(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2 and FMA; no memory is accessed.
        unsafe {
            let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
            let high = |v| _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32)));
            _mm256_fmadd_ps(low(a), low(b), _mm256_fmadd_ps(high(a), high(b), c))
        }
    }
    #[inline(always)]
    fn pair_bf16(self, low: __m256, high: __m256) -> __m256 {
        let (low, high) = (round_bf16::eight(self, low), round_bf16::eight(self, high));
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_castsi256_ps(_mm256_or_si256(low, _mm256_slli_epi32::<16>(high))) }
    }
    #[inline(always)]
    fn transpose(self, from: &[f32], from_stride: usize, to: &mut [f32], to_stride: usize) {
        let extent = |stride: usize| stride.saturating_mul(7).saturating_add(8);
        assert!(from.len() >= extent(from_stride) && to.len() >= extent(to_stride));
        // Not `array::from_fn`, which would not be compiled for the instruction set where it is not inlined.
        let mut rows = [self.zero(); 8];
        for (i, row) in rows.iter_mut().enumerate() {
            // SAFETY: the length of `from` was checked.
            *row = unsafe { self.load_ptr(from.as_ptr().add(i * from_stride)) };
        }
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            // Four by four within each 128-bit lane: pairs of rows, then pairs of pairs.
            for quad in rows.chunks_exact_mut(4) {
                let [a, b, c, d] = [quad[0], quad[1], quad[2], quad[3]];
                let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
                let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
                quad[0] = _mm256_shuffle_ps::<0x44>(ab_low, cd_low);
                quad[1] = _mm256_shuffle_ps::<0xee>(ab_low, cd_low);
                quad[2] = _mm256_shuffle_ps::<0x44>(ab_high, cd_high);
                quad[3] = _mm256_shuffle_ps::<0xee>(ab_high, cd_high);
            }
            // Then the 128-bit lanes themselves: the high one of the first quad is exchanged with the low one of the
            // second.
            for i in 0..4 {
                let (a, b) = (rows[i], rows[i + 4]);
                rows[i] = _mm256_permute2f128_ps::<0x20>(a, b);
                rows[i + 4] = _mm256_permute2f128_ps::<0x31>(a, b);
            }
        }
        for (i, row) in rows.into_iter().enumerate() {
            // SAFETY: the length of `to` was checked.
            unsafe { self.store_ptr(to.as_mut_ptr().add(i * to_stride), row) };
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m256 {
        // SAFETY: guaranteed by the caller; the load is unaligned.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: __m256) {
        // SAFETY: guaranteed by the caller; the store is unaligned.
        unsafe { _mm256_storeu_ps(to, v) }
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
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            let n = _mm256_cvtps_epi32(n);
            // Two factors, because 2^n itself may overflow or be subnormal.
            let half = _mm256_srai_epi32::<1>(n);
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias));
            let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_sub_epi32(n, half), bias));
            _mm256_mul_ps(_mm256_mul_ps(a, _mm256_castsi256_ps(low)), _mm256_castsi256_ps(high))
        }
    }

    #[inline(always)]
    fn splat_u32(self, v: u32) -> __m256i {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_set1_epi32(v.cast_signed()) }
    }
    #[inline(always)]
    fn count_u32(self, first: u32) -> __m256i {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_add_epi32(self.splat_u32(first), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }
    #[inline(always)]
    fn xor_u32(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    fn multiply_u32(self, a: __m256i, b: __m256i) -> (__m256i, __m256i) {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            // The instruction takes the even lanes; their products of 64 bits occupy a pair of lanes.
            let even = _mm256_mul_epu32(a, b);
            let odd = _mm256_mul_epu32(_mm256_srli_epi64::<32>(a), _mm256_srli_epi64::<32>(b));
            let high = _mm256_blend_epi32::<0xaa>(_mm256_srli_epi64::<32>(even), odd);
            let low = _mm256_blend_epi32::<0xaa>(even, _mm256_slli_epi64::<32>(odd));
            (high, low)
        }
    }
    #[inline(always)]
    fn halves_u32(self, a: __m256i) -> (__m256, __m256) {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            let low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
            (_mm256_cvtepi32_ps(_mm256_srli_epi32::<16>(a)), _mm256_cvtepi32_ps(low))
        }
    }

    #[inline(always)]
    fn reduce_sum(self, a: __m256) -> f32 {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            let b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let c = _mm_add_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps::<1>(c, c)))
        }
    }
    #[inline(always)]
    fn reduce_max(self, a: __m256) -> f32 {
        // SAFETY: `self` proves AVX2; no memory is accessed.
        unsafe {
            let b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let c = _mm_max_ps(b, _mm_movehl_ps(b, b));
            _mm_cvtss_f32(_mm_max_ss(c, _mm_shuffle_ps::<1>(c, c)))
        }
    }
}
