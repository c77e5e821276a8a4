//! NEON, which every aarch64 CPU has.

use std::arch::aarch64::*;

pub type Quad = float32x4_t;
pub type Mask = uint32x4_t;

/// Defines functions of registers.
macro_rules! lanewise {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident($($arg:ident: $kind:ty),+) -> $result:ty = $body:expr;)+) => {$(
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name($($arg: $kind),+) -> $result {
            // SAFETY: every CPU of the target has NEON, and no memory is accessed.
            unsafe { $body }
        }
    )+};
}

#[inline(always)]
pub fn load(from: &[f32; 4]) -> Quad {
    // SAFETY: four values are in bounds.
    unsafe { vld1q_f32(from.as_ptr()) }
}

#[inline(always)]
pub fn store(v: Quad) -> [f32; 4] {
    let mut to = [0.0; 4];
    // SAFETY: four elements are in bounds, at any address.
    unsafe { vst1q_f32(to.as_mut_ptr(), v) };
    to
}

lanewise! {
    fn bits(a: Quad) -> uint32x4_t = vreinterpretq_u32_f32(a);
    fn float(a: uint32x4_t) -> Quad = vreinterpretq_f32_u32(a);
    pub fn splat(v: f32) -> Quad = vdupq_n_f32(v);
    pub fn add(a: Quad, b: Quad) -> Quad = vaddq_f32(a, b);
    pub fn sub(a: Quad, b: Quad) -> Quad = vsubq_f32(a, b);
    pub fn mul(a: Quad, b: Quad) -> Quad = vmulq_f32(a, b);
    pub fn div(a: Quad, b: Quad) -> Quad = vdivq_f32(a, b);
    pub fn fma(a: Quad, b: Quad, c: Quad) -> Quad = vfmaq_f32(c, a, b);
    pub fn neg(a: Quad) -> Quad = vnegq_f32(a);
    pub fn abs(a: Quad) -> Quad = vabsq_f32(a);
    pub fn copysign(a: Quad, sign: Quad) -> Quad = vbslq_f32(vdupq_n_u32(0x8000_0000), sign, a);
    pub fn sqrt(a: Quad) -> Quad = vsqrtq_f32(a);
    pub fn round(a: Quad) -> Quad = vrndnq_f32(a);
    /// 2^n for whole n in -126..=127.
    pub fn power_of_two(n: Quad) -> Quad =
        vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtnq_s32_f32(n), vdupq_n_s32(127))));
    /// The first of each lane's pair of bfloat16, converted to f32.
    pub fn low_bf16(a: Quad) -> Quad = float(vshlq_n_u32::<16>(bits(a)));
    /// The second of each lane's pair of bfloat16, converted to f32.
    pub fn high_bf16(a: Quad) -> Quad = float(vandq_u32(bits(a), vdupq_n_u32(0xffff_0000)));
    pub fn lt(a: Quad, b: Quad) -> Mask = vcltq_f32(a, b);
    pub fn select(mask: Mask, yes: Quad, no: Quad) -> Quad = vbslq_f32(mask, yes, no);
}

// NEON's maximum and minimum instructions treat NaN and signed zeros differently.
#[inline(always)]
pub fn max(a: Quad, b: Quad) -> Quad {
    select(lt(b, a), a, b)
}
#[inline(always)]
pub fn min(a: Quad, b: Quad) -> Quad {
    select(lt(a, b), a, b)
}
