//! Before the first epoch: the proof that what should train does, and that nothing else could.

use bitfit_core::{Arena, Backend, Error as CoreError, Random, Seed, Tape, Workspace};

use super::Examples;
use crate::Result;
use crate::model::Bert;

/// The stream of the seed that moves the values for the second look.
const STREAM: u32 = u32::MAX;
/// How far.
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
    let mut tape = Tape::train(workspace, arena, Seed { run: seed, step: u32::MAX });
    let batch = examples.batch(arena.device(), rows)?;
    let outputs = model.forward(&mut tape, &batch)?;
    let loss = examples.loss(&mut tape, &outputs, rows)?;
    tape.backward(&loss, &mut gradient)?;
    Ok(arena.check_flow(&gradient)?)
}

/// The arena's table is the model's list of what trains, but for the key biases.
fn check_arena<D: Backend>(model: &Bert<D>, arena: &Arena<D>) -> Result<()> {
    let expected: Vec<&str> =
        model.parts().iter().filter(|part| part.fixed.is_none()).map(|part| part.name.as_str()).collect();
    let found: Vec<&str> = arena.entries().iter().map(|entry| entry.name.as_str()).collect();
    let stray = |from: &[&str], other: &[&str]| -> Vec<String> {
        from.iter().filter(|name| !other.contains(name)).map(ToString::to_string).collect()
    };
    let (lacking, frozen) = (stray(&expected, &found), stray(&found, &expected));
    if !lacking.is_empty() {
        return Err(CoreError::NoGradient { names: lacking, reason: "it has no place in the arena" }.into());
    }
    if !frozen.is_empty() {
        return Err(CoreError::NoGradient { names: frozen, reason: "it is frozen and yet has a buffer" }.into());
    }
    Ok(())
}
