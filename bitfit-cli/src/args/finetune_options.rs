//! From the flags of `finetune` to the library's options, and from its settings back to flags.

use std::path::PathBuf;

use anyhow::{Result, bail};
use bitfit_bert::data::Kind;
use bitfit_bert::heads::MaskingOptions;
use bitfit_bert::presets::{GlueTask, Preset};
use bitfit_bert::run::{FinetuneOptions, HeadStart, Plan, ProbeUse};
use bitfit_bert::train::{BatchSize, TrainOptions};
use bitfit_bert::{BiasSelection, MaskFile, Setting};

use super::values::Method;
use super::{FinetuneArgs, name_of};

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
        if self.stride.is_some() && kind != Kind::Span {
            bail!("--stride: a text of kind {kind} has no context; choose --kind span for answers in a context");
        }
        let metrics = preset.map(|preset| preset.metrics.to_vec()).unwrap_or_default();
        let method = self.method()?;
        let defaults = TrainOptions::default();
        let training = TrainOptions {
            learning_rate: self.lr.unwrap_or_else(|| self.usual_learning_rate(&method, preset)),
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
            prefix_cache_bytes: self.prefix_cache,
            limit: self.limit,
        };
        let options = FinetuneOptions {
            model: self.model.clone(),
            train: self.train.clone(),
            eval: self.eval.clone(),
            read: self.read.labelled(kind, self.task, self.label.as_deref(), self.label_separator)?,
            kind,
            metrics,
            method,
            masking: self.masking(kind)?,
            save_base: self.save_base.clone(),
            pair: self.pair.into(),
            stride: self.stride,
            pooling: self.pooling.chosen(),
            training,
            device: self.machine.device.to_string(),
            precision: name_of(self.machine.precision),
            max_length: self.max_length,
            dropout: self.dropout,
            probe: self.probe()?,
            head: self.init_head.clone().unwrap_or(HeadStart::Auto),
            log_every: self.log_every,
            out: self.out.clone(),
        };
        options.validate()?;
        Ok(options)
    }

    /// How tokens are masked.
    fn masking(&self, kind: Kind) -> Result<MaskingOptions> {
        let flags = [("--mask-probability", self.mask_probability.is_some()), ("--whole-word", self.whole_word)];
        if let Some((flag, _)) = flags.into_iter().find(|(_, is_given)| *is_given && kind != Kind::MaskedLm) {
            bail!("{flag} masks tokens, but nothing is masked for --kind {kind}: leave it out or choose --kind mlm");
        }
        let defaults = MaskingOptions::default();
        let probability = self.mask_probability.unwrap_or(defaults.probability);
        Ok(MaskingOptions { probability, whole_words: self.whole_word })
    }

    /// The file with the head's first values.
    pub fn head_file(&self) -> Option<&PathBuf> {
        match &self.init_head {
            Some(HeadStart::File(path)) => Some(path),
            _ => None,
        }
    }

    /// What is done with a probe.
    fn probe(&self) -> Result<ProbeUse> {
        if self.method == Some(Method::Probe) {
            let contradicts = [("--no-probe", self.no_probe), ("--init-head", self.init_head.is_some())];
            return match contradicts.into_iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => {
                    bail!("{flag} contradicts --method probe, which fits the head itself: leave one out")
                }
                None => Ok(ProbeUse::Result),
            };
        }
        if self.no_probe && self.init_head == Some(HeadStart::Probe) {
            bail!("--no-probe contradicts --init-head probe: leave one out");
        }
        Ok(if self.no_probe { ProbeUse::Off } else { ProbeUse::Baseline })
    }

    /// What trains beside the head, by --method, --mask, --bias and --layers.
    pub fn method(&self) -> Result<bitfit_bert::Method> {
        use bitfit_bert::Method as M;
        let named = match &self.method {
            Some(Method::Probe) => Some(M::Frozen),
            Some(Method::Steps(method)) => Some(method.clone()),
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
        let mask = self.mask.as_deref().map(MaskFile::read).transpose()?;
        Ok(match (named, mask.map(|file| M::Mask(Some(file.into())))) {
            (Some(_), Some(_)) if self.method == Some(Method::Probe) => {
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
    pub fn method_text(&self, plan: &Plan) -> String {
        if self.method == Some(Method::Probe) { "probe".into() } else { plan.method.to_string() }
    }

    /// The learning rate without --lr: the paper's for a task of GLUE and biases, otherwise what is usual for the
    /// method.
    fn usual_learning_rate(&self, method: &bitfit_bert::Method, preset: Option<&Preset>) -> f32 {
        match preset {
            Some(preset) if !method.trains_whole_weights() => preset.learning_rate,
            _ => method.usual_learning_rate(),
        }
    }
}

/// The flag that sets a setting of the library; `None` for one that no flag sets.
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
    fn every_setting_that_a_user_can_set_has_a_flag_of_finetune() {
        let command = Cli::command();
        let finetune = command.find_subcommand("finetune").unwrap();
        for setting in Setting::iter() {
            let flag = flag_of(setting);
            let is_flag = |flag: &str| finetune.get_arguments().any(|arg| arg.get_long() == flag.strip_prefix("--"));
            // The training set is a file, whose content no flag sets.
            assert_eq!(flag.is_some_and(is_flag), setting != Setting::TrainingSet, "{setting}: {flag:?}");
        }
    }
}
