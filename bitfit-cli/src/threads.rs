//! Starts threads, or says that there is no room for one.
//!
//! The standard library returns an error where the system has no memory for a thread's stack, but a thread that runs
//! needs a little more, for the stack of its signal handlers, and without that the process is aborted. So a thread is
//! started only where there is room for both, and one after another: the next is not begun before this one has what it
//! takes.

use std::io;
use std::sync::mpsc;
use std::thread::Builder;

/// The size of a thread's stack in bytes, the standard library's own.
const STACK: usize = 2 << 20;

/// What a thread takes beside its stack, generously: the stack of signal handlers, guard pages, the thread's variables.
const BESIDE: usize = 1 << 20;

/// Starts a thread and waits until it runs.
///
/// # Errors
/// [`io::ErrorKind::OutOfMemory`] where there is no room for it, and the system's error where it refuses the thread.
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    check_room(STACK + BESIDE)?;
    let (running, runs) = mpsc::sync_channel(1);
    let thread = move || {
        // The allocator reserves address space for a thread when the thread first allocates: now, and not between the
        // next thread's check and its start.
        drop(std::hint::black_box(Box::new(0_u8)));
        _ = running.send(());
        work();
    };
    Builder::new().name(name.into()).stack_size(STACK).spawn(thread)?;
    _ = runs.recv();
    Ok(())
}

/// Starts the threads that compute, for all of the process.
///
/// # Errors
/// One line that says why they cannot be started.
pub fn start_pool(threads: usize) -> Result<(), rayon::ThreadPoolBuildError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.spawn_handler(|thread| spawn("compute", || thread.run())).build_global()
}

/// Whether this many bytes of address space could be had: an error if not.
#[cfg(unix)]
fn check_room(bytes: usize) -> io::Result<()> {
    // SAFETY: a new anonymous mapping at an address that the system chooses touches no memory that exists; it is not
    // accessible, and nothing refers to it.
    let room = unsafe {
        let (access, kind) = (libc::PROT_NONE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0)
    };
    if room == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the mapping of above, whole, and nothing refers to it.
    unsafe { libc::munmap(room, bytes) };
    Ok(())
}

#[cfg(not(unix))]
fn check_room(_: usize) -> io::Result<()> {
    Ok(())
}
