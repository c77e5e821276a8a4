//! The check before the first epoch: every tensor that should train has a gradient, and no other one does.

use std::collections::BTreeSet;
use std::sync::Arc;

use bitfit_core::optim::Alone;
use bitfit_core::{Backend, Error as CoreError, Random, Seed};

use super::batch_pass::BatchPass;
use super::shards::Shards;
use super::{Examples, TrainOptions};
use crate::Result;
use crate::model::Model;

/// The stream of the seed that moves the values for the second pass.
const STREAM: u32 = u32::MAX;
/// The number of the step for dropout: far from those of a run, and not the maximum, which distinguishes [`Random`].
const STEP: u64 = u32::MAX as u64 - 1;
/// The standard deviation by which the values are moved.
const NOISE: f64 = 0.02;

/// Runs one batch forward and backward, at most `micro_batch` rows at a time if that is given, and checks that every
/// trainable tensor has a gradient that is finite and not zero, and that the arena, which determines the size of the
/// gradients and the optimizer state, holds exactly what the model's method trains. Inert key biases count as trained,
/// but are not in the arena.
///
/// If the head's first values are zeros, the gradient below it is zero in the first step, but not in the second. Before
/// a network is refused, it is therefore checked again with slightly changed values, which are restored afterwards.
///
/// # Errors
/// [`bitfit_core::Error::NoGradient`] with the tensors that fail.
pub fn check_gradients<D: Backend>(
    model: &mut Model<D>,
    examples: &Examples,
    rows: &[usize],
    micro_batch: Option<usize>,
    seed: u64,
) -> Result<()> {
    let options = TrainOptions { micro_batch, seed, ..TrainOptions::default() };
    let shards = Shards::new(&options, Arc::new(Alone))?;
    check_gradients_by(model, examples, rows, &options, &shards)
}

/// As [`check_gradients`], with the seed of the options, and in the parts or shards that they say.
///
/// # Errors
/// As [`check_gradients`]; those of [`Shards::add_gradient`].
pub(super) fn check_gradients_by<D: Backend>(
    model: &mut Model<D>,
    examples: &Examples,
    rows: &[usize],
    options: &TrainOptions,
    shards: &Shards<D>,
) -> Result<()> {
    check_arena(model)?;
    let TrainOptions { seed, micro_batch, .. } = *options;
    let dropout = Seed { run: seed, step: STEP };
    let pass = BatchPass { examples, rows, epoch: 1, seed: dropout, weighting: None, micro_batch };
    let first = check_gradients_reach(model, pass, shards);
    if !matches!(first, Err(crate::Error::Core(CoreError::NoGradient { .. }))) {
        return first;
    }
    let values = model.arena().read()?;
    let mut random = Random::new(seed, STREAM);
    let moved: Vec<f32> = values.iter().map(|value| value + (random.normal() * NOISE) as f32).collect();
    model.arena_mut().write(&moved)?;
    let second = check_gradients_reach(model, pass, shards);
    model.arena_mut().write(&values)?;
    second
}

/// Computes the gradient of one batch and checks it.
fn check_gradients_reach<D: Backend>(model: &Model<D>, pass: BatchPass<'_>, shards: &Shards<D>) -> Result<()> {
    let mut gradient = model.arena().gradient()?;
    shards.add_gradient(pass, model, None, false, &mut gradient)?;
    Ok(model.arena().check_gradients_reach(&gradient)?)
}

/// Checks that the arena holds exactly the tensors that train according to the method, the architecture and the head.
fn check_arena<D: Backend>(model: &Model<D>) -> Result<()> {
    let expected = model.expected_to_train();
    let found: BTreeSet<String> = model.arena().entries().iter().map(|entry| entry.name.clone()).collect();
    let differ = |names: Vec<String>, reason| match names.is_empty() {
        true => Ok(()),
        false => Err(CoreError::NoGradient { names, reason }.into()),
    };
    differ(expected.difference(&found).cloned().collect(), "it is not in the arena")?;
    differ(found.difference(&expected).cloned().collect(), "it should be frozen, but is in the arena")
}

#[cfg(test)]
mod tests {
    use bitfit_core::{ArenaBuilder, Cpu, HostTensor, Mask};

    use super::*;
    use crate::arch::Architecture;
    use crate::fixture::Tiny;
    use crate::methods::{BiasKind, BiasSelection, Method};
    use crate::model::{InitialValues, ModelOptions};
    use crate::train::tests::{classification, two_classes};

    fn build(tiny: &Tiny, biases: BiasSelection) -> Model<Cpu> {
        let (initial, method) = (InitialValues::Drawn { seed: 1 }, Method::of_biases(biases));
        let options = ModelOptions { spec: two_classes(), method, initial, dropout: None };
        Model::new(&tiny.base(), &options).unwrap()
    }

    fn check(model: &mut Model<Cpu>) -> Result<()> {
        check_gradients(model, &classification(&[&[1, 5, 2], &[1, 7, 9, 3, 2]], &[0, 1]), &[0, 1], None, 0)
    }

    #[test]
    fn a_sound_model_of_every_architecture_passes_under_every_selection_and_keeps_its_values() {
        let top = BiasSelection::of([BiasKind::Query]).in_layers(1..=1);
        for architecture in Architecture::all() {
            for biases in [BiasSelection::all(), BiasSelection::none(), top.clone()] {
                let mut model = build(&Tiny::new().in_words_of(architecture), biases);
                let before = model.arena().read().unwrap();
                check(&mut model).unwrap();
                assert_eq!(model.arena().read().unwrap(), before);
            }
        }
    }

    #[test]
    fn a_path_that_is_cut_names_the_bias_below_the_cut() {
        // Without the output projection of layer 1, its intermediate bias has no gradient.
        let mut tiny = Tiny::new();
        tiny.tensors.get_mut("encoder.layer.1.output.dense.weight").unwrap().data.fill(0.0);
        let message = check(&mut build(&tiny, BiasSelection::all())).unwrap_err().to_string();
        assert!(message.contains("bert.encoder.layer.1.intermediate.dense.bias: it is zero everywhere"), "{message}");
    }

    #[test]
    fn an_arena_that_holds_more_or_less_than_the_method_trains_is_refused() {
        let mut model = build(&Tiny::new(), BiasSelection::none());
        *model.arena_mut() = {
            let mut builder = ArenaBuilder::new(Cpu::default());
            let names = model.arena().entries().iter().map(|entry| (entry.name.clone(), entry.shape.to_vec()));
            for (name, shape) in names.chain([("bert.embeddings.LayerNorm.bias".to_owned(), vec![8])]) {
                let len = shape.iter().product();
                builder.train(name, HostTensor::new(shape, vec![0.0; len]).unwrap(), Mask::All).unwrap();
            }
            builder.build().unwrap()
        };
        let message = check(&mut model).unwrap_err().to_string();
        assert!(message.contains("LayerNorm.bias") && message.contains("should be frozen"), "{message}");

        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.train("classifier.bias", HostTensor::new([2], vec![0.0; 2]).unwrap(), Mask::All).unwrap();
        *model.arena_mut() = builder.build().unwrap();
        let message = check(&mut model).unwrap_err().to_string();
        assert!(message.contains("classifier.weight: it is not in the arena"), "{message}");
    }

    #[test]
    fn a_head_of_zeros_cuts_the_first_gradient_only_and_is_let_through() {
        let mut model = build(&Tiny::new(), BiasSelection::all());
        let mut values = model.arena().read().unwrap();
        for entry in model.arena().entries().iter().filter(|entry| entry.name.starts_with("classifier")) {
            values[entry.range()].fill(0.0);
        }
        model.arena_mut().write(&values).unwrap();
        check(&mut model).unwrap();
        assert_eq!(model.arena().read().unwrap(), values);
    }
}
