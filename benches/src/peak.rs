//! Ceilings measured on the machine with the threads that run the ops, because absolute rates of a shared machine say
//! little.

#[cfg(target_arch = "x86_64")]
mod tiles;
mod vectors;

use std::{hint::black_box, time::Instant};

use bitfit_core::{Precision, cpu::Isa};
use rayon::prelude::*;

/// Operations a second, in units of 10⁹, of all threads for only multiply-adds of the factors of a precision: of pairs
/// of bfloat16 if the CPU has an instruction for them, of int8 with VNNI's dot products if it has those, otherwise as
/// pairs of 16-bit integers; of both in AMX's tile registers where there are some.
pub fn gflops(isa: Isa, precision: Precision) -> f64 {
    let isa = isa.available();
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Amx && precision != Precision::F32 {
        return tiles::gflops(precision);
    }
    let (tasks, rounds) = (4 * rayon::current_num_threads(), 500_000);
    let (multiply_adds, operations) = vectors::multiply_adds(isa, precision);
    let start = Instant::now();
    (0..tasks).into_par_iter().with_max_len(1).for_each(|_| {
        black_box(multiply_adds(rounds));
    });
    (tasks * rounds * operations) as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// Two buffers to copy between: the ceiling of an op that is bound by memory bandwidth.
pub struct Copy {
    from: Vec<f32>,
    to: Vec<f32>,
}

impl Copy {
    /// A copy that moves as many bytes as an op does, half of them read and half of them written, so that it finds the
    /// same cache as the op.
    pub fn of_bytes(bytes: usize) -> Self {
        let len = (bytes / 2 / size_of::<f32>()).max(1);
        Self { from: vec![1.0; len], to: vec![0.0; len] }
    }

    /// GB/s that all threads read and write, in the best of a few copies.
    pub fn gbytes(&mut self) -> f64 {
        let block = 1 << 13;
        let bytes = 2 * self.from.len() * size_of::<f32>();
        let seconds = crate::least_seconds(4, || {
            let to = self.to.par_chunks_mut(block);
            to.zip(self.from.par_chunks(block)).for_each(|(to, from)| to.copy_from_slice(from));
            black_box(&self.to);
        });
        bytes as f64 / seconds / 1e9
    }
}
