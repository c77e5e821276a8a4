//! From the flags of `finetune` to the library's options, and from its settings back to flags.

use std::path::PathBuf;

use anyhow::{Result, bail};
use bitfit_bert::data::Kind;
use bitfit_bert::heads::MaskingOptions;
use bitfit_bert::presets::GlueTask;
use bitfit_bert::run::{
    EarlierRun, FinetuneOptions, HeadStart, LossOptions, ProbeUse, check_folds, check_seed_runs, fold_directory,
    seed_directory,
};
use bitfit_bert::train::{BatchSize, Rates, Select, TrainOptions};
use bitfit_bert::{BiasSelection, MaskFile, Setting};

use super::shared::{DataArgs, RunArgs};
use super::values::{GroupRates, Seeds};
use super::{FinetuneArgs, name_of, unreadable};
use crate::output::Input;
use crate::setup;

impl FinetuneArgs {
    /// The library's options, validated as far as they can be without model and data.
    ///
    /// # Errors
    /// For a mask that cannot be read; [`Unreadable`](super::Unreadable) for flags that contradict each other and for a
    /// value out of its range.
    pub fn options(&self) -> Result<FinetuneOptions> {
        let mask = self.read_mask()?;
        self.options_with(mask).map_err(unreadable)
    }

    fn options_with(&self, mask: Option<bitfit_bert::Method>) -> Result<FinetuneOptions> {
        self.check_evaluation()?;
        let mut options = options(&self.data, &self.run)?;
        options.method = self.method_with(mask)?;
        options.select = self.select.zip(self.budget).map(|(by, budget)| Select { by: by.into(), budget });
        options.probe = self.probe()?;
        options.head = self.init_head.clone().unwrap_or(HeadStart::Auto);
        options.training.learning_rate = options.method.learning_rate(options.training.learning_rate);
        if let Some(GroupRates { all, of }) = &self.lr {
            options.training.learning_rate = all.unwrap_or(options.training.learning_rate);
            options.training.rates.groups.clone_from(of);
        }
        options.training.seed = self.seed;
        options.training.shards = self.shards;
        options.save_base.clone_from(&self.save_base);
        self.out().clone_into(&mut options.out);
        options.earlier = self.earlier();
        options.command.clone_from(&self.command);
        // Each fold is the evaluation set of its run.
        let of_fold = self.folds.map(|_| FinetuneOptions { eval: Some(options.train.clone()), ..options.clone() });
        of_fold.as_ref().unwrap_or(&options).validate()?;
        self.seeds.as_ref().map_or(Ok(()), |Seeds(seeds)| check_seed_runs(&options, seeds))?;
        self.folds.map_or(Ok(()), |folds| check_folds(&options, folds))?;
        Ok(options)
    }

    /// The directories that files are written into, the outermost first.
    pub fn directories(&self) -> Vec<PathBuf> {
        let seeds = self.seeds.iter().flat_map(|seeds| &seeds.0).map(|&seed| seed_directory(self.out(), seed));
        let folds = (0..self.folds.unwrap_or(0)).map(|fold| fold_directory(self.out(), fold));
        std::iter::once(self.out().to_owned()).chain(seeds).chain(folds).collect()
    }

    /// The files that the run reads beside the model and the data, each with its flag.
    pub fn further_files(&self) -> Vec<Input<'_>> {
        let head = match &self.init_head {
            Some(HeadStart::File(path)) => Some(("--init-head", &**path)),
            _ => None,
        };
        let mask = self.mask.as_ref().map(|path| ("--mask", &**path));
        [head, mask, self.run.weights_file()].into_iter().flatten().collect()
    }

    /// What is done with a probe beside the method.
    fn probe(&self) -> Result<ProbeUse> {
        if self.is_probe() {
            return match self.contradicts_probe() {
                Some(flag) => bail!("{flag} contradicts --method probe, which fits the head itself: leave one out"),
                None => Ok(ProbeUse::Baseline),
            };
        }
        if self.no_probe && self.init_head == Some(HeadStart::Probe) {
            bail!("--no-probe contradicts --init-head probe: leave one out");
        }
        Ok(if self.no_probe { ProbeUse::Off } else { ProbeUse::Baseline })
    }

    /// The first flag that says how steps are made, or what else a probe does not have. One with the value of its
    /// default contradicts nothing.
    fn contradicts_probe(&self) -> Option<&'static str> {
        let (run, defaults) = (&self.run, TrainOptions::default());
        let flags = [
            ("--no-probe", self.no_probe),
            ("--init-head", self.init_head.is_some()),
            ("--select", self.select.is_some()),
            ("--lr", self.lr.is_some()),
            ("--layer-decay", run.layer_decay != defaults.rates.layer_decay),
            ("--epochs", run.epochs != defaults.epochs),
            ("--batch-size", run.batch_size.is_some()),
            ("--batch-tokens", run.batch_tokens.is_some()),
            ("--micro-batch", run.micro_batch.is_some()),
            ("--shards", self.shards.is_some()),
            ("--group-by-length", run.group_by_length),
            ("--no-shuffle", run.no_shuffle),
            ("--schedule", run.schedule != defaults.schedule),
            ("--warmup", run.warmup != defaults.warmup),
            ("--weight-decay", run.weight_decay != defaults.weight_decay),
            ("--clip", run.clip.0 != defaults.max_grad_norm),
            ("--dropout", run.dropout.is_some()),
            ("--frozen-dropout", run.frozen_dropout),
            ("--class-weight", run.class_weight.is_some()),
            ("--label-smoothing", run.label_smoothing != 0.0),
            ("--focal", run.focal != 0.0),
            ("--eval-every", run.eval_every.is_some()),
            ("--patience", run.patience.is_some()),
            ("--tensorboard", run.tensorboard),
        ];
        flags.into_iter().find(|(_, is_given)| *is_given).map(|(flag, _)| flag)
    }

    /// Refuses what needs an evaluation set where there is none.
    fn check_evaluation(&self) -> Result<()> {
        let evaluates = self.data.eval.is_some() || self.folds.is_some();
        let flags = [
            ("--seeds", self.seeds.is_some()),
            ("--eval-every", self.run.eval_every.is_some()),
            ("--patience", self.run.patience.is_some()),
        ];
        match flags.into_iter().find(|(_, is_given)| *is_given && !evaluates) {
            Some((flag, _)) => bail!("{flag}: it needs an evaluation set, and none is given (--eval)"),
            None => Ok(()),
        }
    }

    /// What the file of --mask names.
    fn read_mask(&self) -> Result<Option<bitfit_bert::Method>> {
        let read = |path: &PathBuf| {
            setup::check_input_of("--mask", path)?;
            Ok::<_, anyhow::Error>(MaskFile::read(path)?)
        };
        let file = self.mask.as_ref().map(read).transpose()?;
        Ok(file.map(|file| bitfit_bert::Method::Mask(Some(file.into()))))
    }

    /// What trains besides the head, by --method, --bias and --layers, where --mask gives `mask`.
    fn method_with(&self, mask: Option<bitfit_bert::Method>) -> Result<bitfit_bert::Method> {
        use bitfit_bert::Method as M;
        let named = match &self.method {
            Some(choice) => Some(choice.method.clone()),
            None if self.mask.is_some() => None,
            None => Some(M::BitFit(BiasSelection::all())),
        };
        let is_plain = matches!(&named, Some(M::BitFit(biases)) if *biases == BiasSelection::all());
        let chooses = [("--bias", !self.bias.is_empty()), ("--layers", self.layers.is_some())];
        if let Some((flag, _)) = chooses.into_iter().find(|(_, is_given)| *is_given && !is_plain) {
            match &self.method {
                Some(method) => bail!(
                    "{flag} chooses biases of --method bitfit, not of --method {method}: leave one out, or write them \
                     into it, as in bitfit:query+intermediate@4-5"
                ),
                None => bail!("{flag} chooses biases to train: add --method bitfit, or leave {flag} or --mask out"),
            }
        }
        let kinds: Vec<_> = self.bias.iter().filter_map(|bias| bias.kind()).collect();
        let biases = match (kinds.len(), self.bias.len()) {
            // None is listed, or "all" alone.
            (0, _) => BiasSelection::all(),
            (kinds_listed, listed) if kinds_listed < listed => {
                bail!("--bias lists all together with single kinds: leave one or the other out")
            }
            _ => BiasSelection::of(kinds),
        };
        let named = match named {
            Some(M::BitFit(_)) if is_plain => Some(M::BitFit(match &self.layers {
                Some(layers) => biases.in_layers(layers.clone()),
                None => biases,
            })),
            named => named,
        };
        Ok(match (named, mask) {
            (Some(_), Some(_)) if self.is_probe() => {
                bail!("--mask chooses what trains, but --method probe trains nothing: leave one out")
            }
            (Some(M::Union(mut methods)), Some(mask)) => {
                methods.push(mask);
                M::Union(methods)
            }
            (Some(method), Some(mask)) => M::Union(vec![method, mask]),
            (Some(method), None) | (None, Some(method)) => method,
            (None, None) => unreachable!("without a mask there is a method"),
        })
    }

    /// The method as the result names it.
    pub fn method_text(&self) -> Result<String> {
        let mask = self.mask.is_some().then_some(bitfit_bert::Method::Mask(None));
        let method = self.method_with(mask)?;
        Ok(if self.select.is_some() { format!("part of {method}") } else { method.to_string() })
    }

    fn is_probe(&self) -> bool {
        self.method.as_ref().is_some_and(|choice| choice.method == bitfit_bert::Method::Probe)
    }
}

/// The library's options of the flags that the commands which train have in common, for BitFit as it is by default.
///
/// # Errors
/// For flags that contradict each other.
pub(super) fn options(data: &DataArgs, run: &RunArgs) -> Result<FinetuneOptions> {
    let preset = data.task.map(GlueTask::preset);
    if let (Some(task), Some(kind)) = (data.task, data.kind)
        && task.preset().kind != kind
    {
        bail!("--kind {kind} contradicts --task {task}, which is of kind {}", task.preset().kind);
    }
    let kind = data.kind.or(preset.map(|preset| preset.kind)).unwrap_or(Kind::Classify);
    if data.stride.is_some() && kind != Kind::Span {
        bail!("--stride: a text of kind {kind} has no context; choose --kind span for answers in a context");
    }
    let defaults = TrainOptions::default();
    let training = TrainOptions {
        learning_rate: preset.map_or(defaults.learning_rate, |preset| preset.learning_rate),
        rates: Rates { layer_decay: run.layer_decay, ..Rates::default() },
        epochs: run.epochs,
        batch_size: match (run.batch_size, run.batch_tokens) {
            (_, Some(tokens)) => BatchSize::Tokens(tokens),
            (Some(size), None) => BatchSize::Sequences(size),
            (None, None) => defaults.batch_size,
        },
        micro_batch: run.micro_batch,
        group_by_length: run.group_by_length,
        schedule: run.schedule,
        warmup: run.warmup,
        weight_decay: run.weight_decay,
        max_grad_norm: run.clip.0,
        shuffle: !run.no_shuffle,
        frozen_dropout: run.frozen_dropout,
        prefix_cache_bytes: run.prefix_cache,
        limit: data.limit,
        eval_every: run.eval_every,
        patience: run.patience,
        ..defaults
    };
    Ok(FinetuneOptions {
        model: data.model.clone(),
        train: data.train.clone(),
        eval: data.eval.clone(),
        read: data.read.labelled(kind, data.task, data.label.as_deref(), data.label_separator)?,
        kind,
        metrics: match run.metric.is_empty() {
            true => preset.map(|preset| preset.metrics.to_vec()).unwrap_or_default(),
            false => run.metric.clone(),
        },
        method: bitfit_bert::Method::BitFit(BiasSelection::all()),
        masking: masking(run, kind)?,
        save_base: None,
        select: None,
        pair: run.pair.into(),
        stride: data.stride,
        pooling: run.pooling.chosen(),
        loss: LossOptions {
            class_weights: run.class_weight.clone().unwrap_or_default(),
            label_smoothing: run.label_smoothing,
            focal_gamma: run.focal,
        },
        training,
        device: run.machine.device.to_string(),
        precision: name_of(run.machine.precision()),
        max_length: data.max_length,
        dropout: run.dropout,
        probe: ProbeUse::Baseline,
        head: HeadStart::Auto,
        // Published runs train on the scores of a GLUE task as they are.
        standardize_scores: preset.is_none(),
        log_every: run.log_every,
        tensorboard: run.tensorboard,
        out: PathBuf::new(),
        earlier: EarlierRun::Refuse,
        save_every: run.checkpoint_every,
        command: None,
    })
}

/// How tokens are masked.
fn masking(run: &RunArgs, kind: Kind) -> Result<MaskingOptions> {
    let flags = [("--mask-probability", run.mask_probability.is_some()), ("--whole-word", run.whole_word)];
    if let Some((flag, _)) = flags.into_iter().find(|(_, is_given)| *is_given && kind != Kind::MaskedLm) {
        bail!("{flag} masks tokens, but nothing is masked for --kind {kind}: leave it out or choose --kind mlm");
    }
    let defaults = MaskingOptions::default();
    let probability = run.mask_probability.unwrap_or(defaults.probability);
    Ok(MaskingOptions { probability, whole_words: run.whole_word })
}

/// The flag that sets a setting of the library; `None` for one that no flag sets.
pub fn flag_of(setting: Setting) -> Option<&'static str> {
    Some(match setting {
        Setting::LearningRate => "--lr",
        Setting::LayerDecay => "--layer-decay",
        Setting::Epochs => "--epochs",
        Setting::BatchSize => "--batch-size",
        Setting::BatchTokens => "--batch-tokens",
        Setting::MicroBatch => "--micro-batch",
        Setting::Shards => "--shards",
        Setting::Warmup => "--warmup",
        Setting::WeightDecay => "--weight-decay",
        Setting::MaxGradNorm => "--clip",
        Setting::Limit => "--limit",
        Setting::EvalEvery => "--eval-every",
        Setting::Patience => "--patience",
        Setting::ClassWeights => "--class-weight",
        Setting::LabelSmoothing => "--label-smoothing",
        Setting::FocalGamma => "--focal",
        Setting::Metrics => "--metric",
        Setting::Folds => "--folds",
        Setting::Seeds => "--seeds",
        Setting::Methods => "--methods",
        Setting::Tasks => "--tasks",
        Setting::Rates => "--rates",
        Setting::Steps => "--steps",
        Setting::Sizes => "--sizes",
        Setting::Budget => "--budget",
        Setting::Dropout => "--dropout",
        Setting::MaxLength => "--max-length",
        Setting::LogEvery => "--log-every",
        Setting::Stride => "--stride",
        Setting::Layers => "--layers",
        Setting::Biases => "--bias",
        Setting::Pooling => "--pooling",
        Setting::Pair => "--pair",
        Setting::Model => "--model",
        Setting::Format => "--format",
        Setting::Delimiter => "--delimiter",
        Setting::TextColumn => "--text",
        Setting::LabelColumn => "--label",
        Setting::LabelSeparator => "--label-separator",
        Setting::Kind => "--kind",
        Setting::Method => "--method",
        Setting::InitialHead => "--init-head",
        Setting::MaskProbability => "--mask-probability",
        Setting::SaveBase => "--save-base",
        Setting::Overwrite => "--overwrite",
        Setting::Resume => "--resume",
        Setting::SaveEvery => "--checkpoint-every",
        Setting::Shard => "--shard",
        Setting::Heartbeat => "--heartbeat",
        Setting::Header => "--header",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use strum::IntoEnumIterator;

    use super::*;
    use crate::args::Cli;

    #[test]
    fn every_setting_that_a_user_can_set_has_a_flag_of_a_command_that_trains() {
        let command = Cli::command();
        let commands = ["finetune", "compare", "reproduce"].map(|name| command.find_subcommand(name).unwrap());
        for setting in Setting::iter() {
            let flag = flag_of(setting);
            let is_flag = |flag: &str| {
                let mut arguments = commands.iter().flat_map(|command| command.get_arguments());
                arguments.any(|arg| arg.get_long() == flag.strip_prefix("--"))
            };
            // The training set is a file, whose content no flag sets.
            assert_eq!(flag.is_some_and(is_flag), setting != Setting::TrainingSet, "{setting}: {flag:?}");
        }
    }
}
