//! The system's allocator, which counts what is allocated, for tests of what a piece of work allocates. A test file
//! that includes it has one test, because the counters are the process's.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The hidden size of the random model, whose task has fewer parameters than its smallest matrix.
pub const HIDDEN: usize = 128;
/// The size of its smallest matrix in bytes.
pub const MATRIX: usize = HIDDEN * HIDDEN * size_of::<f32>();

/// The system's allocator, which counts the requested bytes, and the requests of at least [`MATRIX`] bytes.
struct Counting {
    total: AtomicUsize,
    large: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Counting = Counting { total: AtomicUsize::new(0), large: AtomicUsize::new(0) };

impl Counting {
    fn note(&self, size: usize) {
        self.total.fetch_add(size, Relaxed);
        self.large.fetch_add(usize::from(size >= MATRIX), Relaxed);
    }
}

// SAFETY: every call is passed on to the system's allocator; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size());
        // SAFETY: the caller keeps the conditions, which are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.note(size);
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The number of bytes that `work` allocates, and the number of requests of the size of a matrix.
pub fn counted<T>(work: impl FnOnce() -> T) -> (T, usize, usize) {
    let before = [&ALLOCATOR.total, &ALLOCATOR.large].map(|counter| counter.load(Relaxed));
    let result = work();
    let [total, large] = [&ALLOCATOR.total, &ALLOCATOR.large].map(|counter| counter.load(Relaxed));
    (result, total - before[0], large - before[1])
}
