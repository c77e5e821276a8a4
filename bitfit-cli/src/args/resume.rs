//! `finetune --resume DIR`: the flags with which the run was begun, as its state has them, and those given in their
//! places.

use std::env;
use std::ffi::OsString;
use std::path::{PathBuf, absolute};

use anyhow::{Context, Result, anyhow, bail};
use bitfit_bert::run::{RunCommand, saved_command};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser};

use super::{Cli, Command, unreadable};

/// Why arguments are refused.
pub enum Refused {
    /// What clap reports, help and version included.
    Usage(clap::Error),
    /// An error of the run that is to be resumed.
    Resume(anyhow::Error),
}

/// Reads the arguments of the process, the name of the program first.
pub fn parse(given: Vec<OsString>) -> Result<Cli, Refused> {
    match (Cli::try_parse_from(&given), directory(&given)) {
        (Ok(cli), None) => Ok(begun_by(&given, cli)),
        (Ok(cli), Some(dir)) => complete(&given, dir, Some(cli)).map_err(Refused::Resume),
        (Err(error), Some(dir)) if error.kind() == ErrorKind::MissingRequiredArgument => {
            complete(&given, dir, None).map_err(Refused::Resume)
        }
        (Err(error), _) => Err(Refused::Usage(error)),
    }
}

/// With the command that is saved with the state of a run.
fn begun_by(given: &[OsString], mut cli: Cli) -> Cli {
    if let Command::Finetune(args) = &mut cli.command {
        args.command = command(given);
    }
    cli
}

/// What is saved with the state of a run; `None` where a later process could not repeat it.
fn command(given: &[OsString]) -> Option<RunCommand> {
    let arguments = given.iter().skip(2).map(|argument| argument.to_str().map(str::to_owned));
    Some(RunCommand { directory: env::current_dir().ok()?, arguments: arguments.collect::<Option<_>>()? })
}

/// The directory of `--resume` in arguments that may not be complete.
fn directory(given: &[OsString]) -> Option<PathBuf> {
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(given).ok()?;
    matches.subcommand_matches("finetune")?.get_one::<PathBuf>("resume").cloned()
}

/// The flags of which each use adds to a list.
const LISTS: [&str; 3] = ["--metric", "--text", "--bias"];

/// The saved arguments without the lists that are given anew.
fn without_lists<'a>(saved: &'a [String], own: &[OsString]) -> impl Iterator<Item = &'a String> {
    let is = |argument: &str, flag: &str| {
        argument.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    };
    let given = |flag: &&str| own.iter().any(|argument| is(&argument.to_string_lossy(), flag));
    let anew: Vec<&str> = LISTS.into_iter().filter(given).collect();
    let mut is_value = false;
    saved.iter().filter(move |argument| {
        let flag = anew.iter().find(|flag| is(argument, flag));
        let is_dropped = is_value || flag.is_some();
        // The value of a flag without an equals sign is the next argument.
        is_value = flag.is_some_and(|flag| *argument == flag);
        !is_dropped
    })
}

/// The arguments of the run in a directory, with those given in their places. `whole` is what was read of these alone,
/// where they have all that is required.
fn complete(given: &[OsString], dir: PathBuf, whole: Option<Cli>) -> Result<Cli> {
    let contradicts = |flag: &str| {
        let with_value = format!("{flag}=");
        given.iter().any(|argument| argument == flag || argument.to_string_lossy().starts_with(&with_value))
    };
    if let Some(flag) = ["--out", "--overwrite"].into_iter().find(|flag| contradicts(flag)) {
        let reason = "contradicts --resume, whose directory is that of the run: leave it out";
        return Err(unreadable(anyhow!("{flag} {reason}")));
    }
    let is_whole = whole.is_some();
    let Some(mut saved) = saved_command(&dir)? else {
        if let Some(whole) = whole {
            return Ok(begun_by(given, whole));
        }
        bail!("--resume {}: its state does not say with which flags it was begun: give all of them", dir.display());
    };
    let dir = absolute(&dir).with_context(|| format!("--resume {}", dir.display()))?;
    let (program, own) = given.split_at(2);
    let kept = without_lists(&saved.arguments, own);
    let all: Vec<OsString> =
        program.iter().cloned().chain(kept.map(OsString::from)).chain(own.iter().cloned()).collect();
    // What is given replaces what was saved; whether it may differ, the state decides.
    let matches = Cli::command().args_override_self(true).try_get_matches_from(&all);
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches)).map_err(|error| {
        let first = error.to_string();
        let first = first.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        anyhow!("--resume {}: the flags with which it was begun and those given: {first}", dir.display())
    })?;
    let Command::Finetune(args) = cli.command else { unreachable!("the subcommand is finetune") };
    // Paths of the run begin where it was begun.
    let moved = env::set_current_dir(&saved.directory).with_context(|| {
        let was = saved.directory.display();
        format!("--resume {}: it was begun in {was}, which is not there: give all its flags", dir.display())
    });
    match moved {
        // They are given, so that paths begin here from now on.
        Err(_) if is_whole => saved = command(&all).unwrap_or(saved),
        moved => moved?,
    }
    let mut args = args.resumed_in(dir);
    args.command = Some(saved);
    Ok(Cli { command: Command::Finetune(args) })
}
