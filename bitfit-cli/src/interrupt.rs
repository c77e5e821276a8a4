//! Ctrl-C and SIGTERM: the first asks for an end, the second quits.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};

use crate::{STOPPED, report};

/// Whether somebody asked for an end.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From now on, catches the first signal. Before, one ends the program at once, as ever.
    pub fn install(quiet: bool) -> Result<Self> {
        let interrupt = Self::default();
        let asked = Arc::clone(&interrupt.0);
        let handler = move || {
            if asked.swap(true, Ordering::Relaxed) {
                process::exit(STOPPED.into());
            }
            if !quiet {
                report::say(format_args!("stopping after this step, and saving; once more quits at once"));
            }
        };
        ctrlc::set_handler(handler).map_err(|error| anyhow!("no handler for Ctrl-C: {error}"))?;
        Ok(interrupt)
    }

    /// Whether the first signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
