//! The settings that this crate checks. An error names the setting, not a flag, because the caller determines how a
//! user sets it.

use std::borrow::Cow;

use strum::{Display, EnumIter};

use crate::{Error, Result};

/// A setting that an error refuses, or that can resolve an error. Its `Display` is its name in messages.
#[derive(Clone, Copy, Debug, Display, EnumIter, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// The examples to train on.
    #[strum(serialize = "the training set")]
    TrainingSet,
    /// [`TrainOptions::learning_rate`](crate::train::TrainOptions::learning_rate).
    #[strum(serialize = "the learning rate")]
    LearningRate,
    /// [`Rates::layer_decay`](crate::train::Rates::layer_decay).
    #[strum(serialize = "the layer decay")]
    LayerDecay,
    /// [`TrainOptions::epochs`](crate::train::TrainOptions::epochs).
    #[strum(serialize = "the number of epochs")]
    Epochs,
    /// [`BatchSize::Sequences`](crate::train::BatchSize::Sequences).
    #[strum(serialize = "the batch size")]
    BatchSize,
    /// [`BatchSize::Tokens`](crate::train::BatchSize::Tokens).
    #[strum(serialize = "the batch size in tokens")]
    BatchTokens,
    /// [`TrainOptions::micro_batch`](crate::train::TrainOptions::micro_batch).
    #[strum(serialize = "the number of texts that are computed at a time")]
    MicroBatch,
    /// [`TrainOptions::shards`](crate::train::TrainOptions::shards).
    #[strum(serialize = "the number of logical shards")]
    Shards,
    /// [`TrainOptions::warmup`](crate::train::TrainOptions::warmup).
    #[strum(serialize = "the warm-up")]
    Warmup,
    /// [`TrainOptions::weight_decay`](crate::train::TrainOptions::weight_decay).
    #[strum(serialize = "the weight decay")]
    WeightDecay,
    /// [`TrainOptions::max_grad_norm`](crate::train::TrainOptions::max_grad_norm).
    #[strum(serialize = "the clipping norm")]
    MaxGradNorm,
    /// [`TrainOptions::limit`](crate::train::TrainOptions::limit).
    #[strum(serialize = "the limit of rows")]
    Limit,
    /// [`TrainOptions::eval_every`](crate::train::TrainOptions::eval_every).
    #[strum(serialize = "the number of steps between evaluations")]
    EvalEvery,
    /// [`TrainOptions::patience`](crate::train::TrainOptions::patience).
    #[strum(serialize = "the patience")]
    Patience,
    /// [`ClassWeights`](crate::run::ClassWeights), by which classes count in the loss.
    #[strum(serialize = "the weights of classes")]
    ClassWeights,
    /// The share of a label that is spread over all classes.
    #[strum(serialize = "the label smoothing")]
    LabelSmoothing,
    /// The exponent of the focal loss.
    #[strum(serialize = "the focal exponent")]
    FocalGamma,
    /// The metrics of the evaluation.
    #[strum(serialize = "the list of metrics")]
    Metrics,
    /// The folds of a cross-validation.
    #[strum(serialize = "the number of folds")]
    Folds,
    /// The seeds of several runs.
    #[strum(serialize = "the list of seeds")]
    Seeds,
    /// The methods of a comparison.
    #[strum(serialize = "the list of methods")]
    Methods,
    /// The tasks of a reproduction.
    #[strum(serialize = "the list of tasks")]
    Tasks,
    /// The learning rates that a reproduction searches.
    #[strum(serialize = "the list of learning rates")]
    Rates,
    /// The least number of steps of a reproduction's runs.
    #[strum(serialize = "the number of steps")]
    Steps,
    /// The sizes of the training set in a reproduction.
    #[strum(serialize = "the list of sizes")]
    Sizes,
    /// [`Select::budget`](crate::train::Select::budget).
    #[strum(serialize = "the budget")]
    Budget,
    /// The dropout probability that replaces the base's.
    #[strum(serialize = "the dropout probability")]
    Dropout,
    /// The number of steps between two lines of the log.
    #[strum(serialize = "the logging interval")]
    LogEvery,
    /// The longest sequence in tokens.
    #[strum(serialize = "the maximum length")]
    MaxLength,
    /// [`SpanSettings::stride`](crate::heads::SpanSettings::stride).
    #[strum(serialize = "the stride")]
    Stride,
    /// The layers whose biases train.
    #[strum(serialize = "the range of layers")]
    Layers,
    /// How the two texts of a pair go through the encoder.
    #[strum(serialize = "the encoding of pairs")]
    Pair,
    /// What of the last layer the head reads.
    #[strum(serialize = "the read-out")]
    Pooling,
    /// What is predicted for a text: [`Kind`](crate::data::Kind).
    #[strum(serialize = "the kind")]
    Kind,
    /// What trains, or that a probe is the result.
    #[strum(serialize = "the method")]
    Method,
    /// [`FinetuneOptions::head`](crate::run::FinetuneOptions::head).
    #[strum(serialize = "the beginning of the head")]
    InitialHead,
    /// [`MaskingOptions::probability`](crate::heads::MaskingOptions::probability).
    #[strum(serialize = "the probability of a mask")]
    MaskProbability,
    /// [`FinetuneOptions::save_base`](crate::run::FinetuneOptions::save_base).
    #[strum(serialize = "the directory of the new base model")]
    SaveBase,
    /// [`EarlierRun::Replace`](crate::run::EarlierRun::Replace).
    #[strum(serialize = "the replacement of an earlier run's files")]
    Overwrite,
    /// [`EarlierRun::Resume`](crate::run::EarlierRun::Resume).
    #[strum(serialize = "the resumption of an earlier run")]
    Resume,
    /// [`FinetuneOptions::save_every`](crate::run::FinetuneOptions::save_every).
    #[strum(serialize = "the interval between two states")]
    SaveEvery,
    /// The part of a grid's runs that a process makes: [`Shard`](crate::run::Shard).
    #[strum(serialize = "the shard")]
    Shard,
    /// [`SweepOptions::heartbeat`](crate::run::SweepOptions::heartbeat).
    #[strum(serialize = "the heartbeat")]
    Heartbeat,
    /// The kinds of bias that train.
    #[strum(serialize = "the kind of bias")]
    Biases,
    /// The base model's directory or hub id.
    #[strum(serialize = "the base model")]
    Model,
    /// [`ReadOptions::format`](crate::data::ReadOptions::format).
    #[strum(serialize = "the format")]
    Format,
    /// [`ReadOptions::delimiter`](crate::data::ReadOptions::delimiter).
    #[strum(serialize = "the separator")]
    Delimiter,
    /// [`Columns::text`](crate::data::Columns::text).
    #[strum(serialize = "the text column")]
    TextColumn,
    /// [`Columns::label`](crate::data::Columns::label).
    #[strum(serialize = "the label column")]
    LabelColumn,
    /// [`SeveralLabels::separator`](crate::data::SeveralLabels::separator).
    #[strum(serialize = "the separator of labels")]
    LabelSeparator,
    /// [`Columns::header`](crate::data::Columns::header).
    #[strum(serialize = "the header")]
    Header,
}

/// Refuses a value of a setting unless `holds`.
pub(crate) fn check(
    setting: Setting,
    value: impl ToString,
    holds: bool,
    reason: impl Into<Cow<'static, str>>,
) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Setting { setting, value: value.to_string(), reason: reason.into() }) }
}

/// Refuses a maximum length that leaves no room for text beside so many special tokens, or that is above `most`.
pub(crate) fn check_max_length(max_length: usize, most: usize, special: usize) -> Result<()> {
    let reason = match special {
        2 if max_length < 3 => "the special tokens take two places, so it must be at least 3".into(),
        3 if max_length < 4 => "the special tokens of a pair take three places, so it must be at least 4".into(),
        _ if max_length <= special => "the tokenizer's special tokens leave no room for text".into(),
        _ if max_length > most => format!("the model has positions for {most} tokens, so it must be at most {most}"),
        _ => return Ok(()),
    };
    check(Setting::MaxLength, max_length, false, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maximum_length_has_room_for_text_and_not_more_than_the_model() {
        for (max_length, special, word) in [
            (0, 2, "at least 3"),
            (2, 2, "at least 3"),
            (3, 3, "at least 4"),
            (4, 4, "no room for text"),
            (0, 0, "no room for text"),
            (9, 2, "at most 8"),
        ] {
            let message = check_max_length(max_length, 8, special).unwrap_err().to_string();
            assert!(message.starts_with(&format!("the maximum length is {max_length}: ")), "{message}");
            assert!(message.contains(word), "{message}");
        }
        let sound = [(1, 0), (3, 2), (4, 3), (8, 2)];
        assert!(sound.into_iter().all(|(length, special)| check_max_length(length, 8, special).is_ok()));
    }
}
