//! What no caller can handle where it happens: memory that cannot be had, a mapped file that another program cuts
//! short, and a stdout that was closed before the program began. Each ends the program with one line and the exit code
//! of an error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, but memory that cannot be had ends the program with one line and not with an abort.
///
/// A vector that grows and a library's table have no way to report it. The memory of a GPU is not taken from here, and
/// the library reports its end as an error.
pub struct Allocator;

/// Whether the command has batches whose size can be chosen.
static HAS_BATCHES: AtomicBool = AtomicBool::new(false);

/// Makes the line on memory that cannot be had advise smaller batches.
pub fn advise_on_batches() {
    HAS_BATCHES.store(true, Ordering::Relaxed);
}

// SAFETY: every call is passed on to the system's allocator as it came, and what that returns is returned unless it is
// null, in which case the call does not return.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of `System`.
        or_quit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_quit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_quit(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn or_quit(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        // Nothing may be allocated here, so the line is put together in place.
        let mut line = [0; 160];
        let mut rest = &mut line[..];
        let advice =
            if HAS_BATCHES.load(Ordering::Relaxed) { "; try a smaller --batch-size or --max-length" } else { "" };
        _ = writeln!(rest, "error: out of memory ({size} bytes more were needed){advice}");
        let len = 160 - rest.len();
        quit(&line[..len]);
    }
    memory
}

/// Writes a line to stderr and ends the program, without anything that could allocate, lock or run a destructor: this
/// is called from a signal handler and from the allocator.
#[cfg(unix)]
fn quit(line: &[u8]) -> ! {
    // SAFETY: `write` reads `line.len()` bytes of `line`, and like `_exit` it may be called at any time.
    unsafe {
        libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), line.len());
        libc::_exit(1)
    }
}

#[cfg(not(unix))]
fn quit(line: &[u8]) -> ! {
    _ = std::io::stderr().write_all(line);
    std::process::exit(1)
}

/// From now on, a page of a mapped weight file that is gone, because another program has cut the file short, ends the
/// program with one line. Without this the system ends it by a signal, without a word.
#[cfg(unix)]
pub fn report_truncated_maps() -> anyhow::Result<()> {
    const LINE: &[u8] =
        b"error: a file of the base model was cut short while it was in use; fetch it again, then run again\n";
    // SAFETY: the handler does nothing but what a signal handler may do (see `quit`), and does not return.
    unsafe { signal_hook::low_level::register(signal_hook::consts::SIGBUS, || quit(LINE)) }
        .map_err(|error| anyhow::anyhow!("cannot watch for mapped files that are cut short: {error}"))?;
    Ok(())
}

#[cfg(not(unix))]
pub fn report_truncated_maps() -> anyhow::Result<()> {
    Ok(())
}

/// Refuses a stdout that was closed when the program began (`>&-`), where the command prints its result.
pub fn check_stdout() -> anyhow::Result<()> {
    if at_start::stdout_was_closed() {
        anyhow::bail!("stdout is closed, but the result is printed there; give >/dev/null if it is not wanted");
    }
    Ok(())
}

/// Rust opens /dev/null in the place of a closed stdout before `main`, so that writing to it seems to succeed. So this
/// is looked up earlier, where the system has a way to.
#[cfg(target_os = "linux")]
mod at_start {
    use std::sync::atomic::{AtomicBool, Ordering};

    static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

    extern "C" fn look() {
        // SAFETY: F_GETFD reads the flags of a file descriptor, and fails where it is closed.
        let is_closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
        STDOUT_WAS_CLOSED.store(is_closed, Ordering::Relaxed);
    }

    // SAFETY: the loader calls the functions of this section before `main`, on the only thread. `look` needs nothing
    // that is set up later: it makes one system call and stores to an atomic.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static AT_START: extern "C" fn() = look;

    pub fn stdout_was_closed() -> bool {
        STDOUT_WAS_CLOSED.load(Ordering::Relaxed)
    }
}

#[cfg(not(target_os = "linux"))]
mod at_start {
    pub fn stdout_was_closed() -> bool {
        false
    }
}
