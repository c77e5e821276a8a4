//! Learning rates by group of tensors, and by layer.
//!
//! Each tensor that trains has a peak rate, which the schedule multiplies:
//!
//! ```text
//! rate = rate of its group · d^(L-1-l)
//! ```
//!
//! for layer l of L and a decay d. The embeddings, below layer 0, have d^L; the pooler and the head, above all layers,
//! have 1. This is layer-wise decay as in ELECTRA (arXiv 2003.10555, its code) and BEiT (arXiv 2106.08254).

use bitfit_core::{Backend, Entry};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::TrainOptions;
use crate::arch::{Module, Part, Role};
use crate::model::Model;
use crate::settings::{Setting, check};
use crate::{Error, Result, UnknownName};

/// A group of tensors with a learning rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = UnknownName, parse_err_fn = unknown)]
pub enum RateGroup {
    /// Everything of the task: its layers, a pooler that the base lacks, the biases of a head for masked tokens.
    Head,
    /// The biases of the base; the shifts of LayerNorms are among them where [`RateGroup::LayerNorm`] has no rate.
    Bias,
    /// The scales and shifts of LayerNorms.
    LayerNorm,
    /// The matrices and tables of the base; the scales of LayerNorms are among them where [`RateGroup::LayerNorm`] has
    /// no rate.
    Weight,
}

impl RateGroup {
    /// Every group.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// The name, as a user writes it and [`FromStr`](std::str::FromStr) reads it.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

fn unknown(name: &str) -> UnknownName {
    let known = RateGroup::ALL.iter().map(|group| group.name()).collect();
    UnknownName { what: "group of tensors", name: name.into(), known }
}

/// The peak rates of groups, and how rates fall with depth.
#[derive(Clone, Debug, PartialEq)]
pub struct Rates {
    /// The rate of each group that has one of its own; the others have [`TrainOptions::learning_rate`].
    pub groups: Vec<(RateGroup, f32)>,
    /// The factor from a layer to the one below it; 1 for none.
    pub layer_decay: f32,
}

impl Default for Rates {
    fn default() -> Self {
        Self { groups: Vec::new(), layer_decay: 1.0 }
    }
}

impl Rates {
    /// Refuses impossible rates.
    pub(super) fn validate(&self) -> Result<()> {
        for (place, (group, rate)) in self.groups.iter().enumerate() {
            let value = || format!("{group}={rate}");
            check(Setting::LearningRate, value(), rate.is_finite() && *rate > 0.0, "it must be a number above 0")?;
            let is_twice = self.groups[..place].iter().any(|(other, _)| other == group);
            check(Setting::LearningRate, value(), !is_twice, "this group has two rates")?;
        }
        let is_factor = self.layer_decay > 0.0 && self.layer_decay <= 1.0;
        check(Setting::LayerDecay, self.layer_decay, is_factor, "it must be a factor, above 0 and at most 1")
    }

    /// Whether all tensors have one rate.
    fn are_one(&self) -> bool {
        self.groups.is_empty() && self.layer_decay == 1.0
    }

    fn of(&self, group: RateGroup) -> Option<f32> {
        self.groups.iter().find(|(of, _)| *of == group).map(|(_, rate)| *rate)
    }
}

/// What trains at the rates of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct RateSummary {
    /// The group.
    pub group: RateGroup,
    /// The number of its scalars that an optimizer moves.
    pub scalars: usize,
    /// The lowest peak rate of its tensors.
    pub lowest: f32,
    /// The highest.
    pub highest: f32,
}

/// The peak rate of each entry of a model's arena; `None` where all have that of the options.
///
/// # Errors
/// [`Error::Setting`] for the rate of a group of which nothing trains.
pub(super) fn peak_rates<D: Backend>(model: &Model<D>, options: &TrainOptions) -> Result<Option<Vec<f32>>> {
    if options.rates.are_one() {
        return Ok(None);
    }
    let entries = model.arena().entries();
    let rates: Vec<(RateGroup, f32)> = entries.iter().map(|entry| rate(model, options, entry)).collect();
    for (group, rate) in &options.rates.groups {
        if rates.iter().all(|(of, _)| of != group) {
            let reason = "nothing of this group trains with this method".into();
            return Err(Error::Setting { setting: Setting::LearningRate, value: format!("{group}={rate}"), reason });
        }
    }
    Ok(Some(rates.into_iter().map(|(_, rate)| rate).collect()))
}

/// What trains at which rates, by group; nothing where all tensors have one rate.
///
/// # Errors
/// [`Error::Setting`] for the rate of a group of which nothing trains.
pub fn rate_summaries<D: Backend>(model: &Model<D>, options: &TrainOptions) -> Result<Vec<RateSummary>> {
    if peak_rates(model, options)?.is_none() {
        return Ok(Vec::new());
    }
    let rates = model.arena().entries().iter().map(|entry| (rate(model, options, entry), entry.len));
    let mut summaries: Vec<RateSummary> = Vec::new();
    for ((group, rate), scalars) in rates {
        match summaries.iter_mut().find(|summary| summary.group == group) {
            Some(summary) => {
                summary.scalars += scalars;
                (summary.lowest, summary.highest) = (summary.lowest.min(rate), summary.highest.max(rate));
            }
            None => summaries.push(RateSummary { group, scalars, lowest: rate, highest: rate }),
        }
    }
    summaries.sort_by_key(|summary| summary.group);
    Ok(summaries)
}

/// The group and the peak rate of an entry of the arena.
fn rate<D: Backend>(model: &Model<D>, options: &TrainOptions, entry: &Entry) -> (RateGroup, f32) {
    let base = model.base();
    let role = model.base_role(&entry.name);
    let group = role.map_or(RateGroup::Head, |role| group(role, &options.rates));
    let rate = options.rates.of(group).unwrap_or(options.learning_rate);
    let layers = base.config().num_hidden_layers;
    let below_top = role.map_or(0, |role| layers_below_top(role, layers));
    let decay = f64::from(options.rates.layer_decay).powi(below_top as i32);
    (group, (f64::from(rate) * decay) as f32)
}

/// The group of a tensor of the base.
fn group(role: Role, rates: &Rates) -> RateGroup {
    match role.part {
        _ if role.module.is_norm() && rates.of(RateGroup::LayerNorm).is_some() => RateGroup::LayerNorm,
        Part::Bias => RateGroup::Bias,
        Part::Weight => RateGroup::Weight,
    }
}

/// The exponent of the decay for a tensor of the base.
fn layers_below_top(role: Role, layers: usize) -> usize {
    match role.module {
        Module::Pooler => 0,
        module if module.is_in_layers() => layers - 1 - role.layer,
        _ => layers,
    }
}

#[cfg(test)]
mod tests {
    use bitfit_core::Cpu;

    use super::*;
    use crate::fixture::Tiny;
    use crate::methods::{BiasSelection, Method};
    use crate::model::{InitialValues, ModelOptions};
    use crate::train::tests::{classification, two_classes};
    use crate::train::{BatchSize, NoEvents, Trainer};

    fn model(method: Method) -> Model<Cpu> {
        let initial = InitialValues::Drawn { seed: 1 };
        let options = ModelOptions { spec: two_classes(), method, initial, dropout: Some(0.0) };
        Model::new(&Tiny::new().base(), &options).unwrap()
    }

    fn bitfit() -> Model<Cpu> {
        model(Method::BitFit(BiasSelection::all()))
    }

    fn options(groups: &[(RateGroup, f32)], layer_decay: f32) -> TrainOptions {
        let batch_size = BatchSize::Sequences(2);
        TrainOptions { rates: Rates { groups: groups.to_vec(), layer_decay }, batch_size, ..TrainOptions::default() }
    }

    /// The rate of the one entry with this ending of its name.
    fn of(model: &Model<Cpu>, options: &TrainOptions, ending: &str) -> f32 {
        let rates = peak_rates(model, options).unwrap().unwrap();
        let entries = model.arena().entries().iter().zip(rates);
        let found: Vec<f32> = entries.filter(|(entry, _)| entry.name.ends_with(ending)).map(|(_, rate)| rate).collect();
        assert_eq!(found.len(), 1, "{ending}");
        found[0]
    }

    #[test]
    fn rates_fall_from_the_top_layer_to_the_embeddings_and_the_head_keeps_its_own() {
        let (model, options) = (bitfit(), options(&[(RateGroup::Head, 0.5)], 0.5));
        for (ending, expected) in [
            ("classifier.weight", 0.5),
            ("classifier.bias", 0.5),
            ("pooler.dense.bias", 1e-3),
            ("layer.1.output.dense.bias", 1e-3),
            ("layer.0.output.dense.bias", 5e-4),
            ("layer.0.attention.self.query.bias", 5e-4),
            ("embeddings.LayerNorm.bias", 2.5e-4),
        ] {
            assert_eq!(of(&model, &options, ending), expected, "{ending}");
        }
    }

    #[test]
    fn a_layernorm_has_its_own_rate_or_that_of_biases() {
        let (bias, norm) = ((RateGroup::Bias, 4e-3), (RateGroup::LayerNorm, 2e-3));
        for (groups, expected) in [(&[bias][..], [4e-3, 4e-3, 1e-3]), (&[bias, norm], [2e-3, 4e-3, 1e-3])] {
            let options = options(groups, 1.0);
            let endings = ["layer.1.output.LayerNorm.bias", "layer.1.output.dense.bias", "classifier.bias"];
            assert_eq!(endings.map(|ending| of(&bitfit(), &options, ending)), expected, "{groups:?}");
        }
    }

    #[test]
    fn a_group_of_which_nothing_trains_is_named() {
        let refused = |model: &Model<Cpu>, group| {
            let options = options(&[(group, 1e-4)], 1.0);
            rate_summaries(model, &options).unwrap_err().to_string()
        };
        let message = refused(&bitfit(), RateGroup::Weight);
        assert_eq!(message, "the learning rate is weight=0.0001: nothing of this group trains with this method");
        assert!(refused(&model(Method::Frozen), RateGroup::Bias).contains("bias=0.0001"));
        assert!(refused(&model(Method::Frozen), RateGroup::LayerNorm).contains("layernorm=0.0001"));
    }

    #[test]
    fn impossible_rates_are_refused() {
        for (options, part) in [
            (options(&[(RateGroup::Head, 0.0)], 1.0), "head=0: it must be a number above 0"),
            (options(&[(RateGroup::Head, 0.1), (RateGroup::Head, 0.2)], 1.0), "head=0.2: this group has two rates"),
            (options(&[], 0.0), "layer decay is 0: it must be a factor"),
            (options(&[], 1.5), "layer decay is 1.5: "),
            (options(&[], f32::NAN), "layer decay is NaN: "),
        ] {
            let message = options.validate().unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_summary_has_every_group_with_its_range() {
        let summaries = rate_summaries(&bitfit(), &options(&[(RateGroup::Head, 0.5)], 0.5)).unwrap();
        let head = RateSummary { group: RateGroup::Head, scalars: 2 * 8 + 2, lowest: 0.5, highest: 0.5 };
        // Key biases, which never move, are not among them.
        let biases = bitfit().arena().len() - head.scalars;
        let bias = RateSummary { group: RateGroup::Bias, scalars: biases, lowest: 2.5e-4, highest: 1e-3 };
        assert_eq!(summaries, [head, bias]);
        assert!(rate_summaries(&bitfit(), &TrainOptions::default()).unwrap().is_empty());
    }

    /// The values after two epochs.
    fn trained(options: &TrainOptions) -> Vec<f32> {
        let mut model = bitfit();
        let examples = classification(&[&[1, 5, 2], &[1, 7, 9, 3, 2], &[1, 2], &[1, 4, 6, 2]], &[0, 1, 1, 0]);
        Trainer::new(&mut model, &examples, None, options).unwrap().run(&mut NoEvents).unwrap();
        model.arena().read().unwrap()
    }

    #[test]
    fn one_rate_for_every_group_has_the_bits_of_one_rate() {
        let one = options(&[], 1.0);
        let groups = options(&[(RateGroup::Head, 1e-3), (RateGroup::Bias, 1e-3)], 1.0);
        assert_eq!(trained(&groups), trained(&one));
        assert_ne!(trained(&options(&[(RateGroup::Head, 2e-3)], 1.0)), trained(&one));
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for group in RateGroup::ALL {
            assert_eq!(group.name().parse(), Ok(*group));
        }
        let message = "layers".parse::<RateGroup>().unwrap_err().to_string();
        assert!(message.contains("no group of tensors \"layers\"; expected head, bias, layernorm"), "{message}");
    }
}
