//! What happens when the system has no more memory: an error on one line and exit code 1, instead of the abort that
//! ends a Rust program. Files that are not complete stay behind and are deleted by the next run.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{self, Write};

/// The system's allocator, which ends the process where it has no memory.
struct OrExit;

#[global_allocator]
static ALLOCATOR: OrExit = OrExit;

/// Passes on what is not null.
fn granted(at: *mut u8, size: usize) -> *mut u8 {
    if at.is_null() {
        exhausted(size);
    }
    at
}

/// Says what was lacking, without a further request, and ends the process without its destructors.
#[cold]
fn exhausted(size: usize) -> ! {
    _ = writeln!(io::stderr(), "error: out of memory: the system does not give {size} bytes more");
    #[cfg(unix)]
    signal_hook::low_level::exit(1);
    #[cfg(not(unix))]
    std::process::exit(1);
}

// SAFETY: every call is passed on to the system's allocator, and its result is returned as it is or not at all.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the conditions, which are the system allocator's.
        granted(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the conditions, which are the system allocator's.
        granted(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        granted(unsafe { System.realloc(at, layout, size) }, size)
    }
}
