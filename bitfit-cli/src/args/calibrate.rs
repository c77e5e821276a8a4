//! The arguments of `calibrate`.

use std::path::PathBuf;

use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::{MachineArgs, ReadArgs, values};

const EXAMPLES: &str = "\
Examples:
  # probabilities that mean what they say
  bitfit-cli calibrate --task-file intents/task.safetensors \\
      --data held-out.tsv --out intents/calibrated.safetensors

  # and no answer where fewer than 95 of 100 would be right
  bitfit-cli calibrate --task-file intents/task.safetensors \\
      --data held-out.tsv --min-accuracy 0.95 \\
      --out intents/careful.safetensors

The data must be other texts than those of training, and better not those that
chose the best epoch. predict answers by what is fitted, and eval scores by
the thresholds of labels. The last line on stdout is the result as one JSON
object.";

/// The flags of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct CalibrateArgs {
    /// Base model the task was trained on: a directory or a Hugging Face hub id [default: what the task file names]
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: Option<String>,

    /// Task file of classes or of several labels, calibrated before or not
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub task_file: PathBuf,

    /// Labelled texts that the task was not trained on
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub data: PathBuf,

    /// GLUE task that sets the columns [default: the task that the task file was trained for, if any]
    #[arg(long, value_name = "TASK", value_parser = values::task(), help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: ReadArgs,

    /// Column of the label, by name or by number from 0 [default: by common names]
    ///
    /// For a task of several labels it may be a list of columns with commas, one of 0 and 1 for each label.
    #[arg(long, value_name = "COL", help_heading = "Model and data")]
    pub label: Option<String>,

    /// What separates the labels of a field, where a text has several: one character, such as ; , or | [default: the
    /// one under which the task has every label]
    #[arg(
        long, value_name = "CHAR", value_parser = values::separator, allow_hyphen_values = true,
        help_heading = "Model and data"
    )]
    pub label_separator: Option<char>,

    /// Give no class where the probability is so low that fewer than this share of the answers would be right, above 0
    /// and at most 1; for tasks of one class a text
    ///
    /// predict then answers with an empty label, in JSON null. eval scores every text nevertheless.
    #[arg(
        long, value_name = "SHARE", value_parser = values::number::<f64>, allow_hyphen_values = true,
        help_heading = "What is fitted"
    )]
    pub min_accuracy: Option<f64>,

    /// The calibrated task file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: PathBuf,

    /// Replace the file of --out, which may be that of --task-file
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    #[command(flatten)]
    pub machine: MachineArgs,
}
