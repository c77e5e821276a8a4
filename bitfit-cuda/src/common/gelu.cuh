// GELU.

// The exact one, z Φ(z) with Φ the normal distribution and φ its density, and its derivative Φ(z) + z φ(z), as
// bitfit-core/src/cpu/simd/math.rs computes them: both from one exponential and one division, with the same polynomial
// for the upper tail. The lower tail is a product, not a difference, so that it keeps its leading digits.
//
// Relative to max(1, |z|), the error of the value is at most 3e-7 and that of the derivative at most 4e-7 with the
// maximum errors of the two instructions below, and 2e-7 if they are exact. A few 1e-8 of it come from the rounding of
// the exponent, which grows with z² while its effect shrinks faster.

#ifndef BITFIT_EMULATOR
// 2^x within 2 ulp, zero where that is subnormal; 1 / x within 2^-23 of itself. One instruction each, unlike exp2f and
// a division.
__device__ __forceinline__ float ex2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float rcp_approx(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

struct Gelu {
    float value, slope;
};

__device__ __forceinline__ Gelu gelu(float z) {
    // √(2π) φ(z): 2 to the power of -z² / (2 ln 2). It is zero beyond 13.3, where the polynomial ends, and NaN where z
    // is.
    float density = ex2_approx(z * z * -0.72134752f);
    float size = fminf(fabsf(z), 13.5f);
    float t = rcp_approx(fmaf(0.35f, size, 1.0f));
    float p = fmaf(-0.029157834f, t, 0.1440307f);
    p = fmaf(p, t, -0.25583863f);
    p = fmaf(p, t, 0.15931934f);
    p = fmaf(p, t, -0.023212153f);
    p = fmaf(p, t, 0.105552435f);
    p = fmaf(p, t, 0.1198213f);
    p = fmaf(p, t, 0.13986352f);
    p = fmaf(p, t, 0.1396213f);
    float tail = density * (t * p);
    float distribution = z < 0.0f ? tail : 1.0f - tail;
    return Gelu{z * distribution, fmaf(copysignf(size, z) * 0.3989423f, density, distribution)};
}
