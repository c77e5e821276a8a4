//! `bitfit-cli`: fine-tunes a BERT by its biases, scores it and uses it.
//!
//! ```text
//! arguments (args) -> the library's options -> library calls (finetune, compare, …) -> one JSON object (report)
//! ```
//!
//! Everything is computed in `bitfit-bert`. This is also the one place that prints an error: one line, `error: …`, on
//! stderr. The exit code is 0 for success, 1 for an error, 2 for arguments that cannot be read, and 130 for a run that
//! was stopped.

mod args;
mod average;
mod calibrate;
mod compare;
mod eval;
mod export;
mod extract;
mod finetune;
mod folds;
mod inspect;
mod interrupt;
mod last_resort;
mod memory;
mod merge;
#[cfg(feature = "mpi")]
mod mpi;
mod output;
mod page;
mod plan;
mod predict;
mod progress;
mod ranks;
mod report;
mod reproduce;
mod seeds;
mod setup;
mod several;
mod text;
mod threads;

use std::env;
use std::process::ExitCode;

use args::{Command, Refused};
use ranks::Ranks;

#[global_allocator]
static ALLOCATOR: last_resort::Allocator = last_resort::Allocator;

/// The exit code of a run that was stopped by a signal: what a shell reports for SIGINT.
const STOPPED: u8 = 130;

fn main() -> ExitCode {
    interrupt::survive_file_limit();
    let ranks = match if args::subcommand().as_deref() == Some("finetune") { Ranks::join() } else { Ok(Ranks::alone()) }
    {
        Ok(ranks) => ranks,
        Err(error) => {
            report::error(&error.to_string());
            return ExitCode::FAILURE;
        }
    };
    let cli = match args::parse(env::args_os().collect()) {
        Ok(cli) => cli,
        Err(Refused::Usage(error)) => return ranks.refuse(&error),
        Err(Refused::Resume(error)) => {
            let message = format!("{error:#}");
            return ranks.fail(&error, &message);
        }
    };
    let trains = matches!(cli.command, Command::Finetune(_) | Command::Compare(_) | Command::Reproduce(_));
    let prepared = if trains {
        // It ends at a signal with what it reached.
        last_resort::advise_on_batches();
        Ok(())
    } else {
        interrupt::quit_on_signal()
    };
    let result = prepared.and_then(|()| last_resort::report_truncated_maps()).and_then(|()| match cli.command {
        Command::Finetune(args) => finetune::run(*args, &ranks),
        Command::Compare(args) => compare::run(*args),
        Command::Reproduce(args) => reproduce::run(*args),
        Command::Eval(args) => eval::run(args),
        Command::Calibrate(args) => calibrate::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Export(args) => export::run(&args),
        Command::Merge(args) => merge::run(args),
        Command::Extract(args) => extract::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Average(args) => average::run(*args),
    });
    match result {
        Ok(code) => code,
        // The reader of the output has closed it.
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // The library's messages are complete, their causes included.
            let error = args::name_the_flag(error);
            let message = error.to_string();
            ranks.fail(&error, &message)
        }
    }
}
