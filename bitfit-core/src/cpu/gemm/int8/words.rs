//! Vectors of 32-bit integers for the micro-kernels of int8, one type for each way to multiply.

/// Vectors of 32-bit integers, each of which is also a word of four factors.
///
/// # Safety
/// Every method may be called only where the CPU has the instructions of the implementing type.
pub(super) trait Words: Copy {
    type Vector: Copy;
    type Floats: Copy;
    const LANES: usize;
    /// Whether `dot` and `add_byte` take b without the 128 that is added to the factors of a panel, so that sums begin
    /// with 0.
    const TAKES_128_OFF: bool;

    unsafe fn splat(value: i32) -> Self::Vector;
    /// A whole vector of columns.
    unsafe fn load(from: *const u8) -> Self::Vector;
    /// `sums + Σ a b` over the four factors of each lane, a within ±127.
    unsafe fn dot(sums: Self::Vector, b: Self::Vector, a: Self::Vector) -> Self::Vector;
    /// `sums + factor b`, b the byte of each word that begins at its bit `shift`; the factor has 16 bits.
    unsafe fn add_byte(sums: Self::Vector, words: Self::Vector, shift: i32, factor: i32) -> Self::Vector;
    /// The sums times a scale of the row and those of the columns.
    unsafe fn scaled(sums: Self::Vector, row: f32, columns: *const f32) -> Self::Floats;
    unsafe fn add(a: Self::Floats, from: *const f32) -> Self::Floats;
    unsafe fn store(to: *mut f32, values: Self::Floats);
}

/// Lanes in an array.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[derive(Clone, Copy)]
pub(super) struct Array;

#[cfg(any(test, not(target_arch = "x86_64")))]
impl Words for Array {
    type Vector = [i32; 8];
    type Floats = [f32; 8];
    const LANES: usize = 8;
    const TAKES_128_OFF: bool = false;

    #[inline(always)]
    unsafe fn splat(value: i32) -> [i32; 8] {
        [value; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const u8) -> [i32; 8] {
        // SAFETY: the caller guarantees a whole vector.
        unsafe { from.cast::<[i32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn dot(mut sums: [i32; 8], b: [i32; 8], a: [i32; 8]) -> [i32; 8] {
        // One byte of each lane after the other, and shifts instead of bytes, so that compilers use vectors.
        for shift in [24, 16, 8, 0] {
            for ((sum, b), a) in sums.iter_mut().zip(b).zip(a) {
                let b = (b.cast_unsigned() << shift >> 24).cast_signed();
                *sum = sum.wrapping_add((a << shift >> 24) * b);
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn add_byte(sums: [i32; 8], words: [i32; 8], shift: i32, factor: i32) -> [i32; 8] {
        std::array::from_fn(|lane| sums[lane].wrapping_add((i32::from_le(words[lane]) >> shift & 0xff) * factor))
    }
    #[inline(always)]
    unsafe fn scaled(sums: [i32; 8], row: f32, columns: *const f32) -> [f32; 8] {
        // SAFETY: the caller guarantees a whole vector of scales.
        std::array::from_fn(|lane| sums[lane] as f32 * (row * unsafe { *columns.add(lane) }))
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], from: *const f32) -> [f32; 8] {
        // SAFETY: the caller guarantees a whole vector.
        std::array::from_fn(|lane| a[lane] + unsafe { *from.add(lane) })
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, values: [f32; 8]) {
        // SAFETY: the caller guarantees a whole vector.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(values) }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::Words;

    /// Implements [`Words`] for a type by the intrinsics of its width.
    macro_rules! words {
        ($name:ident of 128 bits; $($rest:tt)*) => {
            words!(
                $name: 4 x __m128i, __m128;
                _mm_set1_epi32 _mm_loadu_si128 _mm_cvtepi32_ps _mm_set1_ps
                _mm_mul_ps _mm_add_ps _mm_loadu_ps _mm_storeu_ps
                _mm_srl_epi32 _mm_and_si128 _mm_madd_epi16 _mm_add_epi32; $($rest)*
            );
        };
        ($name:ident of 256 bits; $($rest:tt)*) => {
            words!(
                $name: 8 x __m256i, __m256;
                _mm256_set1_epi32 _mm256_loadu_si256 _mm256_cvtepi32_ps _mm256_set1_ps
                _mm256_mul_ps _mm256_add_ps _mm256_loadu_ps _mm256_storeu_ps
                _mm256_srl_epi32 _mm256_and_si256 _mm256_madd_epi16 _mm256_add_epi32; $($rest)*
            );
        };
        ($name:ident of 512 bits; $($rest:tt)*) => {
            words!(
                $name: 16 x __m512i, __m512;
                _mm512_set1_epi32 _mm512_loadu_si512 _mm512_cvtepi32_ps _mm512_set1_ps
                _mm512_mul_ps _mm512_add_ps _mm512_loadu_ps _mm512_storeu_ps
                _mm512_srl_epi32 _mm512_and_si512 _mm512_madd_epi16 _mm512_add_epi32; $($rest)*
            );
        };
        ($name:ident: $lanes:literal x $int:ty, $float:ty; $splat:ident $load:ident $to_float:ident $splat_float:ident
         $mul:ident $add:ident $load_float:ident $store:ident $shift:ident $and:ident $pairs:ident $add_int:ident;
         takes_128_off = $takes_128_off:literal, dot($sums:ident, $b:ident, $a:ident) = $dot:expr) => {
            #[derive(Clone, Copy)]
            pub(in super::super) struct $name;

            impl Words for $name {
                type Vector = $int;
                type Floats = $float;
                const LANES: usize = $lanes;
                const TAKES_128_OFF: bool = $takes_128_off;

                #[inline(always)]
                unsafe fn splat(value: i32) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const u8) -> $int {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $load(from.cast()) }
                }
                #[inline(always)]
                unsafe fn dot($sums: $int, $b: $int, $a: $int) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe { $dot }
                }
                #[inline(always)]
                unsafe fn add_byte(sums: $int, words: $int, shift: i32, factor: i32) -> $int {
                    // SAFETY: the caller guarantees the instructions.
                    unsafe {
                        let bytes = $and($shift(words, _mm_cvtsi32_si128(shift)), $splat(0xff));
                        // The upper halves of the words are zero, and the factor has 16 bits.
                        let product = $pairs(bytes, $splat(factor));
                        let off = if $takes_128_off { $splat(-128 * factor) } else { $splat(0) };
                        $add_int(sums, $add_int(product, off))
                    }
                }
                #[inline(always)]
                unsafe fn scaled(sums: $int, row: f32, columns: *const f32) -> $float {
                    // SAFETY: the caller guarantees the instructions and a whole vector of scales.
                    unsafe { $mul($to_float(sums), $mul($splat_float(row), $load_float(columns))) }
                }
                #[inline(always)]
                unsafe fn add(a: $float, from: *const f32) -> $float {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $add(a, $load_float(from)) }
                }
                #[inline(always)]
                unsafe fn store(to: *mut f32, values: $float) {
                    // SAFETY: the caller guarantees the instructions and a whole vector.
                    unsafe { $store(to, values) }
                }
            }
        };
    }

    words!(
        Vnni256 of 256 bits;
        takes_128_off = false, dot(sums, b, a) = _mm256_dpbusd_avx_epi32(sums, b, a)
    );
    words!(
        Vnni512 of 512 bits;
        takes_128_off = false, dot(sums, b, a) = _mm512_dpbusd_epi32(sums, b, a)
    );

    // Without VNNI. Of several dot products with one operand, the compiler computes once what depends on it alone.

    // The product of bytes takes one operand unsigned, so that a gives its signs to b. A sum of two of its products is
    // at most 2 · 127² < 2¹⁵ in size: none saturates.
    words!(
        Signs256 of 256 bits;
        takes_128_off = true, dot(sums, b, a) = {
            let b = _mm256_xor_si256(b, _mm256_set1_epi8(-128));
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(a), _mm256_sign_epi8(b, a));
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    );

    // The even and the odd bytes of a word as 16-bit integers, whose products are added in 32 bits; SSE2 has no product
    // of bytes, and AVX-512 cannot move signs.
    words!(
        Pairs128 of 128 bits;
        takes_128_off = false, dot(sums, b, a) = {
            let even = _mm_and_si128(b, _mm_set1_epi16(0xff));
            let even = _mm_madd_epi16(even, _mm_srai_epi16::<8>(_mm_slli_epi16::<8>(a)));
            let odd = _mm_madd_epi16(_mm_srli_epi16::<8>(b), _mm_srai_epi16::<8>(a));
            _mm_add_epi32(_mm_add_epi32(sums, even), odd)
        }
    );
    words!(
        Pairs512 of 512 bits;
        takes_128_off = false, dot(sums, b, a) = {
            let even = _mm512_and_si512(b, _mm512_set1_epi16(0xff));
            let even = _mm512_madd_epi16(even, _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(a)));
            let odd = _mm512_madd_epi16(_mm512_srli_epi16::<8>(b), _mm512_srai_epi16::<8>(a));
            _mm512_add_epi32(_mm512_add_epi32(sums, even), odd)
        }
    );
}
