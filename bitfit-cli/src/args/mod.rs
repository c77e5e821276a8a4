//! The arguments: raw flags as clap reads them, and from each command's one validated value of the library.

mod eval;
mod finetune;
mod predict;
mod values;

use std::error::Error as _;
use std::process::ExitCode;

use anyhow::anyhow;
use bitfit_bert::data::{Columns, Format, Header, ReadOptions};
use bitfit_bert::presets::GlueTask;
use clap::error::{ContextKind, ErrorKind};
use clap::{Args, Parser, Subcommand};

pub use eval::EvalArgs;
pub use finetune::{FinetuneArgs, Method};
pub use predict::{OutputFormat, PredictArgs};
pub use values::{Device, Precision};

use crate::report;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --eval dev.tsv --out intents
  bitfit-cli eval --task-file intents/task.safetensors --data test.tsv
  echo 'where is my parcel?' | \\
      bitfit-cli predict --task-file intents/task.safetensors

Each command explains itself: bitfit-cli finetune --help
The exit code is 0, 1 for an error, 2 for wrong arguments, 130 for a run that
was stopped.";

/// Fine-tune a BERT by training only its biases (BitFit)
///
/// BitFit trains the bias terms of a BERT, 0.1 % of its parameters, and a small head for the task. What comes out is a
/// task file of some hundred kilobytes; the base model stays as it is, and any number of tasks can share it.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train a task on labelled texts and write its task file
    Finetune(Box<FinetuneArgs>),
    /// Score a task file on labelled texts
    Eval(EvalArgs),
    /// Classify or score texts with a task file
    Predict(PredictArgs),
}

/// How to read a data file.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The column of the text, or the two of a pair: by name, or by number from 0 [default: recognised]
    ///
    /// Recognised in a header are text, sentence, sentence1 and sentence2, question1 and question2, premise and
    /// hypothesis, question and sentence.
    #[arg(long, value_name = "COL[,COL2]", value_delimiter = ',', help_heading = "Model and data")]
    pub text: Vec<String>,

    /// How rows are written: tsv, csv, jsonl or lines [default: by the file's extension]
    ///
    /// tsv has no quoting, as in GLUE's files; csv is RFC 4180; jsonl is one object a line; lines is one text a line,
    /// with a tab between the two of a pair and no labels.
    #[arg(long, value_name = "FORMAT", value_parser = values::format, help_heading = "Model and data")]
    pub format: Option<Format>,

    /// The first row names the columns, even where they are chosen by number
    #[arg(long, conflicts_with = "no_header", help_heading = "Model and data")]
    pub header: bool,

    /// The first row is data; choose the columns by number
    #[arg(long, help_heading = "Model and data")]
    pub no_header: bool,
}

impl ReadArgs {
    /// As the library takes them, with the command's `--task` and `--label`.
    pub fn options(&self, task: Option<GlueTask>, label: Option<&str>, require_labels: bool) -> ReadOptions {
        let header = match (self.header, self.no_header) {
            (true, _) => Header::Yes,
            (_, true) => Header::No,
            _ => Header::Auto,
        };
        let text = self.text.iter().map(|column| column.as_str().into()).collect();
        let columns = Columns { text, label: label.map(Into::into), header };
        ReadOptions { format: self.format, task, columns, require_labels }
    }
}

/// Where to compute, and how much to say.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// The type of the products with frozen weights and of what is kept between forward and backward
    ///
    /// f32 is the precision of PyTorch's default and follows it to the last digits. With bf16 a step takes about 0.6 of
    /// the memory, and of the time on a CPU that has avx512_bf16, a third of the time on one that has AMX; of its speed
    /// on a GPU nothing is known yet. Sums, statistics, the residual stream and everything that trains stay f32, and
    /// scores are the same within the noise of a seed. tf32, on a GPU only, is f32 whose products take 10 bits of each
    /// factor's mantissa.
    #[arg(long, value_name = "f32|tf32|bf16", default_value = "f32", value_parser = values::precision, help_heading = "Machine")]
    pub precision: Precision,

    /// Where to compute: cpu, cuda, or cuda:N for GPU number N
    ///
    /// A GPU needs NVIDIA's driver, NVRTC and cuBLASLt, which are looked for when it is asked for; the first run
    /// compiles the kernels. Dropout draws the same masks on every device.
    #[arg(long, value_name = "DEVICE", default_value = "cpu", value_parser = values::device, help_heading = "Machine")]
    pub device: Device,

    /// Threads, 1 to 1024; they change the speed and no result [default: all cores]
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Machine")]
    pub threads: Option<usize>,

    /// Say nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

/// Says a setting that cannot be by the flag that sets it.
pub fn name_the_flag(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(bitfit_bert::Error::Setting { setting, value, reason }) => match finetune::flag_of(*setting) {
            Some(flag) => anyhow!("{flag} {value}: {reason}"),
            None => error,
        },
        _ => error,
    }
}

/// Prints what clap has to say: help and version, one line for a value that cannot be, and clap's own words, with the
/// usage, for a command line that it cannot make sense of.
pub fn refuse(error: &clap::Error) -> ExitCode {
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
    let value = error.get(ContextKind::InvalidValue).map(ToString::to_string);
    match (error.kind(), argument, value, error.source()) {
        (ErrorKind::ValueValidation, Some(argument), Some(value), Some(reason)) => {
            // "--lr <RATE>" is the flag and what it takes.
            let flag = argument.split(' ').next().unwrap_or_default();
            report::say(format_args!("error: {}", report::one_line(&format!("{flag} {value}: {reason}"))));
        }
        // Nobody is left to tell if this fails.
        _ => _ = error.print(),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
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
