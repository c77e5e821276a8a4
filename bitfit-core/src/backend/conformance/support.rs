//! Helpers of the conformance tests and of the ops' tests: random matrices, comparisons, networks of one op; and for
//! the tests only, a CPU of each instruction set, and finite differences.

use half::bf16;

#[cfg(test)]
use super::{Check, run_checks};
use crate::{
    Arena, ArenaBuilder, Backend, BatchOffset, DType, Device, HostTensor, Mask, Precision, Result, Seed, Tape, Tensor,
    Var, Workspace,
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};
#[cfg(test)]
use crate::{Cpu, cpu::simd::Isa};

/// The CPU with each instruction set that it has.
#[cfg(test)]
pub(crate) fn cpus() -> impl Iterator<Item = Cpu> {
    Isa::supported().map(Cpu::with_isa)
}

/// The precisions whose factors are floating-point numbers. Products of int8 have tests of their own
/// (`cpu/gemm/int8`), because their rounding depends on the rest of a row.
const FLOATING: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Runs an op's conformance checks on the CPU with every instruction set, in each of these precisions.
#[cfg(test)]
#[track_caller]
pub(crate) fn pass_on_every_cpu(checks: impl Fn() -> Vec<Check<Cpu>>) {
    for device in cpus() {
        for precision in FLOATING {
            run_checks(&device.clone().with_precision(precision), checks());
        }
    }
}

/// The precisions that a device's ops have to support: f32, and the one that the device was made with.
pub(crate) fn precisions<D: Device>(device: &D) -> impl Iterator<Item = Precision> + use<D> {
    FLOATING.into_iter().take(if device.precision() == Precision::F32 { 1 } else { 2 })
}

/// The element types of activations that a device's ops have to accept.
pub(crate) fn types<D: Device>(device: &D) -> impl Iterator<Item = DType> + use<D> {
    precisions(device).map(Precision::activation_dtype)
}

/// The tolerance for results of which some intermediate value was stored as `dtype`, given the tolerance in f32.
///
/// Half a unit in bfloat16's last place is 2⁻⁹ of a value. An operand of a product, a saved factor and the result may
/// each have been rounded; their errors have either sign, so sums of errors grow more slowly than the sums themselves.
pub(crate) fn tolerance(dtype: DType, f32: f64) -> f64 {
    match dtype {
        DType::F32 => f32,
        DType::Bf16 => f32.max(1.0 / 128.0),
    }
}

/// The values after rounding to `dtype`.
pub(crate) fn rounded(dtype: DType, values: &[f32]) -> Vec<f32> {
    match dtype {
        DType::F32 => values.to_vec(),
        DType::Bf16 => values.iter().map(|&value| bf16::from_f32(value).to_f32()).collect(),
    }
}

/// x as a matrix of type `dtype` whose gradient is converted to f32 in backward: a bfloat16 input that needs a
/// gradient.
pub(crate) fn stored<D: Backend>(tape: &mut Tape<'_, D>, dtype: DType, x: &Var<D>) -> Result<Var<D>> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    let mut y = tape.scratch_of(dtype, x.rows() * x.cols())?;
    tape.device().copy(x.slice(), y.as_mut())?;
    let y = Tensor::new(y, x.rows(), x.cols())?;
    Ok(match x.slot() {
        Some(x) => tape.record(y, Store { x }),
        None => tape.constant(y),
    })
}

struct Store {
    x: Slot,
}

impl<D: Backend> Backward<D> for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn backward(self: Box<Self>, dy: Scratch<D>, grads: &mut Grads<'_, D>) -> Result<()> {
        let mut dx = grads.scratch_for(self.x, dy.len())?;
        grads.device().copy(dy.as_ref(), dx.as_mut())?;
        grads.add(self.x, dx)
    }
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

/// The values as f64.
pub(crate) fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Asserts that two vectors agree within `tolerance` of the expected one's largest element.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], expected: &[f64], tolerance: f64) {
    assert_near(what, found, expected, tolerance, &vec![0.0; expected.len()]);
}

/// As [`assert_close`], with a further error for each element.
#[track_caller]
pub(crate) fn assert_near(what: &str, found: &[f32], expected: &[f64], tolerance: f64, further: &[f64]) {
    assert_eq!([found.len(), further.len()], [expected.len(); 2], "{what}: length");
    let scale = expected.iter().fold(1e-3, |max: f64, value| max.max(value.abs()));
    for (i, ((&found, &expected), further)) in found.iter().zip(expected).zip(further).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(error <= tolerance * scale + further, "{what}[{i}]: {found} instead of {expected}, scale {scale}");
    }
}

/// Asserts that two vectors have the same bits.
#[track_caller]
pub(crate) fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "{what}[{i}]: {found} instead of {expected}");
    }
}

/// Asserts that `gradient` is that of the scalar `f` at `x`, by central differences in f64.
#[cfg(test)]
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
#[cfg(test)]
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

/// The results of a network whose input matrices are all trainable.
pub(crate) struct Outcome<const N: usize> {
    /// Its output.
    pub y: Vec<f32>,
    /// A random gradient of the output, rounded to the output's type.
    pub dy: Vec<f32>,
    /// The gradient of each input matrix for `dy`.
    pub gradients: [Vec<f32>; N],
}

/// The seed of [`train`]'s tape.
pub(crate) const SEED: Seed = Seed { run: 9, step: 1 };

/// Runs `network` forward and backward on trainable matrices, given by shape and elements.
pub(crate) fn train<D: Backend, const N: usize>(
    device: &D,
    inputs: [([usize; 2], &[f32]); N],
    network: impl FnOnce(&mut Tape<'_, D>, [&Var<D>; N]) -> Result<Var<D>>,
) -> Outcome<N> {
    train_at(device, BatchOffset::default(), None, inputs, network)
}

/// As [`train`], as a pass over a part of a batch that stands at `offset`, with `dy` as the gradient of its output if
/// it is given.
pub(crate) fn train_at<D: Backend, const N: usize>(
    device: &D,
    offset: BatchOffset,
    dy: Option<&[f32]>,
    inputs: [([usize; 2], &[f32]); N],
    network: impl FnOnce(&mut Tape<'_, D>, [&Var<D>; N]) -> Result<Var<D>>,
) -> Outcome<N> {
    let workspace = Workspace::new(device.clone());
    let mut builder = ArenaBuilder::new(device.clone());
    let mut index = 0;
    let params = inputs.map(|(shape, data)| {
        index += 1;
        builder.train(index.to_string(), HostTensor::new(shape, data.to_vec()).unwrap(), Mask::All).unwrap()
    });
    let arena = builder.build().unwrap();
    let mut tape = Tape::train(&workspace, &arena, SEED).at(offset);
    let vars = params.map(|param| tape.parameter(&param).unwrap());
    // Fills the free buffers with NaN, so that an op that does not write all of its output is detected.
    let dirty = || {
        for (_, data) in inputs {
            let mut lent = [(); 4].map(|()| workspace.scratch(data.len()).unwrap());
            lent.iter_mut().for_each(|scratch| device.fill(f32::NAN, scratch.as_mut()).unwrap());
        }
    };
    dirty();
    let y = network(&mut tape, vars.each_ref()).unwrap();
    dirty();
    let dy = dy.map_or_else(|| rounded(y.dtype(), &random(77, y.rows() * y.cols())), <[f32]>::to_vec);
    let gradient = backward_from(tape, &y, &dy, &arena, &workspace);
    let mut entries = arena.entries().iter();
    let gradients = inputs.map(|_| gradient[entries.next().unwrap().range()].to_vec());
    Outcome { y: elements(&y), dy, gradients }
}

/// The output of a network of constants.
pub(crate) fn infer<D: Backend>(device: &D, network: impl FnOnce(&mut Tape<'_, D>) -> Result<Var<D>>) -> Vec<f32> {
    let workspace = Workspace::new(device.clone());
    let arena = ArenaBuilder::new(device.clone()).build().unwrap();
    elements(&network(&mut Tape::infer(&workspace, &arena)).unwrap())
}

/// A matrix on the host, row by row.
pub(crate) fn elements<D: Device>(y: &Var<D>) -> Vec<f32> {
    y.tensor().to_array().unwrap().into_raw_vec_and_offset().0
}

/// Asserts that an op adds to the gradient of an input if another op has written it, by applying the op twice; and that
/// a second run of the same op on the same inputs is bit-identical.
#[track_caller]
pub(crate) fn assert_accumulates<D: Backend, const N: usize>(
    device: &D,
    inputs: [([usize; 2], &[f32]); N],
    network: impl Fn(&mut Tape<'_, D>, [&Var<D>; N]) -> Result<Var<D>>,
) {
    let once = train(device, inputs, &network);
    let again = train(device, inputs, &network);
    assert_same_bits("the output of a second run", &again.y, &once.y);
    let twice = train(device, inputs, |tape, vars| {
        let (first, second) = (network(tape, vars)?, network(tape, vars)?);
        tape.add(&first, &second)
    });
    for (index, (once, twice)) in once.gradients.iter().zip(&twice.gradients).enumerate() {
        assert_same_bits(&format!("the gradient of input {index} in a second run"), &again.gradients[index], once);
        let expected: Vec<f64> = once.iter().map(|&g| 2.0 * f64::from(g)).collect();
        assert_close(&format!("twice the gradient of input {index}"), twice, &expected, 1e-6);
    }
}
