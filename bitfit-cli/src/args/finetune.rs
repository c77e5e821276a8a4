//! The arguments of `finetune`.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bitfit_bert::run::{EarlierRun, HeadStart, MethodChoice, RunCommand};
use bitfit_bert::train::TrainOptions;
use clap::Args;

use super::shared::{DataArgs, RunArgs};
use super::values::{self, Bias, GroupRates, Ranking, Seeds};

const EXAMPLES: &str = "\
Examples:
  # the intents of a support desk; both files have the header text<TAB>label
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --eval dev.tsv --out intents

  # sentence similarity, from GLUE's own files: the task sets columns,
  # metrics and learning rate
  bitfit-cli finetune --model bert-base-uncased --task stsb \\
      --train STS-B/train.tsv --eval STS-B/dev.tsv --out stsb

  # two kinds of bias in the upper half only, from a CSV file with columns of
  # other names
  bitfit-cli finetune --model ./my-bert --train mails.csv --text body \\
      --label folder --bias query,intermediate --layers 6-11 --epochs 8 \\
      --out folders

  # first adapt the model to texts without labels, then train on the result
  bitfit-cli finetune --model bert-base-uncased --kind mlm \\
      --train mails.txt --eval more.txt --out mlm --save-base mail-bert
  bitfit-cli finetune --model ./mail-bert --train train.tsv --out intents

  # go on with a run that was interrupted
  bitfit-cli finetune --resume intents

  # on four processes, with the bits of one (a build with --features mpi)
  mpirun -n 4 bitfit-cli finetune --model bert-base-uncased \\
      --train train.tsv --eval dev.tsv --out intents

OUT/task.safetensors is the task file: everything that was trained, under
Hugging Face's names. It is written after every epoch that is the best so far,
or after every epoch without --eval. OUT/metrics.jsonl is the log of the
steps. The last line on stdout is the result as one JSON object.

Ctrl-C ends the run after the current step and saves what it reached. A second
Ctrl-C ends it at once; the task file is then that of the last epoch saved.
Either way, and after a crash, finetune --resume OUT goes on from the last
state (see --checkpoint-every).";

const USAGE: &str = "\
bitfit-cli finetune [OPTIONS] --model <DIR|HUB-ID> --train <FILE> --out <DIR>
       bitfit-cli finetune [OPTIONS] --resume <DIR>";

/// The flags of `finetune`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, override_usage = USAGE)]
pub struct FinetuneArgs {
    #[command(flatten)]
    pub data: DataArgs,

    /// What trains besides the head [default: bitfit]
    ///
    /// bitfit: biases, all or those of --bias and --layers. full: every parameter. layernorm: the scale and the shift
    /// of every LayerNorm. columns:K, rows:K: the first K columns or rows of each matrix. random-uniform: as many
    /// scalars of the matrices as bitfit trains, chosen by the seed. random-row-col: a row or a column of each matrix,
    /// and the scale of every LayerNorm. frozen: the head alone. probe: the head alone, fitted to its optimum in one
    /// pass over the texts, without steps and so without a log. Joined by +, as in bitfit+columns:3, the union trains.
    #[arg(long, value_name = "METHOD", help_heading = "What trains")]
    pub method: Option<MethodChoice>,

    /// Train the entries that a safetensors file names by index lists; with --method, the union of both
    ///
    /// For a parameter NAME the file has NAME.rows, NAME.columns or NAME.elements, a list of integers, or NAME.all.
    #[arg(long, value_name = "FILE", help_heading = "What trains")]
    pub mask: Option<PathBuf>,

    /// Train a part of what the method trains, chosen by a short run of 64 steps; needs --budget
    ///
    /// Biases are chosen as whole tensors, that is by kind and layer, and matrices entry by entry. What was chosen is
    /// written to OUT/mask.safetensors, for --mask.
    #[arg(long, value_name = "RANKING", value_enum, requires = "budget", help_heading = "What trains")]
    pub select: Option<Ranking>,

    /// Maximum number of scalars that --select chooses, without those of the head
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, requires = "select",
        help_heading = "What trains"
    )]
    pub budget: Option<usize>,

    /// Kinds of bias to train, a list with commas [default: all]
    ///
    /// In the paper, query,intermediate comes close to all. Key biases are counted and saved, but their gradient is
    /// exactly zero, so they never change.
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = values::bias(), help_heading = "What trains"
    )]
    pub bias: Vec<Bias>,

    /// Layers whose biases train, counted from 0: one, such as 5, or a range, such as 6-11 [default: all]
    ///
    /// The pooler, which is above all layers, trains its bias too. The LayerNorm of the embeddings, which is below
    /// them, then trains its bias only if --bias names it.
    #[arg(
        long, value_name = "LAYERS", value_parser = values::layers, allow_hyphen_values = true,
        help_heading = "What trains"
    )]
    pub layers: Option<RangeInclusive<usize>>,

    /// First values of the head: probe, random, or a safetensors FILE [default: probe over cls or mean, else random]
    ///
    /// A probe is the best linear head over the frozen base, fitted in one pass over the texts. Where the head has a
    /// layer of its own, as in models other than BERT, a run can begin with a probe only under --pooling cls or mean. A
    /// file is a task file or the weights of a fine-tuned model: it must hold the layers of the head, such as
    /// classifier.weight and classifier.bias. A pooler that the head reads is taken from it if the base model has none.
    /// Other tensors are ignored.
    #[arg(long, value_name = "probe|random|FILE", value_parser = values::head_start(), help_heading = "What trains")]
    pub init_head: Option<HeadStart>,

    /// Fit no probe, neither for comparison nor for the head's first values
    ///
    /// With --eval, a probe is fitted first and scored: a run that does not beat it is not worth its time. The probe
    /// costs one pass over the texts.
    #[arg(long, help_heading = "What trains")]
    pub no_probe: bool,

    /// Peak learning rate, above 0, or those of groups, such as head=1e-3,bias=4e-3 [default: the task's, otherwise
    /// 1e-3; 2e-5 where whole weights train]
    ///
    /// Biases need about twenty times the rate of full fine-tuning. The paper tries 1e-4, 4e-4, 7e-4 and 1e-3. The
    /// groups are head (what the task adds), bias, layernorm (scales and shifts; without a rate of their own, shifts
    /// have that of bias and scales that of weight) and weight (matrices and embeddings). The others have the default,
    /// or a number before the groups: 1e-3,head=5e-3. A group in which nothing trains is refused.
    #[arg(
        long, value_name = "RATE|GROUP=RATE", value_parser = values::group_rates, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub lr: Option<GroupRates>,

    /// Seed of the row order, of dropout, of masks and of the new head
    ///
    /// The same seed gives the same task file, byte for byte, for any number of threads.
    #[arg(
        long, value_name = "N", default_value_t = TrainOptions::default().seed, value_parser = values::seed,
        allow_negative_numbers = true, conflicts_with = "seeds", help_heading = "Training"
    )]
    pub seed: u64,

    /// Several seeds, one run each: a range, such as 0-4, or a list, such as 0,3,7; needs --eval
    ///
    /// The base model is opened once and the data is read once. Each run has a directory of its own, OUT/seed-N, and is
    /// the same as with --seed N. The scores of all and their mean and standard deviation are printed, and
    /// OUT/task.safetensors is a copy of the best.
    #[arg(long, value_name = "SEEDS", value_parser = values::seeds, help_heading = "Training")]
    pub seeds: Option<Seeds>,

    /// Cross-validation: cut the rows of --train into N folds; for each fold, train on the others and predict it
    ///
    /// Every fold has the same share of each class; the seed decides which rows. Each run has a directory of its own,
    /// OUT/fold-N, and keeps the epoch that is best on its fold, which flatters its score a little.
    /// OUT/out_of_fold.jsonl has an answer to each row by a model that was not trained on it; calibrate --out-of-fold
    /// fits a task that was trained on all rows to these answers. OUT/suspects.tsv has the rows whose label is likely
    /// to be wrong, the least likely label first.
    #[arg(
        long, value_name = "N", value_parser = values::folds, allow_negative_numbers = true,
        conflicts_with_all = ["seeds", "eval", "report", "save_base"], help_heading = "Training"
    )]
    pub folds: Option<usize>,

    /// Cut each batch into N logical shards, at most 1024, whose gradients are added in a fixed order [default: 16
    /// under mpirun, otherwise none]
    ///
    /// Under mpirun, each rank of a run computes some of the shards: the task file has the same bits for any number of
    /// ranks, and for one process with the same number of shards. The shards have about the same number of tokens each.
    /// A run with another number of shards, or without, differs by rounding alone.
    #[arg(
        long, value_name = "N", value_parser = values::shards, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub shards: Option<usize>,

    /// Directory for task.safetensors and the log, metrics.jsonl; it is created if it does not exist
    #[arg(long, value_name = "DIR", required_unless_present = "resume", help_heading = "Output")]
    out: Option<PathBuf>,

    /// Go on with the run of this directory, which was interrupted, to the same task file as if it had not been
    ///
    /// No other flag is needed: those of the run are in its state. Flags that are given nevertheless must agree with
    /// them, except for the number of threads and what is shown; paths are relative to the directory in which the run
    /// was begun. The base model, the data and the device must be the same too, and what differs is named.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    resume: Option<PathBuf>,

    /// Replace the files of an earlier run in --out; without it such a directory is refused
    #[arg(long, help_heading = "Output")]
    overwrite: bool,

    /// Write an HTML page at the end: the course of the run, what moved, and with --eval the scores of each class,
    /// confusions, probabilities and the worst mistakes with their texts
    ///
    /// It needs no network and no scripts. For one of several seeds, give its task file to eval --report.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds", help_heading = "Output")]
    pub report: Option<PathBuf>,

    /// New directory for a copy of the base model with the trained biases; only with --kind mlm
    ///
    /// It holds config.json, the tokenizer's files and model.safetensors, which --model and from_pretrained of
    /// transformers open. It is written at the end of the run, as a whole, and must not exist before.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub save_base: Option<PathBuf>,

    #[command(flatten)]
    pub run: RunArgs,

    /// The command that the run is resumed with.
    #[arg(skip)]
    pub command: Option<RunCommand>,
}

impl FinetuneArgs {
    /// The directory that the run writes into.
    pub fn out(&self) -> &Path {
        self.resume.as_deref().or(self.out.as_deref()).expect("one of the two is required")
    }

    /// What is done with the files in it.
    pub fn earlier(&self) -> EarlierRun {
        match (&self.resume, self.overwrite) {
            (Some(_), _) => EarlierRun::Resume,
            (None, true) => EarlierRun::Replace,
            (None, false) => EarlierRun::Refuse,
        }
    }

    /// With the directory of the run that these arguments were saved by.
    pub(super) fn resumed_in(self: Box<Self>, dir: PathBuf) -> Box<Self> {
        Box::new(Self { out: None, overwrite: false, resume: Some(dir), ..*self })
    }
}
