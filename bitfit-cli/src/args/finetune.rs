//! The arguments of `finetune`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Result, bail};
use bitfit_bert::data::Kind;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::FinetuneOptions;
use bitfit_bert::train::{BatchSize, TrainOptions};
use bitfit_bert::{BiasSelection, Setting, heads};
use bitfit_core::optim::Schedule;
use clap::Args;

use super::values::{self, Biases, Clip};
use super::{MachineArgs, ReadArgs};

const EXAMPLES: &str = "\
Examples:
  # the intents of a support desk; both files have the header text<TAB>label
  bitfit-cli finetune --model bert-base-uncased --train train.tsv \\
      --eval dev.tsv --out intents

  # sentence similarity, from GLUE's own files: the task brings columns,
  # metrics and rate
  bitfit-cli finetune --model bert-base-uncased --task stsb \\
      --train STS-B/train.tsv --eval STS-B/dev.tsv --out stsb

  # two kinds of bias in the upper half only, from a CSV file with columns of
  # other names
  bitfit-cli finetune --model ./my-bert --train mails.csv --text body \\
      --label folder --bias query,intermediate --layers 6-11 --epochs 8 \\
      --out folders

OUT/task.safetensors is the task: what was trained, under Hugging Face's
names. It is written after every epoch that is the best so far, or after every
epoch without --eval. OUT/metrics.jsonl is the log. The last line on stdout is
the result as one JSON object.

Ctrl-C ends the run after the step at hand and saves what was reached; a
second one quits at once, with what the last epoch saved.";

/// What trains beside the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The biases.
    Bitfit,
    /// Nothing.
    Frozen,
}

impl Method {
    /// The name a user writes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bitfit => "bitfit",
            Self::Frozen => "frozen",
        }
    }
}

/// Train a task on labelled texts and write its task file
///
/// Reads a pre-trained BERT and labelled texts, trains the biases and a fresh head, keeps the best epoch by the
/// evaluation set, and writes a task file that eval and predict put onto the same base model.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct FinetuneArgs {
    /// The base model: a directory with config.json, model.safetensors and tokenizer, or a Hugging Face hub id
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: String,

    /// The labelled texts to train on
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub train: PathBuf,

    /// Labelled texts to score after each epoch; the best epoch is kept
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub eval: Option<PathBuf>,

    /// A GLUE task: its columns, kind, metrics and learning rate
    ///
    /// One of cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, wnli. Every other flag goes before what the task implies.
    #[arg(long, value_name = "TASK", value_parser = values::task, help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: ReadArgs,

    /// The column of the label: by name, or by number from 0 [default: recognised]
    ///
    /// Recognised in a header are label, labels, gold_label, intent, category, class and score.
    #[arg(long, value_name = "COL", help_heading = "Model and data")]
    pub label: Option<String>,

    /// What a label is: a class (classify) or a number (regress) [default: the task's, otherwise classify]
    ///
    /// Without a task, classes are scored by accuracy and F1 (of the second class where there are two, otherwise the
    /// mean over classes), numbers by Spearman's and Pearson's correlation. The first metric chooses the best epoch.
    #[arg(long, value_name = "KIND", value_parser = values::kind, help_heading = "Model and data")]
    pub kind: Option<Kind>,

    /// The longest sequence in tokens, at least 3, for pairs 4; what is longer is cut [default: 128, or the model's]
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Model and data")]
    pub max_length: Option<usize>,

    /// Train on N rows only: the first of the shuffled order, of the file with --no-shuffle
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Model and data")]
    pub limit: Option<usize>,

    /// What trains beside the head: the biases (bitfit) or nothing (frozen)
    #[arg(long, value_name = "METHOD", default_value = "bitfit", value_parser = values::method, help_heading = "What trains")]
    pub method: Method,

    /// Which biases: a list of kinds, or all [default: all]
    ///
    /// The kinds are query, key, value, attention-output, attention-layernorm, intermediate, output, output-layernorm,
    /// embeddings-layernorm and pooler. query,intermediate alone come close to all in the paper. The key's is counted
    /// and saved, but its gradient is exactly zero, so it never moves.
    #[arg(long, value_name = "LIST", value_parser = values::biases, help_heading = "What trains")]
    pub bias: Option<Biases>,

    /// Biases of these layers only: one, such as 5, or a range, such as 6-11; they count from 0
    ///
    /// The pooler, above all layers, trains its bias too. That of the embeddings' norm, below them, then trains only
    /// where --bias names it.
    #[arg(long, value_name = "LAYERS", value_parser = values::layers, allow_hyphen_values = true, help_heading = "What trains")]
    pub layers: Option<RangeInclusive<usize>>,

    /// Take the head's first weights from a safetensors file: classifier.weight and classifier.bias
    ///
    /// And those of the pooler, bert.pooler.dense.weight and .bias, if the file has them and the base model does not.
    /// Whatever else is in the file is left aside.
    #[arg(long, value_name = "FILE", help_heading = "What trains")]
    pub init_head: Option<PathBuf>,

    /// The learning rate at its highest, above 0 [default: the task's, otherwise 1e-3]
    ///
    /// Biases need a rate some twenty times that of full fine-tuning. The paper tries 1e-4, 4e-4, 7e-4 and 1e-3.
    #[arg(long, value_name = "RATE", value_parser = values::number::<f32>, allow_hyphen_values = true, help_heading = "Training")]
    pub lr: Option<f32>,

    /// How often each row is seen, 1 to 100000
    ///
    /// A few hundred rows want ten or more, a hundred thousand two or three. The paper takes up to 16.
    #[arg(
        long, value_name = "N", default_value_t = TrainOptions::default().epochs, value_parser = values::epochs,
        allow_negative_numbers = true, help_heading = "Training"
    )]
    pub epochs: usize,

    /// Texts of a step, at least 1 [default: 16]
    #[arg(long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training")]
    pub batch_size: Option<usize>,

    /// Tokens of a step instead: as many texts as fit, a longer one alone
    ///
    /// Nothing is padded, so a step of so many tokens takes the same time and memory whatever the texts' lengths.
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, conflicts_with = "batch_size",
        help_heading = "Training"
    )]
    pub batch_tokens: Option<usize>,

    /// Put texts of like lengths into one step
    ///
    /// Rows are sorted by length, cut into batches, and the batches shuffled. It saves nothing here, where nothing is
    /// padded, but it is how others train.
    #[arg(long, help_heading = "Training")]
    pub group_by_length: bool,

    /// How the learning rate goes on after warm-up: constant, linear or cosine
    #[arg(
        long, value_name = "SCHEDULE", default_value_t = TrainOptions::default().schedule, value_parser = values::schedule,
        help_heading = "Training"
    )]
    pub schedule: Schedule,

    /// The share of all steps in which the learning rate rises from 0, from 0 to 1
    #[arg(
        long, value_name = "SHARE", default_value_t = TrainOptions::default().warmup, value_parser = values::number::<f32>,
        allow_hyphen_values = true, help_heading = "Training"
    )]
    pub warmup: f32,

    /// Decoupled weight decay, 0 or more
    #[arg(
        long, value_name = "DECAY", default_value_t = TrainOptions::default().weight_decay, value_parser = values::number::<f64>,
        allow_hyphen_values = true, help_heading = "Training"
    )]
    pub weight_decay: f64,

    /// Clip the gradient to this norm; 0 or none leaves it
    #[arg(
        long, value_name = "NORM", default_value = "1.0", value_parser = values::clip, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub clip: Clip,

    /// Every dropout probability, from 0 to below 1 [default: the checkpoint's]
    #[arg(long, value_name = "P", value_parser = values::number::<f32>, allow_hyphen_values = true, help_heading = "Training")]
    pub dropout: Option<f32>,

    /// Draw dropout in the layers below the lowest one that trains too, as PyTorch does
    ///
    /// By default they run as in prediction: nothing changes there, so they are computed once for each text and kept.
    #[arg(long, help_heading = "Training")]
    pub frozen_dropout: bool,

    /// The seed of the row order, dropout and the fresh head; the same seed gives the same task file, bit by bit
    #[arg(
        long, value_name = "N", default_value_t = TrainOptions::default().seed, value_parser = values::seed,
        allow_negative_numbers = true, help_heading = "Training"
    )]
    pub seed: u64,

    /// Keep the file's order in every epoch
    #[arg(long, help_heading = "Training")]
    pub no_shuffle: bool,

    /// The directory for task.safetensors and metrics.jsonl; made if it is not there
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub out: PathBuf,

    /// Log every N steps, at least 1
    #[arg(
        long, value_name = "N", default_value_t = 50, value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Output"
    )]
    pub log_every: usize,

    /// Memory for what frozen lower layers make of the texts, such as 512M or 2G; what does not fit is computed anew
    #[arg(
        long, value_name = "SIZE", default_value = "1G", value_parser = values::bytes, allow_hyphen_values = true,
        help_heading = "Machine"
    )]
    pub reuse_memory: usize,

    #[command(flatten)]
    pub machine: MachineArgs,
}

impl FinetuneArgs {
    /// The library's options, validated as far as they can be without model and data.
    ///
    /// # Errors
    /// For flags that contradict each other and for a value out of its range.
    pub fn options(&self) -> Result<FinetuneOptions> {
        let preset = self.task.map(GlueTask::preset);
        if let (Some(task), Some(kind)) = (self.task, self.kind)
            && task.preset().kind != kind
        {
            bail!("--kind {kind} contradicts --task {task}, which is of kind {}", task.preset().kind);
        }
        let kind = self.kind.or(preset.map(|preset| preset.kind)).unwrap_or(Kind::Classify);
        let metrics = preset.map_or_else(|| heads::default_metrics(kind), |preset| preset.metrics.to_vec());
        let defaults = TrainOptions::default();
        let training = TrainOptions {
            learning_rate: self.lr.or(preset.map(|preset| preset.learning_rate)).unwrap_or(defaults.learning_rate),
            epochs: self.epochs,
            batch_size: match (self.batch_size, self.batch_tokens) {
                (_, Some(tokens)) => BatchSize::Tokens(tokens),
                (Some(size), None) => BatchSize::Sequences(size),
                (None, None) => defaults.batch_size,
            },
            group_by_length: self.group_by_length,
            schedule: self.schedule,
            warmup: self.warmup,
            weight_decay: self.weight_decay,
            max_grad_norm: self.clip.0,
            seed: self.seed,
            shuffle: !self.no_shuffle,
            frozen_dropout: self.frozen_dropout,
            prefix_cache_bytes: self.reuse_memory,
            limit: self.limit,
        };
        let options = FinetuneOptions {
            model: self.model.clone(),
            train: self.train.clone(),
            eval: self.eval.clone(),
            read: self.read.options(self.task, self.label.as_deref(), true),
            kind,
            metrics,
            method: self.method()?,
            training,
            device: self.machine.device.to_string(),
            precision: self.machine.precision.name().into(),
            max_length: self.max_length,
            dropout: self.dropout,
            init_head: self.init_head.clone(),
            log_every: self.log_every,
            out: self.out.clone(),
        };
        options.validate()?;
        Ok(options)
    }

    fn method(&self) -> Result<bitfit_bert::Method> {
        let biases = match (self.method, &self.bias, &self.layers) {
            (Method::Frozen, Some(_), _) => bail!("--bias chooses what trains, but with --method frozen no bias does"),
            (Method::Frozen, _, Some(_)) => {
                bail!("--layers chooses what trains, but with --method frozen no layer does")
            }
            (Method::Frozen, None, None) => return Ok(bitfit_bert::Method::Frozen),
            (Method::Bitfit, None | Some(Biases::All), _) => BiasSelection::all(),
            (Method::Bitfit, Some(Biases::Of(kinds)), _) => BiasSelection::of(kinds.iter().copied()),
        };
        Ok(bitfit_bert::Method::BitFit(match &self.layers {
            Some(layers) => biases.in_layers(layers.clone()),
            None => biases,
        }))
    }
}

/// The flag by which a setting of the library is set; `None` for one that no flag sets.
pub fn flag_of(setting: Setting) -> Option<&'static str> {
    Some(match setting {
        Setting::LearningRate => "--lr",
        Setting::Epochs => "--epochs",
        Setting::BatchSize => "--batch-size",
        Setting::BatchTokens => "--batch-tokens",
        Setting::Warmup => "--warmup",
        Setting::WeightDecay => "--weight-decay",
        Setting::MaxGradNorm => "--clip",
        Setting::Limit => "--limit",
        Setting::Dropout => "--dropout",
        Setting::MaxLength => "--max-length",
        Setting::LogEvery => "--log-every",
        Setting::Layers => "--layers",
        _ => return None,
    })
}
