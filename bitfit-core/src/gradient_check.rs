//! [`check_gradients`]: the gradients of a network against finite differences, for tests of an op or a network.

use crate::{Arena, Backend, Error, Result, Seed, Tape, Var, Workspace, rng::Random};

/// The distance of neighbouring points of the difference quotients: a power of two, so that it is exact.
const STEP: f32 = 1.0 / 32.0;
/// The number of entries of a parameter that are compared, evenly spread.
const ENTRIES: usize = 48;

/// The comparison of one parameter.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct GradientError {
    /// The name of the parameter.
    pub name: String,
    /// The number of its entries that were compared.
    pub compared: usize,
    /// The index, among its trainable entries, of the one that differs most.
    pub index: usize,
    /// The gradient of that entry by backward.
    pub found: f64,
    /// The gradient of that entry by finite differences.
    pub expected: f64,
    /// The difference, relative to the greatest gradient of the parameter, but to no less than a thousandth of the
    /// greatest of all.
    pub error: f64,
}

/// Compares the gradients of all parameters of `arena` with finite differences, and returns for each the entry that
/// differs most, the worst parameter first.
///
/// `network` runs a network on the tape and returns any matrix y. The function compared is `Σ w y` with fixed random
/// weights w in -1..1, summed in f64, by the formula of fourth order over four points; that is four passes for each of
/// up to 48 entries of a parameter, in training mode and with one seed, so that dropout has the same masks in all.
/// Values are restored.
///
/// In f32, gradients of a network of a few layers agree to about 10⁻³; of an op alone, to 10⁻⁴. In bfloat16 they do not
/// agree. A function with a kink, such as ReLU, differs where the points lie on both sides of it.
///
/// ```
/// use bitfit_core::{ArenaBuilder, Cpu, HostTensor, Mask, Workspace, check_gradients};
///
/// let mut builder = ArenaBuilder::new(Cpu::default());
/// let weight = builder.weight("w", HostTensor::new([2, 3], vec![0.5, -0.2, 0.1, 0.4, 0.3, -0.6])?, Mask::All)?;
/// let mut arena = builder.build()?;
/// let workspace = Workspace::new(Cpu::default());
/// let worst = check_gradients(&mut arena, &workspace, |tape| {
///     let x = tape.input(1, 3, &[1.0, 0.5, -2.0])?;
///     let y = tape.linear(&x, &weight, &[])?;
///     tape.sigmoid(&y)
/// })?;
/// assert!(worst[0].error < 1e-4, "{worst:?}");
/// # Ok::<(), bitfit_core::Error>(())
/// ```
///
/// # Errors
/// The error of `network`; [`Error::Invalid`] if y depends on no trainable parameter, or a value or a gradient is not
/// finite.
pub fn check_gradients<D: Backend>(
    arena: &mut Arena<D>,
    workspace: &Workspace<D>,
    mut network: impl FnMut(&mut Tape<'_, D>) -> Result<Var<D>>,
) -> Result<Vec<GradientError>> {
    let values = arena.read()?;
    let compared = compare(arena, workspace, &values, &mut network);
    arena.write(&values)?;
    compared
}

const SEED: Seed = Seed { run: 0, step: 0 };

fn compare<D: Backend>(
    arena: &mut Arena<D>,
    workspace: &Workspace<D>,
    values: &[f32],
    network: &mut impl FnMut(&mut Tape<'_, D>) -> Result<Var<D>>,
) -> Result<Vec<GradientError>> {
    let mut gradient = arena.gradient()?;
    let mut tape = Tape::train(workspace, arena, SEED);
    let y = network(&mut tape)?;
    let mut random = Random::new(0, 0);
    // bfloat16 holds these weights too: seven bits.
    let weights: Vec<f32> = (0..y.rows() * y.cols()).map(|_| random.below(255) as f32 / 128.0 - 1.0).collect();
    let mut dy = workspace.scratch_of(y.dtype(), weights.len())?;
    workspace.device().write(&weights, dy.as_mut())?;
    tape.backward_from(&y, dy, &mut gradient)?;
    let gradient = gradient.read(workspace.device())?;
    let not_finite = |what: String| Error::invalid("check_gradients", format!("{what} is not finite"));

    let entries = arena.entries().to_vec();
    let mut found = Vec::with_capacity(entries.len());
    let mut moved = values.to_vec();
    for entry in &entries {
        let mut of_entry = Vec::new();
        for index in (0..entry.len).step_by(entry.len.div_ceil(ENTRIES).max(1)) {
            let at = entry.offset + index;
            let mut at_distance = |steps: f32| -> Result<f64> {
                moved[at] = values[at] + steps * STEP;
                arena.write(&moved)?;
                let mut tape = Tape::train(workspace, arena, SEED);
                let y = network(&mut tape)?.to_vec()?;
                Ok(y.iter().zip(&weights).map(|(&y, &w)| f64::from(y) * f64::from(w)).sum())
            };
            let near = at_distance(1.0)? - at_distance(-1.0)?;
            let far = at_distance(2.0)? - at_distance(-2.0)?;
            moved[at] = values[at];
            let expected = (8.0 * near - far) / (12.0 * f64::from(STEP));
            let by_backward = f64::from(gradient[at]);
            if !expected.is_finite() || !by_backward.is_finite() {
                return Err(not_finite(format!("entry {index} of {}", entry.name)));
            }
            of_entry.push((index, by_backward, expected));
        }
        found.push(of_entry);
    }
    let scale = |of_entry: &[(usize, f64, f64)]| of_entry.iter().map(|(_, _, g)| g.abs()).fold(0.0, f64::max);
    let greatest = found.iter().map(|of_entry| scale(of_entry)).fold(f64::MIN_POSITIVE, f64::max);
    let mut errors: Vec<GradientError> = entries
        .iter()
        .zip(&found)
        .filter_map(|(entry, of_entry)| {
            let scale = scale(of_entry).max(1e-3 * greatest);
            let error = |(_, found, expected): &(usize, f64, f64)| (found - expected).abs() / scale;
            let worst = of_entry.iter().max_by(|a, b| error(a).total_cmp(&error(b)))?;
            let &(index, found, expected) = worst;
            let (name, compared) = (entry.name.clone(), of_entry.len());
            Some(GradientError { name, compared, index, found, expected, error: error(worst) })
        })
        .collect();
    errors.sort_by(|a, b| b.error.total_cmp(&a.error));
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ArenaBuilder, Cpu, Device, HostTensor, Mask, RowsOf, Tensor,
        memory::Scratch,
        tape::{Backward, Grads, Slot},
    };

    /// The identity, whose backward doubles the gradient.
    struct Wrong(Slot);

    impl Backward<Cpu> for Wrong {
        fn name(&self) -> &'static str {
            "wrong"
        }

        fn backward(self: Box<Self>, dy: Scratch<Cpu>, grads: &mut Grads<'_, Cpu>) -> Result<()> {
            let mut dx = grads.target(self.0, dy.len())?;
            grads.device().copy(dy.as_ref(), dx.scratch.as_mut())?;
            grads.device().accumulate(dy.as_ref(), dx.scratch.as_mut())?;
            grads.put(dx);
            Ok(())
        }
    }

    #[test]
    fn a_right_gradient_passes_a_wrong_one_is_found_and_values_are_as_before() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        let values = crate::backend::conformance::support::random;
        let right = builder.train("right", HostTensor::new([5, 40], values(1, 200)).unwrap(), Mask::All).unwrap();
        let columns = Mask::Columns(vec![3, 0]);
        let wrong = builder.train("wrong", HostTensor::new([1, 40], values(2, 40)).unwrap(), columns).unwrap();
        let mut arena = builder.build().unwrap();
        let workspace = Workspace::new(Cpu::default());
        let before = arena.read().unwrap();
        let mut run = |breaks: bool| {
            check_gradients(&mut arena, &workspace, |tape| {
                let (a, b) = (tape.parameter(&right)?, tape.parameter(&wrong)?);
                let b = match b.slot() {
                    Some(slot) if breaks => tape.record(b.tensor().clone(), Wrong(slot)),
                    _ => b,
                };
                let y = tape.mul(&a, &b)?;
                let y = tape.gelu(&y)?;
                tape.dropout(&y, 0.3, RowsOf::Tokens)
            })
            .unwrap()
        };
        let errors = run(false);
        assert!(errors[0].error < 1e-4, "{errors:?}");
        assert_eq!(errors.iter().map(|error| error.compared).sum::<usize>(), 40 + 2);
        let errors = run(true);
        assert!(errors[0].name == "wrong" && (errors[0].error - 1.0).abs() < 1e-3, "{errors:?}");
        assert!(errors[1].error < 1e-4, "{errors:?}");
        assert_eq!(arena.read().unwrap(), before);
    }

    #[test]
    fn a_network_without_parameters_and_an_error_of_the_network_are_returned() {
        let mut builder = ArenaBuilder::new(Cpu::default());
        builder.train("w", HostTensor::new([2], vec![1.0, 2.0]).unwrap(), Mask::All).unwrap();
        let mut arena = builder.build().unwrap();
        let workspace = Workspace::new(Cpu::default());
        let constant = |tape: &mut Tape<'_, Cpu>| tape.input(1, 1, &[1.0]);
        assert!(matches!(check_gradients(&mut arena, &workspace, constant), Err(Error::Invalid { .. })));
        let failing = |tape: &mut Tape<'_, Cpu>| {
            let x = Tensor::new(tape.scratch(1)?, 1, 2)?;
            Ok(tape.constant(x))
        };
        assert!(matches!(check_gradients(&mut arena, &workspace, failing), Err(Error::Shape { .. })));
    }
}
