//! Calls into other crates in which a panic becomes an error instead of ending the process: into the tokenizers crate,
//! and into the decoder of zstd in Parquet files.
//!
//! Known causes of panics are checked before (`tokenize/check.rs`). This is the last resort for unknown ones, such as
//! an untested combination of a normalizer and a text.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside [`guarded`], so that its panics are reported as errors and print nothing.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The result of `call`, or the message of the panic that ended it.
///
/// The panic hook stays silent for it on this thread alone: panics of other threads, and of this one outside such a
/// call, reach the hook that was installed before. `call` must not leave inconsistent state after a panic.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    result.map_err(|payload| message(payload.as_ref()).to_owned())
}

/// The message of a panic.
fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        assert_eq!(guarded(|| 3), Ok(3));
        assert_eq!(guarded(|| panic!("a slip")), Err::<(), _>("a slip".into()));
        let text = String::from("formatted");
        assert!(guarded(|| panic!("{text}")).is_err_and(|message| message == "formatted"));
        assert!(guarded(|| panic::panic_any(7)).is_err_and(|message| message == "no message"));
    }

    #[test]
    fn only_guarded_panics_are_silent() {
        static REPORTED: AtomicUsize = AtomicUsize::new(0);
        // Installs the silent hook first, so that the counting one is in front of it and sees every panic.
        assert!(guarded(|| ()).is_ok());
        let quiet = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some("counted") && !GUARDED.get() {
                REPORTED.fetch_add(1, Ordering::SeqCst);
            } else {
                quiet(info);
            }
        }));
        let outside = thread::Builder::new().name("counted".into()).spawn(|| {
            assert!(guarded(|| panic!("inside")).is_err());
            panic!("outside");
        });
        assert!(outside.unwrap().join().is_err());
        assert_eq!(REPORTED.load(Ordering::SeqCst), 1);
    }
}
