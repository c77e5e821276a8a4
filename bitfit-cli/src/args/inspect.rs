//! The arguments of `inspect`.

use std::path::PathBuf;

use clap::Args;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli inspect intents/task.safetensors

  bitfit-cli inspect intents/task.safetensors --model bert-base-uncased \\
      --svg change.svg

  bitfit-cli inspect seeds/seed-0/task.safetensors \\
      seeds/seed-1/task.safetensors --model bert-base-uncased

With --model, the figures describe the changes from the base model's values,
otherwise the values themselves; for a new head they always describe its
values. The last line on stdout is everything as one JSON object.";

/// The flags of `inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// Task files; several are compared
    #[arg(required = true, value_name = "FILE", help_heading = "Model and data")]
    pub files: Vec<PathBuf>,

    /// Base model the tasks were trained on, to show changes from its values: a directory or a Hugging Face hub id
    /// [default: none, which shows the values themselves]
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: Option<String>,

    /// Draw the heat-map of each file into this file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub svg: Option<PathBuf>,

    /// Print nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}
