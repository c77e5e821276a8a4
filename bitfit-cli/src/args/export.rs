//! The arguments of `export`.

use std::path::PathBuf;

use clap::Args;

use super::values;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli export --task-file intents/task.safetensors --out intents.onnx

The inputs are input_ids, attention_mask and, where the architecture has
them, token_type_ids: int64 of [batch, sequence], both extents free. The
mask is 1 for a token and 0 for padding. The output is logits; for answers to
questions the outputs are start_logits and end_logits. Where the two texts of
a pair are encoded apart, the names of the second text's inputs end in _pair.
The labels are in the model's metadata under id2label, other facts of the task
under bitfit.NAME.

The last line on stdout is the result as one JSON object.";

/// The flags of `export`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Base model the task was trained on: a directory or a Hugging Face hub id [default: what the task file names]
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model")]
    pub model: Option<String>,

    /// Task file that finetune wrote
    #[arg(long, value_name = "FILE", help_heading = "Model")]
    pub task_file: PathBuf,

    /// ONNX file to write; a model of 2 GiB or more, which one such file cannot hold, has its weights in FILE.data
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: PathBuf,

    /// Replace a file that is there already
    #[arg(long, help_heading = "Output")]
    pub overwrite: bool,

    /// Number of threads, 1 to 1024 [default: RAYON_NUM_THREADS if it is set, otherwise one for each core]
    #[arg(long, value_name = "N", value_parser = values::threads, help_heading = "Machine")]
    pub threads: Option<usize>,

    /// Print nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}
