//! The signals that end a program: Ctrl-C (SIGINT), SIGTERM, and SIGHUP of a terminal that closes. A run ends at the first with
//! what was reached and quits at the second; `predict --out` quits at the first. Neither leaves half a file.
//!
//! A signal that is ignored when the program begins, as under `nohup` or in a script's background, stays ignored.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};
use bitfit_bert::files::AtomicFile;

use crate::{STOPPED, report};

/// Whether somebody asked for an end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, catches the first signal. Before, one ends the program at once, as ever.
    pub fn install(quiet: bool) -> Result<Self> {
        let interrupt = Self::default();
        let asked = Arc::clone(&interrupt.0);
        on_signal(move || {
            if asked.swap(true, Ordering::Relaxed) {
                quit();
            }
            if !quiet {
                report::say(format_args!("stopping after this step, and saving; once more quits at once"));
            }
        })?;
        Ok(interrupt)
    }

    /// Whether the first signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// From now on, the first signal quits at once, even while input is waited for, and takes unfinished files away.
pub fn quit_on_signal() -> Result<()> {
    on_signal(|| quit())
}

fn quit() -> ! {
    AtomicFile::abandon_all();
    process::exit(STOPPED.into())
}

fn on_signal(handler: impl FnMut() + Send + 'static) -> Result<()> {
    // The crate catches all three, whatever they did before.
    let ignored = dispositions::ignored();
    ctrlc::set_handler(handler).map_err(|error| anyhow!("no handler for Ctrl-C: {error}"))?;
    dispositions::ignore(&ignored);
    Ok(())
}

/// What the process does with a signal.
#[cfg(unix)]
mod dispositions {
    use std::ffi::c_int;
    use std::mem::MaybeUninit;
    use std::ptr;

    /// Those of the three signals that are ignored.
    pub fn ignored() -> Vec<c_int> {
        [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].into_iter().filter(|&signal| is_ignored(signal)).collect()
    }

    fn is_ignored(signal: c_int) -> bool {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: without a new action the call changes nothing, and writes the one in force to `action`, which is writable.
        let failed = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0;
        // SAFETY: a `sigaction` is integers and a function that may be none, so all zeros is one, whether or not the call
        // has filled it.
        !failed && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
    }

    /// Ignores these signals from now on.
    pub fn ignore(signals: &[c_int]) {
        for &signal in signals {
            // SAFETY: no function is installed that could run at the wrong moment.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
}

/// There are no dispositions to keep.
#[cfg(not(unix))]
mod dispositions {
    pub fn ignored() {}

    pub fn ignore(_: &()) {}
}
