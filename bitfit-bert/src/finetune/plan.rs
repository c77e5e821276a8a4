//! What a run will do, for a person to read before it does.

use std::collections::BTreeMap;
use std::fmt;

use bitfit_core::Backend;

use super::FinetuneOptions;
use crate::Checkpoint;
use crate::bias::BiasKind;
use crate::data::Labels;
use crate::model::{Bert, Part};
use crate::train::{BatchSize, Batches, Examples, TrainOptions, reuse_bytes};

/// What trains, on what, for how long. Its `Display` is the text shown before a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The base model as the user named it.
    pub model: String,
    /// Layers, width and heads of it.
    pub architecture: String,
    /// Which biases train, in words.
    pub biases: String,
    /// Scalars that train, kind by kind: name, tensors, scalars.
    pub parts: Vec<(String, usize, usize)>,
    /// Scalars that train.
    pub trainable: usize,
    /// Scalars of them that are biases of the base model.
    pub bias_scalars: usize,
    /// Parameters of the whole model, head included.
    pub total: usize,
    /// Whether the checkpoint lacks a pooler, so that a fresh one trains whole.
    pub fresh_pooler: bool,
    /// Rows trained on.
    pub rows: usize,
    /// Rows of the evaluation set.
    pub eval_rows: Option<usize>,
    /// The classes, or none for a regression.
    pub labels: Option<Vec<String>>,
    /// Tokens of an epoch; none is padding.
    pub tokens: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Epochs.
    pub epochs: usize,
    /// Batch, rate and the rest in words.
    pub training: String,
    /// What is computed once a row, in words; none where something trains from the bottom up, or dropout is drawn there.
    pub reused: Option<String>,
    /// The device.
    pub device: String,
    /// Lines that were left out of a file, as its preset asks.
    pub skipped: Vec<(String, usize)>,
}

impl Plan {
    #[allow(clippy::too_many_arguments, reason = "called once, from where all of it was just made")]
    pub(super) fn new<D: Backend>(
        options: &FinetuneOptions,
        max_length: usize,
        checkpoint: &Checkpoint,
        model: &Bert<D>,
        labels: Option<&Labels>,
        train: &Examples,
        eval: Option<&Examples>,
        device: String,
        skipped: Vec<(String, usize)>,
    ) -> Self {
        let mut kinds: BTreeMap<BiasKind, (usize, usize)> = BTreeMap::new();
        let (mut pooler, mut head) = ((0, 0), (0, 0));
        for part in model.parts() {
            let sum = match part.part {
                Part::Bias(kind) => kinds.entry(kind).or_default(),
                Part::FreshPooler => &mut pooler,
                Part::Head => &mut head,
            };
            *sum = (sum.0 + 1, sum.1 + part.count());
        }
        let bias_scalars = kinds.values().map(|(_, scalars)| scalars).sum();
        let mut parts: Vec<_> =
            kinds.into_iter().map(|(kind, (n, scalars))| (format!("{kind} bias"), n, scalars)).collect();
        if pooler.0 > 0 {
            parts.push(("fresh pooler".into(), pooler.0, pooler.1));
        }
        parts.push(("task head".into(), head.0, head.1));
        let config = checkpoint.config();
        let training = &options.training;
        let batches = Batches::new(train.lengths(), training);
        let warmup =
            if training.warmup > 0.0 { format!(" after {} % warm-up", training.warmup * 100.0) } else { String::new() };
        let dropout = options.dropout.unwrap_or(config.hidden_dropout_prob);
        let grouped = if training.group_by_length { " of like lengths" } else { "" };
        let batch = match training.batch_size {
            BatchSize::Sequences(size) => format!("{size}{grouped}"),
            BatchSize::Tokens(size) => format!("of {size} tokens{grouped}"),
        };
        Self {
            model: options.model.clone(),
            architecture: format!(
                "BERT, {} layers, hidden {}, {} heads",
                config.num_hidden_layers, config.hidden_size, config.num_attention_heads
            ),
            biases: options.selection.to_string(),
            parts,
            trainable: model.trainable(),
            bias_scalars,
            total: model.total(),
            fresh_pooler: !checkpoint.has_pooler(),
            rows: batches.rows(),
            eval_rows: eval.map(Examples::len),
            labels: labels.map(|labels| labels.names().to_vec()),
            tokens: batches.tokens(),
            steps: batches.steps(training.epochs),
            epochs: training.epochs,
            training: format!(
                "batch {batch}, learning rate {} {}{warmup}, dropout {dropout}, at most {max_length} tokens a row, seed {}",
                training.learning_rate, training.schedule, training.seed
            ),
            reused: reused(model, training, &batches, checkpoint.config().num_hidden_layers),
            device,
            skipped,
        }
    }
}

/// What a run computes once a row, and how much of it it keeps.
fn reused<D: Backend>(model: &Bert<D>, training: &TrainOptions, batches: &Batches, layers: usize) -> Option<String> {
    let stages = model.frozen_stages();
    if stages == 0 || training.frozen_dropout {
        return None;
    }
    let what = match stages - 1 {
        1 => "the embeddings and layer 0".into(),
        frozen => format!("the embeddings and layers 0-{}", frozen.min(layers) - 1),
    };
    let needed = reuse_bytes(model, batches.lengths());
    let kept = match needed > training.reuse_bytes {
        true => format!("{} of {} MB fit", grouped(megabytes(training.reuse_bytes)), grouped(megabytes(needed))),
        false => format!("{} MB", grouped(megabytes(needed))),
    };
    Some(format!("{what}, frozen and without dropout: computed once a row and kept, {kept}"))
}

fn megabytes(bytes: usize) -> usize {
    bytes.div_ceil(1_000_000)
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "model     {} ({})", self.model, self.architecture)?;
        let eval =
            self.eval_rows.map_or(String::from("no evaluation set"), |rows| format!("{} to evaluate", grouped(rows)));
        let kind = match &self.labels {
            Some(labels) => format!("{} classes", labels.len()),
            None => "regression".into(),
        };
        let (rows, tokens) = (grouped(self.rows), grouped(self.tokens));
        writeln!(f, "data      {rows} rows ({tokens} tokens) to train, {eval}; {kind}")?;
        for (file, lines) in &self.skipped {
            writeln!(f, "          {file}: {lines} lines left out: broken, or labelled with no class")?;
        }
        let percent = 100.0 * self.trainable as f64 / self.total as f64;
        writeln!(
            f,
            "trains    {} of {} parameters ({percent:.3} %), biases: {}",
            grouped(self.trainable),
            grouped(self.total),
            self.biases
        )?;
        for (name, tensors, scalars) in &self.parts {
            let note =
                if name == "key bias" { "  (counted; its gradient is exactly zero, so it never moves)" } else { "" };
            writeln!(f, "          {name:<27} {tensors:>3} tensors {:>10} scalars{note}", grouped(*scalars))?;
        }
        if self.fresh_pooler {
            writeln!(f, "          the checkpoint has no pooler: a fresh one trains whole, weights included")?;
        }
        writeln!(
            f,
            "schedule  {} epoch{}, {} steps; {}",
            self.epochs,
            if self.epochs == 1 { "" } else { "s" },
            grouped(self.steps),
            self.training
        )?;
        if let Some(reused) = &self.reused {
            writeln!(f, "reuses    {reused}")?;
        }
        write!(f, "device    {}", self.device)
    }
}

/// A number for people: 109482240 as 109,482,240.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 109_482_240].map(grouped), ["0", "999", "1,000", "109,482,240"]);
    }
}
