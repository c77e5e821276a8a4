//! The ceiling of AMX: products of tile registers without loads and stores between them.

use std::{arch::asm, time::Instant};

use bitfit_core::Precision;
use rayon::prelude::*;

/// The operand of `ldtilecfg` for eight registers of sixteen rows of 64 bytes.
#[repr(C, align(64))]
struct Config([u8; 64]);

static WHOLE: Config = {
    let mut config = [0; 64];
    config[0] = 1;
    let mut i = 0;
    while i < 8 {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
        i += 1;
    }
    Config(config)
};

/// Operations a second, in units of 10⁹, of all threads, on a machine whose best isa is `Amx`: of pairs of bfloat16, or
/// of int8.
pub(super) fn gflops(precision: Precision) -> f64 {
    let (multiply, per_word): (fn(usize), _) =
        if precision == Precision::Int8 { (multiply_int8, 4) } else { (multiply_bf16, 2) };
    let (tasks, rounds) = (4 * rayon::current_num_threads(), 200_000);
    let start = Instant::now();
    (0..tasks).into_par_iter().with_max_len(1).for_each(|_| multiply(rounds));
    // Four products a round, each of 16 x 16 words by 16 x 16 words.
    let operations = tasks * rounds * 4 * (2 * 16 * 16 * per_word * 16);
    operations as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Defines a function of so many rounds of an instruction.
macro_rules! multiply {
    ($name:ident, $multiply:literal) => {
        fn $name(rounds: usize) {
            // SAFETY: only called where the CPU has AMX and the system permits it, which `Isa::available` says. The
            // registers are set up from 64 bytes, hold zeros, and are given up at the end; no other memory is touched.
            unsafe {
                asm!(
                    "ldtilecfg [{config}]",
                    "2:",
                    concat!($multiply, " tmm0, tmm4, tmm6"),
                    concat!($multiply, " tmm1, tmm4, tmm7"),
                    concat!($multiply, " tmm2, tmm5, tmm6"),
                    concat!($multiply, " tmm3, tmm5, tmm7"),
                    "dec {rounds}",
                    "jnz 2b",
                    "tilerelease",
                    config = in(reg) &raw const WHOLE,
                    rounds = inout(reg) rounds => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack, readonly),
                );
            }
        }
    };
}

multiply!(multiply_bf16, "tdpbf16ps");
multiply!(multiply_int8, "tdpbsud");
