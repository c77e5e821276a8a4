//! The arguments of `merge`.

use std::path::PathBuf;

use clap::Args;

use super::TaskArgs;

const EXAMPLES: &str = "\
Examples:
  bitfit-cli merge --task-file intents/task.safetensors --out intents-model

  # if it says \"of transformers\"
  python -c 'from transformers import pipeline
  print(pipeline(\"text-classification\", \"intents-model\")(\"hello\"))'

  # if it says \"of sentence-transformers\", as over all-MiniLM-L6-v2
  python -c 'import json
  from sentence_transformers import SentenceTransformer
  labels = json.loads(json.load(open(\"intents-model/bitfit.json\"))[\"labels\"])
  logits = SentenceTransformer(\"intents-model\").encode([\"hello\"])
  print(labels[logits[0].argmax()])'

The directory has config.json, model.safetensors in F32, the files of the
tokenizer, a model card, and the header of the task file in bitfit.json. A
task over a sentence encoder, whose head reads the mean over the tokens or the
plain first token, becomes a directory of sentence-transformers: encode
returns the logits of the labels, or the score. Classes of transformers open
it without its head, and answer at random. A task with --pair separate has no
such form, and is refused.";

/// The flags of `merge`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MergeArgs {
    #[command(flatten)]
    pub trained: TaskArgs,

    /// Directory to write, which must not exist
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,

    /// Print nothing on stderr but errors
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
}
