//! The arguments: raw flags as clap reads them, and from each command's flags one validated value of the library.

mod average;
mod calibrate;
mod compare;
mod eval;
mod export;
mod extract;
mod finetune;
mod finetune_options;
mod inspect;
mod lists;
mod merge;
mod precision;
mod predict;
mod read;
mod reproduce;
mod resume;
mod shared;
mod sweep;
mod values;

use std::env;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::anyhow;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};

pub use average::AverageArgs;
pub use calibrate::CalibrateArgs;
pub use compare::CompareArgs;
pub use eval::EvalArgs;
pub use export::ExportArgs;
pub use extract::ExtractArgs;
pub use finetune::FinetuneArgs;
pub use inspect::InspectArgs;
pub use merge::MergeArgs;
pub use precision::Precision;
pub use predict::PredictArgs;
pub use read::{LabelledArgs, ReadArgs};
pub use reproduce::ReproduceArgs;
pub use resume::{Refused, parse};
pub use shared::DataArgs;
pub use sweep::Part;
pub use values::{Device, MAX_THREADS, OutputFormat, Seeds, name_of, threads};

use crate::report;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --eval dev.tsv --out intents
  bitfit-cli eval --task-file intents/task.safetensors --data test.tsv
  echo 'where is my parcel?' | \\
      bitfit-cli predict --task-file intents/task.safetensors

The exit code is 0 for success, 1 for an error, 2 for a command line that
cannot be read, and 130 for a run that was stopped by a signal.

See bitfit-cli COMMAND --help for the flags of a command.";

/// The exit code for a command line that cannot be read.
const UNREADABLE: u8 = 2;

/// Fine-tune a BERT by training only its biases (BitFit)
///
/// BitFit trains the bias terms of a BERT, 0.1 % of its parameters, and a small head for the task. The result is a task
/// file of some hundred kilobytes. The base model is not changed, and any number of tasks can share it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true, max_term_width = 100)]
pub struct Cli {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a task on labelled texts and write its task file
    ///
    /// Reads a pre-trained BERT and labelled texts, trains the biases and a new head, keeps the epoch that scores best
    /// on the evaluation set, and writes a task file, which eval and predict apply to the same base model.
    Finetune(Box<FinetuneArgs>),
    /// Compare methods on labelled texts, each with several seeds
    ///
    /// Trains a task by each method with each seed; the base model is opened once and the data is read once. Writes the
    /// scores with their deviations, the number of scalars trained and the size of the task file as a table and a
    /// chart, and seconds and memory to a file of their own. Called again, it goes on where it stopped.
    Compare(Box<CompareArgs>),
    /// Reproduce a table of the BitFit paper
    ///
    /// Runs the methods of a table on the tasks whose files are in a directory, with the learning rates that the paper
    /// searches and several seeds, and writes the table with the paper's figures beside it. Called again, it goes on
    /// where it stopped.
    Reproduce(Box<ReproduceArgs>),
    /// Score a task file on labelled texts
    ///
    /// The base model must be the one that the task was trained on; another one is refused.
    Eval(EvalArgs),
    /// Fit the probabilities and thresholds of a task file to labelled texts
    ///
    /// Finds the temperature under which the true classes are most likely, and thresholds: for a task with one class
    /// per text, the probability below which no class is given; for several labels, the threshold of each with the
    /// greatest F1.
    Calibrate(CalibrateArgs),
    /// Classify or score texts with a task file
    ///
    /// The base model must be the one that the task was trained on; another one is refused.
    Predict(PredictArgs),
    /// Write the model of a task file as an ONNX file
    ///
    /// The base model with what the task trained in its place, and the head, for ONNX Runtime and other programs that
    /// read the format. The base model must be the one that the task was trained on; another one is refused.
    Export(ExportArgs),
    /// Write a task and its base model as one directory for transformers
    ///
    /// The directory loads with from_pretrained and predicts what the task file predicts. Where the head reads what no
    /// class of transformers reads, it is a directory of sentence-transformers.
    Merge(MergeArgs),
    /// Make a task file of a fine-tuned checkpoint and its base model
    ///
    /// Compares every tensor of the two, puts what moved and the head into a task file, and says what moved that a task
    /// file cannot hold. From a directory that merge wrote, it makes the task file that was merged, byte by byte.
    Extract(ExtractArgs),
    /// Show what is in task files: contents, norms, a heat-map, and how several differ
    ///
    /// The heat-map shows the mean absolute value of each tensor, or with --model its mean absolute difference from the
    /// base model, by kind and layer.
    Inspect(InspectArgs),
    /// Average the task files of several seeds into one
    ///
    /// All must be of one base model, one task and one method. With --data, each of them and their mean are scored.
    Average(Box<AverageArgs>),
}

/// A task file and its base model.
#[derive(Debug, Args)]
pub struct TaskArgs {
    /// Base model the task was trained on: a directory or a Hugging Face hub id [default: what the task file names]
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: Option<String>,

    /// Task file that finetune wrote
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub task_file: PathBuf,
}

/// Where to compute, and how much to print.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Number type of products with frozen weights, and of activations saved for backward
    ///
    /// f32 agrees with PyTorch's default to rounding. bf16 takes about 0.6 of the memory; a step takes about 0.6 of the
    /// time on an AMD CPU with avx512_bf16, and a quarter to a third on an Intel CPU with AMX; on other CPUs it is
    /// slower than f32. Scores differ by less than between two seeds, so auto chooses it where it is faster. int8
    /// rounds frozen weights, and what they are multiplied with, to 8 bits: it takes a fifth less memory than bf16, and
    /// two thirds of its time with VNNI, five sixths with AMX. A GPU older than Ampere has no instructions for bf16,
    /// and auto is f32 there.
    #[arg(
        long,
        value_name = "PRECISION",
        value_enum,
        default_value_t = precision::PrecisionChoice::Auto,
        help_heading = "Machine"
    )]
    precision: precision::PrecisionChoice,

    /// Where to compute: cpu, cuda, or cuda:N for GPU number N
    ///
    /// A GPU needs NVIDIA's driver, NVRTC and cuBLASLt, which are loaded at run time; the first run compiles the
    /// kernels. Dropout masks are the same on every device.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = values::device, help_heading = "Machine")]
    pub device: Device,

    /// The compute capability of the GPU, once it is open.
    #[arg(skip)]
    pub capability: OnceLock<u32>,

    /// Number of threads, 1 to 1024 [default: RAYON_NUM_THREADS if it is set, otherwise one for each core]
    ///
    /// Results do not depend on it.
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Machine")]
    pub threads: Option<usize>,

    /// Print nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

/// The name of the subcommand of this process.
pub fn subcommand() -> Option<String> {
    env::args_os().nth(1)?.into_string().ok()
}

/// Names an invalid setting of the library by the flag of the process's subcommand that sets it.
pub fn name_the_flag(error: anyhow::Error) -> anyhow::Error {
    let command = Cli::command();
    let command = subcommand().and_then(|name| command.find_subcommand(name));
    let takes = |flag: &String| {
        let is_it =
            |argument: &clap::Arg| argument.get_long().is_some_and(|long| flag.strip_prefix("--") == Some(long));
        command.is_none_or(|command| command.get_arguments().any(is_it))
    };
    // Where several are compared, as by --methods, the flag has their list.
    let flag_of = |setting| {
        let flag = finetune_options::flag_of(setting)?;
        [flag.to_owned(), format!("{flag}s")].into_iter().find(takes)
    };
    match error.downcast_ref() {
        Some(bitfit_bert::Error::Setting { setting, value, reason }) => match flag_of(*setting) {
            Some(flag) => anyhow!("{flag} {value}: {reason}"),
            None => error,
        },
        Some(known) => {
            let mut flags: Vec<_> = known.settings().into_iter().filter_map(flag_of).collect();
            if flags == ["--header"] {
                flags.push("--no-header".into());
            }
            if flags.is_empty() { error } else { anyhow!("{error} ({})", flags.join(" or ")) }
        }
        None => error,
    }
}

/// What is wrong with a command line by itself, whatever the files, the model and the machine are.
#[derive(Debug)]
pub struct Unreadable(String);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// For `map_err`: an error that the command line alone decides, so that it ends as one that clap reports.
pub fn unreadable(error: anyhow::Error) -> anyhow::Error {
    anyhow::Error::msg(Unreadable(name_the_flag(error).to_string()))
}

/// The exit code for an error.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Unreadable>() { ExitCode::from(UNREADABLE) } else { ExitCode::FAILURE }
}

/// Prints what clap reports: help and version, one line for a value that a flag does not accept, and clap's message
/// with the usage for an invalid command line.
pub fn refuse(error: &clap::Error) -> ExitCode {
    match invalid_value(error) {
        Some(message) => report::error(&message),
        // A failure to print cannot be reported.
        None => _ = error.print(),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(UNREADABLE))
}

/// The line for a value that a flag does not accept: the flag, the value, and what is expected.
fn invalid_value(error: &clap::Error) -> Option<String> {
    let context = |kind| error.get(kind).map(ToString::to_string);
    // "--lr <RATE>" is the flag and the name of its value.
    let argument = context(ContextKind::InvalidArg)?;
    let flag = argument.split(' ').next()?;
    let expected = match (error.kind(), error.source(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::ValueValidation, Some(reason), _) => reason.to_string(),
        (ErrorKind::InvalidValue, _, Some(ContextValue::Strings(names))) if !names.is_empty() => {
            format!("expected {}", one_of(names))
        }
        (ErrorKind::InvalidValue, ..) => "expected a value".into(),
        _ => return None,
    };
    let nearest =
        context(ContextKind::SuggestedValue).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
    let value = context(ContextKind::InvalidValue).filter(|value| !value.is_empty());
    let value = value.map(|value| format!(" {value}")).unwrap_or_default();
    Some(format!("{flag}{value}: {expected}{nearest}"))
}

/// Names for a message: "a", "a or b", "a, b or c".
fn one_of(names: &[String]) -> String {
    match names {
        [names @ .., last] if !names.is_empty() => format!("{} or {last}", names.join(", ")),
        names => names.concat(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn examples_fit_a_terminal_of_80_columns() {
        let command = Cli::command();
        for command in std::iter::once(&command).chain(command.get_subcommands()) {
            let text = command.get_after_help().unwrap().to_string();
            for line in text.lines() {
                assert!(line.chars().count() <= 78, "{}: {line}", command.get_name());
            }
        }
    }

    #[test]
    fn every_flag_has_a_help_and_every_flag_of_finetune_a_heading() {
        for command in Cli::command().get_subcommands() {
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some(), "{} {}", command.get_name(), arg.get_id());
                assert!(arg.get_help_heading().is_some(), "{} {}", command.get_name(), arg.get_id());
            }
        }
    }
}
