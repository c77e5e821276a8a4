//! Multiply-adds in vector registers without loads and stores between them, for each instruction set.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;

use bitfit_core::cpu::Isa;

/// The number of sums of each instruction set: enough in flight to hide an instruction's latency, few enough for the
/// registers.
pub(super) fn sums(isa: Isa) -> usize {
    if isa.lanes() == 16 { 24 } else { 12 }
}

/// `rounds` times [`sums`] multiply-adds; of pairs of bfloat16 if requested, which needs AVX512_BF16.
pub(super) fn multiply_add(isa: Isa, rounds: usize, pairs: bool) -> f32 {
    #[cfg(target_arch = "x86_64")]
    match isa {
        // SAFETY: the CPU has the instruction set, which `Isa::available` has said.
        Isa::Avx2 => return unsafe { avx2(rounds) },
        // SAFETY: as above.
        Isa::Avx512Bf16 if pairs => return unsafe { avx512_bf16(rounds) },
        // SAFETY: as above.
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => return unsafe { avx512(rounds) },
        Isa::Portable => {}
    }
    assert!(!pairs, "pairs of bfloat16 without AVX512_BF16");
    portable(rounds)
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
