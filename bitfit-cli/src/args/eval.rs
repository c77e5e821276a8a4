//! The arguments of `eval`.

use std::path::PathBuf;

use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::{LabelledArgs, MachineArgs, TaskArgs, values};

const EXAMPLES: &str = "\
Examples:
  bitfit-cli eval --task-file intents/task.safetensors --data test.tsv

  bitfit-cli eval --model ./bert-base-uncased \\
      --task-file stsb/task.safetensors --data STS-B/dev.tsv

The metrics are those the task was trained for. If the task rejects texts
(calibrate --min-accuracy), they are computed over all texts and, with the
accuracy, over those that are answered. The last line on stdout is the result
as one JSON object.";

/// The flags of `eval`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvalArgs {
    #[command(flatten)]
    pub trained: TaskArgs,

    /// Labelled texts; for a task of kind mlm plain texts, which are masked in the same way every time
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub data: PathBuf,

    /// GLUE task that sets the columns and the metrics [default: the task that the task file was trained for, if any]
    ///
    /// It must be of the task file's kind, classes or scores. --text and --label override its columns.
    #[arg(long, value_name = "TASK", value_parser = values::task(), help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: LabelledArgs,

    /// Maximum length of a sequence in tokens; longer texts are cut, or read in several sequences for tasks of kind
    /// tag, span and mlm [default: as in training]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub max_length: Option<usize>,

    /// Write an HTML page: scores, classes, confusions, probabilities, the worst mistakes with their texts, and what
    /// moved in training
    ///
    /// It needs no network and no scripts. The scores of each class are printed too.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub report: Option<PathBuf>,

    #[command(flatten)]
    pub machine: MachineArgs,
}
