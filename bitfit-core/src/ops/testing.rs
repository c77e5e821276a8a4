//! What every op's tests share: a device of each instruction set, random matrices, closeness, finite differences.

use crate::{Arena, ArenaBuilder, Cpu, Device, HostTensor, Mask, Result, Seed, Tape, Var, Workspace, simd::Level};

/// The CPU by every instruction set it has.
pub(crate) fn cpus() -> impl Iterator<Item = Cpu> {
    Level::supported().map(Cpu::with_level)
}

/// `len` values in -1..1 that look random and are the same in every run.
pub(crate) fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..16).for_each(|_| _ = next());
    (0..len).map(|_| next()).collect()
}

/// The same values as f64.
pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Asserts that two vectors agree within `tolerance` of the expected one's largest element.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    let scale = expected.iter().fold(1e-3, |max: f64, value| max.max(value.abs()));
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * scale, "{what}[{i}]: {found} instead of {expected}, scale {scale}");
    }
}

/// Asserts that `gradient` is that of the scalar `f` at `x`, by central differences in f64.
#[track_caller]
pub(crate) fn assert_gradient(what: &str, x: &[f64], gradient: &[f64], f: impl Fn(&[f64]) -> f64) {
    assert_eq!(x.len(), gradient.len(), "{what}: length");
    let step = 1e-5;
    let mut at = x.to_vec();
    for i in 0..x.len() {
        at[i] = x[i] + step;
        let above = f(&at);
        at[i] = x[i] - step;
        let below = f(&at);
        at[i] = x[i];
        let numeric = (above - below) / (2.0 * step);
        let error = (numeric - gradient[i]).abs();
        assert!(error <= 1e-7 * (1.0 + numeric.abs()), "{what}[{i}]: {} instead of {numeric}", gradient[i]);
    }
}

/// `Σ a b`: turns a matrix-valued function into a scalar whose gradient with respect to the matrix is `weights`.
pub(crate) fn dot(a: &[f64], weights: &[f64]) -> f64 {
    a.iter().zip(weights).map(|(a, b)| a * b).sum()
}

/// The arena's gradient of `Σ y dy`, on the host.
pub(crate) fn backward_from<D: Device>(
    tape: Tape<'_, D>,
    y: &Var<D>,
    dy: &[f32],
    arena: &Arena<D>,
    workspace: &Workspace<D>,
) -> Vec<f32> {
    let mut gradient = arena.gradient().unwrap();
    let mut scratch = workspace.scratch_of(y.dtype(), dy.len()).unwrap();
    workspace.device().write(dy, scratch.as_mut()).unwrap();
    tape.backward_from(y, scratch, &mut gradient).unwrap();
    gradient.read(workspace.device()).unwrap()
}

/// What a network makes of matrices that all train whole.
pub(crate) struct Outcome<const N: usize> {
    /// Its output.
    pub y: Vec<f32>,
    /// A random gradient of the output.
    pub dy: Vec<f32>,
    /// The gradient of each matrix for `dy`.
    pub gradients: [Vec<f32>; N],
}

/// Runs `network` forward and backward on matrices, given by shape and elements, that all train whole.
pub(crate) fn train<const N: usize>(
    device: &Cpu,
    inputs: [([usize; 2], &[f32]); N],
    network: impl FnOnce(&mut Tape<'_, Cpu>, [&Var<Cpu>; N]) -> Result<Var<Cpu>>,
) -> Outcome<N> {
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let mut index = 0;
    let params = inputs.map(|(shape, data)| {
        index += 1;
        builder.train(index.to_string(), HostTensor::new(shape, data.to_vec()).unwrap(), Mask::Whole).unwrap()
    });
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, Seed { run: 9, step: 1 });
    let vars = params.map(|param| tape.parameter(&param).unwrap());
    // Buffers come with whatever they held before, here NaN: an op that does not write all of its output shows.
    let dirty = || {
        for (_, data) in inputs {
            let mut lent = [(); 4].map(|()| workspace.scratch(data.len()).unwrap());
            lent.iter_mut().for_each(|scratch| device.fill(f32::NAN, scratch.as_mut()).unwrap());
        }
    };
    dirty();
    let y = network(&mut tape, vars.each_ref()).unwrap();
    dirty();
    let dy = random(77, y.rows() * y.cols());
    let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
    let mut entries = arena.entries().iter();
    let gradients = inputs.map(|_| gradient[entries.next().unwrap().range()].to_vec());
    Outcome { y: y.tensor().to_array().unwrap().into_raw_vec_and_offset().0, dy, gradients }
}

/// Asserts that an op which comes second to an input's gradient adds to it: twice the op, twice the gradient.
#[track_caller]
pub(crate) fn assert_accumulates<const N: usize>(
    device: &Cpu,
    inputs: [([usize; 2], &[f32]); N],
    network: impl Fn(&mut Tape<'_, Cpu>, [&Var<Cpu>; N]) -> Result<Var<Cpu>>,
) {
    let once = train(device, inputs, &network);
    let twice = train(device, inputs, |tape, vars| {
        let (first, second) = (network(tape, vars)?, network(tape, vars)?);
        tape.add(&first, &second)
    });
    for (index, (once, twice)) in once.gradients.iter().zip(&twice.gradients).enumerate() {
        let expected: Vec<f64> = once.iter().map(|&g| 2.0 * f64::from(g)).collect();
        assert_close(&format!("twice the gradient of input {index}"), twice, &expected, 1e-6);
    }
}
