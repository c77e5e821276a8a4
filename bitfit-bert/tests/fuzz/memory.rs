//! The memory that a case takes: the system's allocator, with an account for each thread.
//!
//! A case runs on one thread, which is also the only one of its rayon pool, so that targets can run side by side.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write;

thread_local! {
    /// The bytes that this thread asked for and has not given back.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    /// The most of them since the last [`start`].
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Where requests begin to fail, before the machine's memory is full.
    static LIMIT: Cell<isize> = const { Cell::new(isize::MAX) };
}

struct Accounting;

#[global_allocator]
static ALLOCATOR: Accounting = Accounting;

/// Begins an account on this thread, on which more than `limit` bytes end the process.
pub fn start(limit: usize) {
    PEAK.set(LIVE.get());
    LIMIT.set(LIVE.get().saturating_add_unsigned(limit));
}

/// Ends the account; returns the most bytes that were in use at a time beyond those at the start, which were `before`.
pub fn stop(before: isize) -> usize {
    LIMIT.set(isize::MAX);
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

/// The bytes in use by this thread.
pub fn live() -> isize {
    LIVE.get()
}

/// Counts a request for `more` bytes beyond those that are in use; whether it is granted.
fn request(more: usize) -> bool {
    let live = LIVE.get().saturating_add_unsigned(more);
    if live > LIMIT.get() {
        LIMIT.set(isize::MAX);
        _ = writeln!(std::io::stderr(), "fuzz: a case asks for {more} bytes more, far beyond its bound");
        return false;
    }
    LIVE.set(live);
    PEAK.set(PEAK.get().max(live));
    true
}

fn give_back(size: usize) {
    LIVE.set(LIVE.get() - size as isize);
}

// SAFETY: every call that is not refused, which the trait allows, is passed on to the system's allocator; counting does
// not unwind.
unsafe impl GlobalAlloc for Accounting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !request(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the conditions, which are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !request(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the conditions, which are the system allocator's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        give_back(layout.size());
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !request(size) {
            return std::ptr::null_mut();
        }
        give_back(layout.size());
        // SAFETY: the caller keeps the conditions, and `at` came from the system's allocator.
        unsafe { System.realloc(at, layout, size) }
    }
}
