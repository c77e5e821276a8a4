//! Before the first epoch: the proof that what should train does, and that nothing else could.

use std::collections::BTreeSet;

use bitfit_core::{Arena, Backend, Error as CoreError, Random, Seed, Tape, Workspace};

use super::Examples;
use crate::Result;
use crate::model::Bert;

/// The stream of the seed that moves the values for the second look.
const STREAM: u32 = u32::MAX;
/// The step whose dropout is drawn: far from any that a run takes, and not the last, which sets [`Random`] apart.
const STEP: u32 = u32::MAX - 1;
/// How far the values are moved.
const NOISE: f64 = 0.02;

/// Runs one batch forward and backward and checks that every trained tensor has a gradient that is finite and not zero, and
/// that the arena, from which alone gradients and optimizer state have their size, holds exactly what the model says trains:
/// a frozen tensor has no buffer there. The key biases train in name only and are in neither.
///
/// A head that was given as zeros cuts the gradient below it at the first step, though not at the second; before such a
/// network is refused it is looked at again with its values moved a little. They are put back afterwards.
///
/// # Errors
/// [`bitfit_core::Error::NoGradient`] with the tensors that fail.
pub fn check_gradients<D: Backend>(
    model: &Bert<D>,
    arena: &mut Arena<D>,
    workspace: &Workspace<D>,
    examples: &Examples,
    rows: &[usize],
    seed: u64,
) -> Result<()> {
    check_arena(model, arena)?;
    let first = flow(model, arena, workspace, examples, rows, seed);
    if !matches!(first, Err(crate::Error::Core(CoreError::NoGradient { .. }))) {
        return first;
    }
    let values = arena.read()?;
    let mut random = Random::new(seed, STREAM);
    let moved: Vec<f32> = values.iter().map(|value| value + (random.normal() * NOISE) as f32).collect();
    arena.write(&moved)?;
    let second = flow(model, arena, workspace, examples, rows, seed);
    arena.write(&values)?;
    second
}

/// One backward pass, and what it left in the arena's gradient.
fn flow<D: Backend>(
    model: &Bert<D>,
    arena: &Arena<D>,
    workspace: &Workspace<D>,
    examples: &Examples,
    rows: &[usize],
    seed: u64,
) -> Result<()> {
    let mut gradient = arena.gradient()?;
    let mut tape = Tape::train(workspace, arena, Seed { run: seed, step: STEP });
    let batch = examples.batch(arena.device(), rows)?;
    let outputs = model.forward(&mut tape, &batch)?;
    let loss = examples.loss(&mut tape, &outputs, rows)?;
    tape.backward(&loss, &mut gradient)?;
    Ok(arena.check_gradients_reach(&gradient)?)
}

/// The arena's table is what the selection, the architecture and the head say trains, and nothing else.
fn check_arena<D: Backend>(model: &Bert<D>, arena: &Arena<D>) -> Result<()> {
    let expected = model.expected_to_train();
    let found: BTreeSet<String> = arena.entries().iter().map(|entry| entry.name.clone()).collect();
    let differ = |names: Vec<String>, reason| match names.is_empty() {
        true => Ok(()),
        false => Err(CoreError::NoGradient { names, reason }.into()),
    };
    differ(expected.difference(&found).cloned().collect(), "it has no place in the arena")?;
    differ(found.difference(&expected).cloned().collect(), "it should be frozen, and yet has a buffer")
}

#[cfg(test)]
mod tests {
    use bitfit_core::{ArenaBuilder, Cpu, Mask};

    use super::*;
    use crate::Selection;
    use crate::bias::BiasKind;
    use crate::checkpoint::testing::Tiny;
    use crate::model::{Head, HeadWeights, ModelOptions};
    use crate::tokenize::Encoding;
    use crate::train::Targets;

    fn examples() -> Examples {
        let encoding = |ids: &[u32]| Encoding { ids: ids.to_vec(), type_ids: vec![0; ids.len()] };
        Examples {
            encodings: vec![encoding(&[1, 5, 2]), encoding(&[1, 7, 9, 3, 2])],
            targets: Targets::Classes(vec![0, 1]),
        }
    }

    fn build(tiny: &Tiny, selection: Selection) -> (Bert<Cpu>, Arena<Cpu>) {
        let options = ModelOptions {
            head: Head::Classify { classes: 2 },
            head_weights: HeadWeights::Fresh { seed: 1 },
            selection,
            dropout: None,
        };
        Bert::build(&Cpu::default(), &tiny.open(), &options).unwrap()
    }

    fn check(model: &Bert<Cpu>, arena: &mut Arena<Cpu>) -> Result<()> {
        check_gradients(model, arena, &Workspace::new(Cpu::default()), &examples(), &[0, 1], 0)
    }

    #[test]
    fn a_sound_model_passes_under_every_selection_and_keeps_its_values() {
        for selection in [Selection::all(), Selection::none(), Selection::of([BiasKind::Query]).in_layers(1..=1)] {
            let (model, mut arena) = build(&Tiny::new(), selection);
            let before = arena.read().unwrap();
            check(&model, &mut arena).unwrap();
            assert_eq!(arena.read().unwrap(), before);
        }
    }

    #[test]
    fn a_path_that_is_cut_names_the_bias_below_the_cut() {
        // Without the output projection of layer 1, nothing comes back to its intermediate bias.
        let mut tiny = Tiny::new();
        tiny.tensors.get_mut("encoder.layer.1.output.dense.weight").unwrap().data.fill(0.0);
        let (model, mut arena) = build(&tiny, Selection::all());
        let message = check(&model, &mut arena).unwrap_err().to_string();
        assert!(message.contains("bert.encoder.layer.1.intermediate.dense.bias: it is zero everywhere"), "{message}");
    }

    #[test]
    fn a_buffer_of_something_frozen_or_none_of_something_trained_is_found() {
        let (model, _) = build(&Tiny::new(), Selection::none());
        let (_, mut all) = build(&Tiny::new(), Selection::of([BiasKind::Value]));
        let message = check(&model, &mut all).unwrap_err().to_string();
        assert!(message.contains("value.bias") && message.contains("should be frozen"), "{message}");

        let mut builder = ArenaBuilder::new(Cpu::default());
        let tensor = bitfit_core::HostTensor::new([2], vec![0.0; 2]).unwrap();
        builder.add("classifier.bias", tensor, Mask::All).unwrap();
        let message = check(&model, &mut builder.build().unwrap()).unwrap_err().to_string();
        assert!(message.contains("classifier.weight: it has no place"), "{message}");
    }

    #[test]
    fn a_head_of_zeros_cuts_the_first_gradient_only_and_is_let_through() {
        let (model, mut arena) = build(&Tiny::new(), Selection::all());
        let mut values = arena.read().unwrap();
        for entry in arena.entries().iter().filter(|entry| entry.name.starts_with("classifier")) {
            values[entry.range()].fill(0.0);
        }
        arena.write(&values).unwrap();
        check(&model, &mut arena).unwrap();
        assert_eq!(arena.read().unwrap(), values);
    }
}
