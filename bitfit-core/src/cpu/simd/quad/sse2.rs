//! SSE2, which every x86-64 CPU has.

use std::arch::x86_64::*;

pub type Quad = __m128;
pub type Mask = __m128;

/// Defines functions of registers.
macro_rules! lanewise {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),+) -> $result:ty = $body:expr;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($($arg: $kind),+) -> $result {
            // SAFETY: every CPU of the target has SSE2, and no memory is accessed.
            unsafe { $body }
        }
    )+};
}

#[inline(always)]
pub fn load(from: &[f32; 4]) -> Quad {
    // SAFETY: four values are in bounds; the load is unaligned.
    unsafe { _mm_loadu_ps(from.as_ptr()) }
}

#[inline(always)]
pub fn store(v: Quad) -> [f32; 4] {
    let mut to = [0.0; 4];
    // SAFETY: four elements are in bounds, at any address.
    unsafe { _mm_storeu_ps(to.as_mut_ptr(), v) };
    to
}

lanewise! {
    pub fn splat(v: f32) -> Quad = _mm_set1_ps(v);
    pub fn add(a: Quad, b: Quad) -> Quad = _mm_add_ps(a, b);
    pub fn sub(a: Quad, b: Quad) -> Quad = _mm_sub_ps(a, b);
    pub fn mul(a: Quad, b: Quad) -> Quad = _mm_mul_ps(a, b);
    pub fn div(a: Quad, b: Quad) -> Quad = _mm_div_ps(a, b);
    pub fn neg(a: Quad) -> Quad = _mm_xor_ps(a, splat(-0.0));
    pub fn abs(a: Quad) -> Quad = _mm_andnot_ps(splat(-0.0), a);
    pub fn copysign(a: Quad, sign: Quad) -> Quad = _mm_or_ps(abs(a), _mm_and_ps(splat(-0.0), sign));
    pub fn sqrt(a: Quad) -> Quad = _mm_sqrt_ps(a);
    pub fn max(a: Quad, b: Quad) -> Quad = _mm_max_ps(a, b);
    pub fn min(a: Quad, b: Quad) -> Quad = _mm_min_ps(a, b);
    pub fn round(a: Quad) -> Quad = _mm_cvtepi32_ps(_mm_cvtps_epi32(a));
    /// 2^n for whole n in -126..=127.
    pub fn power_of_two(n: Quad) -> Quad = _mm_castsi128_ps(_mm_slli_epi32::<23>(_mm_add_epi32(_mm_cvtps_epi32(n), _mm_set1_epi32(127))));
    /// The first of each lane's pair of bfloat16, converted to f32.
    pub fn low_bf16(a: Quad) -> Quad = _mm_castsi128_ps(_mm_slli_epi32::<16>(_mm_castps_si128(a)));
    /// The second of each lane's pair of bfloat16, converted to f32.
    pub fn high_bf16(a: Quad) -> Quad = _mm_and_ps(a, _mm_castsi128_ps(_mm_set1_epi32(0xffff_0000_u32 as i32)));
    pub fn lt(a: Quad, b: Quad) -> Mask = _mm_cmplt_ps(a, b);
    pub fn select(mask: Mask, yes: Quad, no: Quad) -> Quad = _mm_or_ps(_mm_and_ps(mask, yes), _mm_andnot_ps(mask, no));
}

#[inline(always)]
pub fn fma(a: Quad, b: Quad, c: Quad) -> Quad {
    add(mul(a, b), c)
}
