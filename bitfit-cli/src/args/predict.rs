//! The arguments of `predict`.

use std::path::PathBuf;

use bitfit_bert::presets::GlueTask;
use clap::Args;

use super::values::{self, OutputFormat};
use super::{MachineArgs, ReadArgs, TaskArgs};

const EXAMPLES: &str = "\
Examples:
  echo 'where is my parcel?' | \\
      bitfit-cli predict --task-file intents/task.safetensors

  bitfit-cli predict --task-file intents/task.safetensors --input mails.csv \\
      --text body --output-format jsonl --out mails.jsonl

Without --input, texts are read from stdin, one per line, with a tab between
the two texts of a pair, and each is answered as soon as it is read; JSON and
tables there need --format. There is one answer for each row of the input, in
the same order.

text:   label<TAB>probability<TAB>text, or score<TAB>text; for a pair, a tab
        and the second text follow. The label of a text that a calibrated
        task rejects is empty, and null in jsonl.
        Several labels: those with a probability of at least 0.5, or of at
        least the threshold of a calibrated task, and their probabilities,
        each list joined by semicolons; both are empty for a text without
        labels.
        Tags: a line word<TAB>tag for each word, and an empty line after
        each text.
        Answers to questions: answer<TAB>probability<TAB>question; the
        answer is empty if there is none.
        Masks: for each mask of the text a line with the five most probable
        tokens, each as token<TAB>probability, and an empty line after each
        text.
        Tabs and line breaks inside a text become spaces, and other control
        characters escapes such as \\u{1b}.
jsonl:  {\"text\", \"pair\", \"label\", \"probability\",
        \"probabilities\": {label: p}}, or {\"text\", \"pair\", \"score\"}, or
        {\"text\", \"pair\", \"labels\": [label], \"probabilities\": {label: p}},
        or {\"text\", \"words\": [word], \"tags\": [tag], \"probabilities\": [p],
        \"entities\": [{\"type\", \"start\", \"end\", \"text\"}]}, or {\"text\",
        \"pair\", \"id\", \"answer\", \"start\", \"end\", \"probability\"}, or
        {\"text\", \"masks\": [[{\"token\", \"probability\"}]]}. pair and id are
        there only if the input has them, entities only if tags mark some.
        start and end count characters from 0; without an answer they are
        null.
squad:  one JSON object of all answers, {id: answer}.

A task of kind mlm fills masks: each text must hold the tokenizer's mask
token, such as [MASK]. Tokens are written as the vocabulary has them.";

/// The flags of `predict`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PredictArgs {
    #[command(flatten)]
    pub trained: TaskArgs,

    /// Texts, with or without labels; - is stdin
    #[arg(long, value_name = "FILE", default_value = "-", help_heading = "Model and data")]
    pub input: PathBuf,

    /// GLUE task that sets the columns of the texts [default: the task that the task file was trained for, if any]
    ///
    /// --text overrides its columns. Plain lines have no columns.
    #[arg(long, value_name = "TASK", value_parser = values::task(), help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: ReadArgs,

    /// Maximum length of a sequence in tokens; longer texts are cut, or read in several sequences for tasks of kind tag
    /// and span [default: as in training]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub max_length: Option<usize>,

    /// Format of the answers
    #[arg(
        long, value_name = "FORMAT", value_enum, default_value_t = OutputFormat::Text, help_heading = "Output"
    )]
    pub output_format: OutputFormat,

    /// Put the answers into a submission to GLUE's server: a zip archive, whose other tables are kept
    ///
    /// The task must have been trained with --task on GLUE's own files. The table has the name and the labels that the
    /// server expects. MNLI's test sets are told apart by the name of the input: test_matched.tsv, test_mismatched.tsv
    /// or diagnostic.tsv.
    #[arg(
        long, value_name = "ZIP", conflicts_with_all = ["out", "output_format"], help_heading = "Output"
    )]
    pub glue: Option<PathBuf>,

    /// File for the answers, which replaces an earlier one when it is complete [default: stdout]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub out: Option<PathBuf>,

    #[command(flatten)]
    pub machine: MachineArgs,
}
