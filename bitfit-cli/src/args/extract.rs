//! The arguments of `extract`.

use std::path::PathBuf;

use bitfit_bert::artefacts::TunedTask;
use clap::Args;

use super::values;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli extract --model bert-base-uncased --checkpoint ./fine-tuned \\
      --out intents

  bitfit-cli extract --model bert-base-uncased --checkpoint ./nli-model \\
      --pairs --max-length 256 --out nli/task.safetensors

What moved decides the method that the task file names: biases are bitfit,
LayerNorms layernorm, most of the parameters full, and anything else mask,
with the rows, columns or elements that moved. What moved and no task file
holds is listed under not_held.";

/// The flags of `extract`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExtractArgs {
    /// Base model that the checkpoint was fine-tuned from: a directory or a Hugging Face hub id
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: String,

    /// Fine-tuned checkpoint: a directory that merge or transformers wrote
    ///
    /// Its class is one of transformers' for sequence classification, token classification, question answering or
    /// masked language modelling.
    #[arg(long, value_name = "DIR", help_heading = "Model and data")]
    pub checkpoint: PathBuf,

    /// The texts of the task are pairs, which a checkpoint of transformers does not say
    #[arg(long, help_heading = "Model and data")]
    pub pairs: bool,

    /// A question of the task may have no answer, which a checkpoint of transformers does not say
    #[arg(long, help_heading = "Model and data")]
    pub unanswerable: bool,

    /// Maximum length of a sequence in tokens, which a checkpoint of transformers does not say [default: 128, for
    /// questions 384, or less if the model has fewer positions]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub max_length: Option<usize>,

    /// Task file to write, whose name ends with .safetensors, or a directory for task.safetensors and a model card
    #[arg(long, value_name = "DIR|FILE", help_heading = "Output")]
    pub out: PathBuf,

    /// Print nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}

impl ExtractArgs {
    /// What the checkpoint does not say.
    pub fn task(&self) -> TunedTask {
        TunedTask {
            model: self.model.clone(),
            pairs: self.pairs,
            unanswerable: self.unanswerable,
            max_length: self.max_length,
        }
    }
}
