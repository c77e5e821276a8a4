//! An op with a parameter of its own: Swish with a slope for each column, `y = x σ(s x)` (Ramachandran, Zoph, Le: arXiv
//! 1710.05941). A mask chooses the slopes that train. Run it with `cargo run -p bitfit-core --example own_op`.

use bitfit_core::{
    ArenaBuilder, Cpu, HostTensor, Mask, Param, Random, Result, Tape, Tensor, Trainable, Var, Workspace,
    backend::SliceMut,
    check_gradients,
    memory::Scratch,
    tape::{Backward, Grads, Slot},
};

const SIGMOID: fn(f32) -> f32 = |x| 1.0 / (1.0 + (-x).exp());

/// x `[T, H]`, the slopes `[H]`, the result `[T, H]`.
fn swish(tape: &mut Tape<'_, Cpu>, x: &Var<Cpu>, slopes: &Param<Cpu>) -> Result<Var<Cpu>> {
    let x = tape.to_f32(x)?;
    let s = tape.value(slopes)?.f32();
    let mut y = tape.scratch(x.rows() * x.cols())?;
    for (y, (x, s)) in y.as_mut().f32().iter_mut().zip(x.slice().f32().iter().zip(s.iter().cycle())) {
        *y = x * SIGMOID(s * x);
    }
    let y = Tensor::new(y, x.rows(), x.cols())?;
    let trained = tape.trains(slopes).cloned();
    if x.slot().is_none() && trained.is_none() {
        return Ok(tape.constant(y)); // nothing here or below trains: nothing is saved
    }
    Ok(tape.record(y, Node { slot: x.slot(), x: x.tensor().clone(), slopes: slopes.clone(), trained }))
}

struct Node {
    slot: Option<Slot>,
    x: Tensor<Cpu>,
    slopes: Param<Cpu>,
    trained: Option<Trainable>,
}

impl Backward<Cpu> for Node {
    fn name(&self) -> &'static str {
        "swish"
    }

    fn backward(self: Box<Self>, dy: Scratch<Cpu>, grads: &mut Grads<'_, Cpu>) -> Result<()> {
        let (x, dy, cols) = (self.x.slice().f32(), dy.as_ref().f32(), self.x.cols());
        let s = grads.value(&self.slopes)?.f32();
        if let Some(slot) = self.slot {
            let mut dx = grads.target(slot, x.len())?;
            let add = dx.accumulate;
            for (i, dx) in dx.scratch.as_mut().f32().iter_mut().enumerate() {
                let (s, sigma) = (s[i % cols], SIGMOID(s[i % cols] * x[i]));
                let gradient = dy[i] * sigma * (1.0 + s * x[i] * (1.0 - sigma));
                *dx = if add { *dx + gradient } else { gradient };
            }
            grads.put(dx);
        }
        // The whole vector, whatever the mask: `column_sums` keeps the entries that it chooses.
        grads.column_sums([self.trained.as_ref()], |_, mut sums| {
            let Some(ds) = sums.part(0, cols).map(SliceMut::f32) else { return Ok(()) };
            for (i, (x, dy)) in x.iter().zip(dy).enumerate() {
                let sigma = SIGMOID(s[i % cols] * x);
                ds[i % cols] += dy * x * x * sigma * (1.0 - sigma);
            }
            Ok(())
        })
    }
}

fn main() -> Result<()> {
    let (mut builder, mut random) = (ArenaBuilder::new(Cpu::default()), Random::new(0, 0));
    let slopes = builder.add("slopes", HostTensor::filled([5], 1.5), Mask::Elements(vec![4, 0, 2]))?;
    let weight = builder.weight("weight", HostTensor::normal([5, 3], 0.8, &mut random), Mask::All)?;
    let mut arena = builder.build()?;
    let errors = check_gradients(&mut arena, &Workspace::new(Cpu::default()), |tape| {
        let x = tape.input(2, 3, &[1.0, -0.5, 2.0, 0.3, -1.5, 0.7])?;
        let h = tape.linear(&x, &weight, &[])?;
        swish(tape, &h, &slopes)
    })?;
    errors.iter().for_each(|error| println!("{:<7} the worst entry differs by {:.1e}", error.name, error.error));
    if errors[0].error < 1e-3 { Ok(()) } else { panic!("{errors:?}") }
}
