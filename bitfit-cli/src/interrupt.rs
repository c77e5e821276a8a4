//! The signals that end a program: SIGINT (Ctrl-C), SIGTERM, and SIGHUP when its terminal closes. A training run ends
//! at the first signal and keeps its results, and quits at the second; any other command quits at the first. Neither
//! leaves a partial file or directory.
//!
//! A signal that is ignored when the program begins, as under `nohup` or in a script's background, stays ignored. On
//! systems other than Unix the program ends at once, as it does without a handler.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use bitfit_bert::files::abandon_all;

use crate::{STOPPED, report};

/// Whether a signal asked the run to end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    is_set: Arc<AtomicBool>,
    run_is_over: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches the first signal from now on. A signal before this call ends the program at once.
    pub fn install(quiet: bool) -> Result<Self> {
        let interrupt = Self::default();
        let Self { is_set, run_is_over } = interrupt.clone();
        on_signal(move || {
            if is_set.swap(true, Ordering::Relaxed) || run_is_over.load(Ordering::Relaxed) {
                quit();
            }
            if !quiet {
                report::say(format_args!("stopping after this step, then saving; another signal quits immediately"));
            }
        })?;
        Ok(interrupt)
    }

    /// Whether the first signal came.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Relaxed)
    }

    /// Makes the first signal from now on end the process: what is left to do does not ask whether one came.
    pub fn end_of_run(&self) {
        self.run_is_over.store(true, Ordering::Relaxed);
    }
}

/// Makes the first signal from now on end the process immediately, even while it waits for input, after removing what
/// is not finished.
pub fn quit_on_signal() -> Result<()> {
    on_signal(|| quit())
}

/// Makes a file that would exceed the limit on sizes (`ulimit -f`) an error of the write, like a full disk, rather than
/// a signal that ends the program. Where the handler cannot be installed, the signal does.
pub fn survive_file_limit() {
    #[cfg(unix)]
    {
        // The signal is caught rather than ignored, and so is not passed on to other programs. Whether it came does not
        // matter, since the write says so.
        _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
    }
}

fn quit() -> ! {
    abandon_all();
    process::exit(STOPPED.into())
}

/// Runs `handler` at every signal, on a separate thread, where it may do what a signal handler must not.
#[cfg(unix)]
fn on_signal(mut handler: impl FnMut() + Send + 'static) -> Result<()> {
    let refuse = |error| anyhow::anyhow!("cannot catch the signals that end a program: {error}");
    let mut signals = signal_hook::iterator::Signals::new(dispositions::not_ignored()).map_err(refuse)?;
    let watch = move || signals.forever().for_each(|_| handler());
    crate::threads::spawn("signals", watch).map_err(refuse)
}

#[cfg(not(unix))]
fn on_signal(_: impl FnMut() + Send + 'static) -> Result<()> {
    Ok(())
}

/// The signals that the process was started to ignore.
#[cfg(unix)]
mod dispositions {
    use std::ffi::c_int;
    use std::fs;

    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

    /// The terminating signals that the process was not started to ignore. If this cannot be determined, SIGHUP counts
    /// as ignored: without a handler it ends a program unless it runs under `nohup`.
    pub fn not_ignored() -> Vec<c_int> {
        let status = fs::read_to_string("/proc/self/status").ok();
        match status.as_deref().and_then(ignored) {
            Some(ignored) => [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|s| ignored >> (s - 1) & 1 == 0).collect(),
            None => vec![SIGINT, SIGTERM],
        }
    }

    /// The mask of ignored signals in Linux's status of a process; bit n stands for signal n + 1. (Asking sigaction(2)
    /// would be portable and need unsafe code.)
    fn ignored(status: &str) -> Option<u64> {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_mask_is_read_from_the_status() {
            let status = "Name:\tbitfit-cli\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\nSigCgt:\t0\n";
            assert_eq!(ignored(status), Some(0x1001));
            for unknown in ["", "SigIgn:\n", "SigIgn:\tall\n", "SigBlk:\t0000000000000002\n"] {
                assert_eq!(ignored(unknown), None, "{unknown:?}");
            }
        }
    }
}
