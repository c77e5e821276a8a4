//! `allocations MODEL PRECISION SEQUENCES TOKENS`: what a training step still asks the allocator for, once its buffers are there.
//! Counts the fourth step of a model with random weights, by size; the arguments are those of `step`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use benches::{BASE, LARGE, MINILM, Step};
use bitfit_core::DType;

/// The system's allocator, with counts by powers of two.
struct Counting {
    counts: [AtomicUsize; 64],
    bytes: [AtomicUsize; 64],
}

#[global_allocator]
static ALLOCATOR: Counting =
    Counting { counts: [const { AtomicUsize::new(0) }; 64], bytes: [const { AtomicUsize::new(0) }; 64] };

impl Counting {
    fn count(&self, size: usize) {
        let class = size.max(1).ilog2() as usize;
        self.counts[class].fetch_add(1, Relaxed);
        self.bytes[class].fetch_add(size, Relaxed);
    }

    fn totals(&self) -> Vec<(usize, usize)> {
        self.counts.iter().zip(&self.bytes).map(|(count, bytes)| (count.load(Relaxed), bytes.load(Relaxed))).collect()
    }
}

// SAFETY: everything is the system allocator's; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count(layout.size());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise; `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count(size);
        // SAFETY: the caller's promise; `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let (Some(size), Some(precision), Some(sequences), Some(tokens)) = (
        given
            .first()
            .and_then(|name| [MINILM, BASE, LARGE].into_iter().find(|size| size.name.ends_with(name.as_str()))),
        given.get(1).and_then(|name| ["f32", "bf16"].iter().position(|known| known == name)),
        given.get(2).and_then(|number| number.parse().ok()),
        given.get(3).and_then(|number| number.parse::<usize>().ok()),
    ) else {
        eprintln!("usage: allocations minilm|base|large f32|bf16 SEQUENCES TOKENS");
        return ExitCode::from(2);
    };
    let models = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let precision = [DType::F32, DType::Bf16][precision];
    let mut step = Step::new(size, &models, &vec![tokens; sequences], precision);
    (0..3).for_each(|_| _ = step.run());
    let before = ALLOCATOR.totals();
    step.run();
    let after = ALLOCATOR.totals();
    let mut total = (0, 0);
    for (class, (after, before)) in after.into_iter().zip(before).enumerate() {
        let (count, bytes) = (after.0 - before.0, after.1 - before.1);
        total = (total.0 + count, total.1 + bytes);
        if count > 0 {
            println!("{:>10} bytes and up: {count:>6} allocations, {bytes:>10} bytes", 1usize << class);
        }
    }
    println!("{:>10}               {:>6} allocations, {:>10} bytes", "in all", total.0, total.1);
    ExitCode::SUCCESS
}
