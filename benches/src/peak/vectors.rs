//! Multiply-adds in vector registers without loads and stores between them, for each instruction set.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;

use bitfit_core::{Precision, cpu::Isa};

/// A loop of so many rounds of multiply-adds in registers, and the operations of a round, for the factors of a
/// precision. The loops have as many sums as hide an instruction's latency and fit the registers.
pub(super) fn multiply_adds(isa: Isa, precision: Precision) -> (fn(usize) -> f32, usize) {
    #[cfg(target_arch = "x86_64")]
    {
        let has_vnni = if isa.lanes() == 16 {
            is_x86_feature_detected!("avx512vnni")
        } else {
            is_x86_feature_detected!("avxvnni")
        };
        match (isa, precision) {
            (Isa::Portable, _) => {}
            // SAFETY: the CPU has the instructions, which `Isa::available` or the detection has said; so below.
            (Isa::Avx2, Precision::Int8) if has_vnni => return (|n| unsafe { avx_vnni(n) }, 12 * 8 * 8),
            // SAFETY: as above.
            (Isa::Avx2, Precision::Int8) => return (|n| unsafe { avx2_bytes(n) }, 12 * 8 * 8),
            // SAFETY: as above.
            (Isa::Avx2, _) => return (|n| unsafe { avx2(n) }, 12 * 8 * 2),
            // SAFETY: as above.
            (_, Precision::Int8) if has_vnni => return (|n| unsafe { avx512_vnni(n) }, 24 * 16 * 8),
            // SAFETY: as above.
            (_, Precision::Int8) => return (|n| unsafe { avx512_pairs(n) }, 12 * 16 * 4),
            // SAFETY: as above.
            (Isa::Avx512Bf16, Precision::Bf16) => return (|n| unsafe { avx512_bf16(n) }, 24 * 16 * 4),
            // SAFETY: as above.
            (Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx, _) => return (|n| unsafe { avx512(n) }, 24 * 16 * 2),
        }
    }
    let _ = (isa, precision);
    (portable, 12 * 4 * 2)
}

fn portable(rounds: usize) -> f32 {
    let (a, b) = (black_box(0.999_f32), black_box(1e-3_f32));
    let mut sums = [[0.0_f32; 4]; 12];
    for _ in 0..rounds {
        for sum in &mut sums {
            sum.iter_mut().for_each(|sum| *sum = *sum * a + b);
        }
    }
    sums.iter().flatten().sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: usize) -> f32 {
    let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(1e-3)));
    let mut sums = [_mm256_setzero_ps(); 12];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, a, b);
        }
    }
    _mm256_cvtss_f32(sums.into_iter().fold(_mm256_setzero_ps(), |all, sum| _mm256_add_ps(all, sum)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: usize) -> f32 {
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
    let mut sums = [_mm512_setzero_ps(); 24];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, a, b);
        }
    }
    _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_setzero_ps(), |all, sum| _mm512_add_ps(all, sum)))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn avx512_bf16(rounds: usize) -> f32 {
    let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(1e-3)));
    let (a, b) = (_mm512_cvtne2ps_pbh(a, a), _mm512_cvtne2ps_pbh(b, b));
    let mut sums = [_mm512_setzero_ps(); 24];
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbf16_ps(*sum, a, b);
        }
    }
    _mm512_reduce_add_ps(sums.into_iter().fold(_mm512_setzero_ps(), |all, sum| _mm512_add_ps(all, sum)))
}

/// Implements a loop of sums of integers for an instruction set.
#[cfg(target_arch = "x86_64")]
macro_rules! integers {
    ($name:ident, $features:literal, $sums:literal x $vector:ty, $zero:ident, $set:ident, |$sum:ident, $a:ident, $b:ident| $dot:expr) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: usize) -> f32 {
            let ($a, $b) = ($set(black_box(0x0102_0304)), $set(black_box(0x0403_0201)));
            let mut sums = [$zero(); $sums];
            for _ in 0..rounds {
                for sum in &mut sums {
                    let $sum = *sum;
                    *sum = $dot;
                }
            }
            black_box(sums);
            0.0
        }
    };
}

#[cfg(target_arch = "x86_64")]
integers!(avx512_vnni, "avx512f,avx512vnni", 24 x __m512i, _mm512_setzero_si512, _mm512_set1_epi32, |sum, a, b| {
    _mm512_dpbusd_epi32(sum, a, b)
});
#[cfg(target_arch = "x86_64")]
integers!(avx_vnni, "avx2,avxvnni", 12 x __m256i, _mm256_setzero_si256, _mm256_set1_epi32, |sum, a, b| {
    _mm256_dpbusd_avx_epi32(sum, a, b)
});
#[cfg(target_arch = "x86_64")]
integers!(avx512_pairs, "avx512f,avx512bw", 12 x __m512i, _mm512_setzero_si512, _mm512_set1_epi32, |sum, a, b| {
    _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_xor_si512(a, sum), b))
});
#[cfg(target_arch = "x86_64")]
integers!(avx2_bytes, "avx2", 12 x __m256i, _mm256_setzero_si256, _mm256_set1_epi32, |sum, a, b| {
    // A product of an unsigned and a signed factor takes the sign of the other one first.
    let pairs = _mm256_maddubs_epi16(a, _mm256_sign_epi8(b, sum));
    _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
});
