//! The arguments of `average`.

use std::path::PathBuf;

use clap::Args;

use super::{LabelledArgs, MachineArgs};

const EXAMPLES: &str = "\
Examples:
  bitfit-cli average seeds/seed-0/task.safetensors \\
      seeds/seed-1/task.safetensors --out mean.safetensors --data dev.tsv

The files must be of one base model, one task (kind, labels, read-out,
maximum length) and one method that trained the same entries. The header is
that of the first file, without its scores.";

/// The flags of `average`.
#[derive(Debug, Args)]
#[command(
    after_help = EXAMPLES,
    mut_arg("label", |label| label.requires("data")),
    mut_arg("label_separator", |separator| separator.requires("data"))
)]
pub struct AverageArgs {
    /// Task files, two or more
    #[arg(required = true, num_args = 2.., value_name = "FILE", help_heading = "Model and data")]
    pub files: Vec<PathBuf>,

    /// Base model the tasks were trained on, to score them: a directory or a Hugging Face hub id [default: what the
    /// first task file names]
    #[arg(long, value_name = "DIR|HUB-ID", requires = "data", help_heading = "Model and data")]
    pub model: Option<String>,

    /// Labelled texts on which each file and the mean are scored
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub read: LabelledArgs,

    /// Task file to write, whose name ends with .safetensors, or a directory for task.safetensors and a model card
    #[arg(long, value_name = "DIR|FILE", help_heading = "Output")]
    pub out: PathBuf,

    #[command(flatten)]
    pub machine: MachineArgs,
}
