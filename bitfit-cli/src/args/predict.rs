//! The arguments of `predict`.

use std::path::PathBuf;

use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::{MachineArgs, ReadArgs, values};

const EXAMPLES: &str = "\
Examples:
  echo 'where is my parcel?' | \\
      bitfit-cli predict --task-file intents/task.safetensors

  bitfit-cli predict --task-file intents/task.safetensors --input mails.csv \\
      --text body --output-format jsonl --out mails.jsonl

Without --input, texts are read from stdin, one a line, with a tab between the
two of a pair; each is answered as it comes. Answers line up with the rows of
the input.

text:   label<TAB>probability<TAB>text, or score<TAB>text; a tab and the
        second text of a pair follow. A tab or line break inside a text is
        written as a space.
jsonl:  {\"text\", \"pair\", \"label\", \"probability\",
        \"probabilities\": {label: p}}, or {\"text\", \"pair\", \"score\"};
        pair only where there is one.";

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Fields between tabs.
    Text,
    /// One JSON object a line.
    Jsonl,
}

/// Classify or score texts with a task file
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    /// The base model the task was trained on: a directory or a hub id [default: what the task file names]
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: Option<String>,

    /// The task file that finetune wrote
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub task_file: PathBuf,

    /// The texts; labels need not be there. - is stdin
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Model and data")]
    pub input: PathBuf,

    /// A GLUE task: the columns of its texts [default: the one the task file was trained for]
    ///
    /// One of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli. --text goes before its columns; plain lines have
    /// none.
    #[arg(long, value_name = "TASK", value_parser = values::task, help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: ReadArgs,

    /// The longest sequence in tokens; what is longer is cut [default: as in training]
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Model and data")]
    pub max_length: Option<usize>,

    /// How to write the answers: text or jsonl
    #[arg(
        long, value_name = "FORMAT", default_value = "text", value_parser = values::output_format, help_heading = "Output"
    )]
    pub output_format: OutputFormat,

    /// Write the answers to a file, which is there only when it is whole [default: stdout]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub machine: MachineArgs,
}
