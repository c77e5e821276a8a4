//! The arguments of `calibrate`.

use std::path::PathBuf;

use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::{LabelledArgs, MachineArgs, values};

const EXAMPLES: &str = "\
Examples:
  # probabilities that mean what they say
  bitfit-cli calibrate --task-file intents/task.safetensors \\
      --data held-out.tsv --out intents/calibrated.safetensors

  # and no answer where fewer than 95 of 100 would be right
  bitfit-cli calibrate --task-file intents/task.safetensors \\
      --data held-out.tsv --min-accuracy 0.95 \\
      --out intents/careful.safetensors

  # without texts to hold out: the folds answer the rows of training
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --folds 5 --out folds
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --out intents
  bitfit-cli calibrate --task-file intents/task.safetensors \\
      --out-of-fold folds/out_of_fold.jsonl \\
      --out intents/calibrated.safetensors

The data must not be the texts of training, and should not be those that chose
the best epoch. predict answers with what is fitted, and eval scores with the
thresholds of labels. The last line on stdout is the result as one JSON
object.";

const USAGE: &str = "\
bitfit-cli calibrate [OPTIONS] --task-file <FILE> --data <FILE> --out <FILE>
       bitfit-cli calibrate [OPTIONS] --task-file <FILE> --out-of-fold <FILE> --out <FILE>";

/// The flags of `calibrate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct CalibrateArgs {
    /// Base model the task was trained on: a directory or a Hugging Face hub id [default: what the task file names];
    /// with --out-of-fold none is needed
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: Option<String>,

    /// Task file of classes or of several labels, calibrated before or not
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub task_file: PathBuf,

    /// Labelled texts that the task was not trained on
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "out_of_fold",
        conflicts_with = "out_of_fold",
        help_heading = "Model and data"
    )]
    pub data: Option<PathBuf>,

    /// In place of --data: out_of_fold.jsonl of finetune --folds over the rows that the task was trained on
    ///
    /// For every row it has the outputs of a model that was not trained on it, so that no row has to be held out, and
    /// no model is run. The task file must be that of a run over all rows with the same settings; those that a task
    /// file records are checked. A model that was trained on all rows has seen a few more than those of the folds.
    #[arg(
        long, value_name = "FILE",
        conflicts_with_all = [
            "model", "task", "text", "format", "delimiter", "header", "no_header", "label", "label_separator",
            "precision", "device", "threads",
        ],
        help_heading = "Model and data"
    )]
    pub out_of_fold: Option<PathBuf>,

    /// GLUE task that sets the columns [default: the task that the task file was trained for, if any]
    #[arg(long, value_name = "TASK", value_parser = values::task(), help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: LabelledArgs,

    /// Give no class where the probability is so low that fewer than this share of the answers would be right, above 0
    /// and at most 1; for tasks with one class per text
    ///
    /// predict then answers with an empty label, in JSON null. eval scores the answered texts too, beside all texts,
    /// and says how many are rejected.
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
