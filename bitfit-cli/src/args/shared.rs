//! The flags that the commands which train have in common.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use bitfit_bert::data::Kind;
use bitfit_bert::metrics::Metric;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{ClassWeights, SaveEvery};
use bitfit_bert::train::{Rates, TrainOptions};
use bitfit_core::optim::Schedule;
use clap::Args;

use super::values::{self, Clip, Pair, Pooling};
use super::{MachineArgs, ReadArgs};
use crate::output::{self, Input};
use crate::setup;

/// The base model and the data.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Base model: a directory with config.json, weights and a tokenizer, or a Hugging Face hub id
    #[arg(long, value_name = "DIR|HUB-ID", help_heading = "Model and data")]
    pub model: String,

    /// Labelled texts to train on; with --kind mlm texts, whose labels are ignored
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub train: PathBuf,

    /// Labelled texts to score after each epoch; the best epoch is kept
    #[arg(long, value_name = "FILE", help_heading = "Model and data")]
    pub eval: Option<PathBuf>,

    /// GLUE task that sets the columns, the kind of label, the metrics and the learning rate
    ///
    /// Other flags override what the task sets. The labels must be the task's own.
    #[arg(long, value_name = "TASK", value_parser = values::task(), help_heading = "Model and data")]
    pub task: Option<GlueTask>,

    #[command(flatten)]
    pub read: ReadArgs,

    /// Column of the label, by name or by number from 0 [default: by common names]
    ///
    /// The common names are label, labels, gold_label, intent, category, class and score. With --kind multi-label it
    /// may be a list of columns with commas, each of which holds 0 or 1 and gives its name to a label. Tags are in the
    /// last column of conll, in UPOS of conllu and under tags, ner_tags or pos_tags of jsonl.
    #[arg(long, value_name = "COL", help_heading = "Model and data")]
    pub label: Option<String>,

    /// Character between the labels of a field, where a text has several, such as ; , or | [default: found by looking
    /// at all fields]
    #[arg(
        long, value_name = "CHAR", value_parser = values::separator, allow_hyphen_values = true,
        help_heading = "Model and data"
    )]
    pub label_separator: Option<char>,

    /// Kind of label: a class (classify), a number (regress), any number of labels (multi-label), a tag for each word
    /// (tag), the span of a context that answers a question (span), or none: masked language modelling (mlm) [default:
    /// the task's, otherwise classify]
    ///
    /// Several labels are a JSON list, or one field with a separator, or columns of 0 and 1 (see --label); a text may
    /// have none. Without a task, classes are scored by accuracy and F1 (of the second class where there are two,
    /// otherwise the mean over classes), numbers by Spearman's and Pearson's correlation, several labels by micro F1,
    /// macro F1 and the share of texts whose labels are all right, and tags by accuracy or, where they mark entities
    /// (B-PER, I-PER, O), by the F1 of entities as seqeval computes it; answers are scored by the F1 of their words and
    /// by exact match, as SQuAD's script computes them. The first metric chooses the best epoch.
    ///
    /// mlm adapts a model to plain texts: tokens are masked, and the model's own head for masked language modelling,
    /// whose biases train too, predicts them. Every token of a text is read; a long text is read in several sequences.
    /// The scores are perplexity, by which the best epoch is chosen, and the share of masked tokens that are right.
    #[arg(long, value_name = "KIND", value_parser = values::kind(), help_heading = "Model and data")]
    pub kind: Option<Kind>,

    /// Maximum length of a sequence in tokens, at least 3, for pairs 4; longer texts are cut [default: 128, with --kind
    /// span 384, or less if the model has fewer positions]
    ///
    /// With --kind tag, span and mlm nothing is cut: a longer text is read in several sequences.
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub max_length: Option<usize>,

    /// Number of tokens that two neighbouring sequences of a long context have in common, with --kind span
    /// [default: 128, or a third of --max-length if that is less]
    #[arg(
        long, value_name = "N", value_parser = values::number::<usize>, allow_hyphen_values = true,
        help_heading = "Model and data"
    )]
    pub stride: Option<usize>,

    /// Train on N rows only: the first after shuffling, or the first of the file with --no-shuffle
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Model and data"
    )]
    pub limit: Option<usize>,
}

impl DataArgs {
    /// Whether the kind of task was asked for, and not taken by default.
    pub fn has_chosen_kind(&self) -> bool {
        self.kind.is_some() || self.task.is_some()
    }

    /// Refuses files that do not exist, and those that runs into these directories would overwrite. `further` files are
    /// read beside the data, each with the flag that names it.
    ///
    /// # Errors
    /// One line with the file.
    pub fn check_files(&self, further: &[Input<'_>], directories: &[PathBuf]) -> Result<()> {
        let data = [("--train", Some(&self.train)), ("--eval", self.eval.as_ref())];
        let data = data.into_iter().filter_map(|(flag, path)| Some((flag, &**path?)));
        let data: Vec<Input<'_>> = data.collect();
        data.iter().try_for_each(|(_, path)| setup::check_input(path))?;
        further.iter().try_for_each(|(flag, path)| setup::check_input_of(flag, path))?;
        let written = || directories.iter().flat_map(|directory| output::FILES.map(|name| directory.join(name)));
        let is_written = |path: &Path| written().any(|file| output::is_same_file(&file, path));
        match data.iter().chain(further).find(|(_, path)| is_written(path)) {
            Some((flag, path)) => bail!("{flag} {}: the run would overwrite it; choose another --out", path.display()),
            None => Ok(()),
        }
    }
}

/// How a run goes, whatever trains.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which output of the last layer the head reads
    ///
    /// A sentence encoder, such as all-MiniLM-L6-v2, was trained with its own pooling; what it has learned is lost if
    /// the head reads another. The plan says what is read and why.
    #[arg(long, value_name = "POOLING", value_enum, default_value_t = Pooling::Auto, help_heading = "What trains")]
    pub pooling: Pooling,

    /// How the two texts of a pair go through the model
    ///
    /// joint is how BERT was made to read pairs, each text in the light of the other. separate suits sentence encoders,
    /// whose vectors of two texts are made to be compared.
    #[arg(long, value_name = "PAIR", value_enum, default_value_t = Pair::Joint, help_heading = "What trains")]
    pub pair: Pair,

    /// Probability with which a token is masked, above 0 and at most 1; only with --kind mlm [default: 0.15]
    ///
    /// Of the masked tokens, 80 % become the mask token, 10 % a random one and 10 % stay, drawn anew in each epoch;
    /// each sequence has at least one. The texts of --eval are masked once, in the same way in every run.
    #[arg(
        long, value_name = "P", value_parser = values::number::<f64>, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub mask_probability: Option<f64>,

    /// Mask all tokens of a word together; only with --kind mlm
    #[arg(long, help_heading = "Training")]
    pub whole_word: bool,

    /// Factor of the learning rate from a layer to the one below it, above 0 and at most 1
    ///
    /// Layer l of L has the rate times D^(L-1-l), so that the highest layer has the full rate; the embeddings have the
    /// rate times D^L. The pooler and the head, above all layers, keep theirs. As in ELECTRA and BEiT.
    #[arg(
        long, value_name = "D", default_value_t = Rates::default().layer_decay, value_parser = values::number::<f32>,
        allow_hyphen_values = true, help_heading = "Training"
    )]
    pub layer_decay: f32,

    /// Number of passes over the training set, 1 to 100000
    ///
    /// A few hundred rows need ten or more, a hundred thousand two or three. The paper takes up to 16.
    #[arg(
        long, value_name = "N", default_value_t = TrainOptions::default().epochs, value_parser = values::epochs,
        allow_negative_numbers = true, help_heading = "Training"
    )]
    pub epochs: usize,

    /// Number of texts in a batch, at least 1 [default: 16]
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub batch_size: Option<usize>,

    /// Number of tokens in a batch, instead of texts; a longer text is a batch of its own
    ///
    /// Nothing is padded, so such batches take about the same time and memory for short and long texts.
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true,
        conflicts_with = "batch_size", help_heading = "Training"
    )]
    pub batch_tokens: Option<usize>,

    /// Compute at most N texts of a batch at a time, for less memory [default: the whole batch]
    ///
    /// Gradients are accumulated: a step is still taken with the whole batch, with its loss, its dropout and its
    /// clipping, so a run differs from one without by rounding alone. In the terms of Hugging Face's Trainer, N is
    /// per_device_train_batch_size, and gradient_accumulation_steps is the size of the batch divided by N. A batch of
    /// no more than N texts is computed at once.
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub micro_batch: Option<usize>,

    /// Metrics of the evaluation, a list with commas; the first one chooses what is kept [default: by the task or the
    /// kind of label]
    #[arg(
        long, value_name = "LIST", value_delimiter = ',', value_parser = values::metric(), help_heading = "Training"
    )]
    pub metric: Vec<Metric>,

    /// Evaluate every N steps too, and not only after each epoch; needs --eval
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub eval_every: Option<usize>,

    /// End after N evaluations without a better score; needs --eval
    ///
    /// The task file is that of the best evaluation, as always.
    #[arg(
        long, value_name = "N", value_parser = values::count, allow_negative_numbers = true, help_heading = "Training"
    )]
    pub patience: Option<usize>,

    /// Weights of classes in the loss: balanced, or a file with one line per class: class, tab, weight
    ///
    /// With balanced, all classes count alike however rare they are: a class with n of N rows has the weight N / (C n).
    /// The file may also be a JSON object from class to weight. With --kind classify and tag.
    #[arg(long, value_name = "balanced|FILE", value_parser = values::class_weights(), help_heading = "Training")]
    pub class_weight: Option<ClassWeights>,

    /// Share of each label that is spread over all classes, at least 0 and below 1, such as 0.1
    ///
    /// As label_smoothing of PyTorch. With --kind classify and tag.
    #[arg(
        long, value_name = "SHARE", default_value_t = 0.0, value_parser = values::number::<f32>,
        allow_hyphen_values = true, help_heading = "Training"
    )]
    pub label_smoothing: f32,

    /// Exponent of the focal loss, such as 2, by which rows that are already right count for less; 0 for none
    ///
    /// As in Lin et al., arXiv 1708.02002. With --kind classify and tag.
    #[arg(
        long, value_name = "GAMMA", default_value_t = 0.0, value_parser = values::number::<f32>,
        allow_hyphen_values = true, help_heading = "Training"
    )]
    pub focal: f32,

    /// Put texts of similar lengths into one batch
    ///
    /// Rows are sorted by length and cut into batches, which are then shuffled. This saves no time here, where nothing
    /// is padded, but it reproduces runs of other programs.
    #[arg(long, help_heading = "Training")]
    pub group_by_length: bool,

    /// Course of the learning rate after the warm-up
    #[arg(
        long, value_name = "SCHEDULE", default_value_t = TrainOptions::default().schedule,
        value_parser = values::schedule(), help_heading = "Training"
    )]
    pub schedule: Schedule,

    /// Fraction of the steps over which the learning rate rises from 0, from 0 to 1
    #[arg(
        long, value_name = "FRACTION", default_value_t = TrainOptions::default().warmup,
        value_parser = values::number::<f32>, allow_hyphen_values = true, help_heading = "Training"
    )]
    pub warmup: f32,

    /// Decoupled weight decay, 0 or more
    #[arg(
        long, value_name = "DECAY", default_value_t = TrainOptions::default().weight_decay,
        value_parser = values::number::<f64>, allow_hyphen_values = true, help_heading = "Training"
    )]
    pub weight_decay: f64,

    /// Clip the norm of the gradient to NORM; 0 or none turns clipping off
    #[arg(
        long, value_name = "NORM", default_value = "1.0", value_parser = values::clip, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub clip: Clip,

    /// Dropout probability in place of all of the checkpoint's, at least 0 and below 1 [default: the checkpoint's]
    #[arg(
        long, value_name = "P", value_parser = values::number::<f32>, allow_hyphen_values = true,
        help_heading = "Training"
    )]
    pub dropout: Option<f32>,

    /// Apply dropout below the lowest layer that trains too, as PyTorch does
    ///
    /// By default the frozen layers below it run without dropout, as in prediction, so that their output is computed
    /// once for each text and cached: see --prefix-cache.
    #[arg(long, help_heading = "Training")]
    pub frozen_dropout: bool,

    /// Keep the order of the file in every epoch
    #[arg(long, help_heading = "Training")]
    pub no_shuffle: bool,

    /// Log every N steps, at least 1
    #[arg(
        long, value_name = "N", default_value_t = 50, value_parser = values::count, allow_negative_numbers = true,
        help_heading = "Output"
    )]
    pub log_every: usize,

    /// Also write the log as event files of TensorBoard, OUT/tensorboard
    #[arg(long, help_heading = "Output")]
    pub tensorboard: bool,

    /// Save the state of a run every N steps, or after a time, such as 30s, 10m or 1h; none turns it off
    ///
    /// OUT/state.safetensors is what a run needs to go on with the same bits after it was interrupted: a few hundred
    /// kilobytes for biases, five times the model for --method full. The one before it is kept beside it, and the end
    /// of a run removes both. A state is also saved at Ctrl-C. By time, saving takes less than a hundredth of the run.
    #[arg(
        long, value_name = "N|TIME", default_value = "5m", value_parser = values::save_every,
        allow_hyphen_values = true, help_heading = "Output"
    )]
    pub checkpoint_every: SaveEvery,

    /// Memory for cached outputs of the frozen layers below the lowest that trains, such as 512M or 2G
    ///
    /// K, M, G and T stand for powers of 1024. Outputs that do not fit are computed in every epoch.
    #[arg(
        long, alias = "reuse-memory", value_name = "SIZE", default_value = "1G", value_parser = values::bytes,
        allow_hyphen_values = true, help_heading = "Machine"
    )]
    pub prefix_cache: usize,

    #[command(flatten)]
    pub machine: MachineArgs,
}

impl RunArgs {
    /// The file with the weights of classes.
    pub fn weights_file(&self) -> Option<Input<'_>> {
        match &self.class_weight {
            Some(ClassWeights::File(path)) => Some(("--class-weight", path)),
            _ => None,
        }
    }
}
