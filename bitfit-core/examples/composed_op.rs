//! Ops made of other ops, for any backend: SiLU, and a squared error with weights. They record nothing themselves, so
//! there is no backward to write. Run it with `cargo run -p bitfit-core --example composed_op`.

use bitfit_core::{
    ArenaBuilder, Backend, Cpu, HostTensor, Mask, Random, Result, Tape, Var, Workspace, check_gradients,
};

/// What this trainer adds to the tape.
trait Composed<D: Backend> {
    /// `x σ(x)`, element by element.
    fn silu(&mut self, x: &Var<D>) -> Result<Var<D>>;

    /// The mean of `w (y - t)²` over all elements: a squared error with a weight for each.
    fn weighted_mse(&mut self, y: &Var<D>, targets: &[f32], weights: &[f32]) -> Result<Var<D>>;
}

impl<D: Backend> Composed<D> for Tape<'_, D> {
    fn silu(&mut self, x: &Var<D>) -> Result<Var<D>> {
        let gate = self.sigmoid(x)?;
        self.mul(x, &gate)
    }

    fn weighted_mse(&mut self, y: &Var<D>, targets: &[f32], weights: &[f32]) -> Result<Var<D>> {
        let [targets, weights] = [targets, weights].map(|values| self.input(y.rows(), y.cols(), values));
        let difference = self.sub(y, &targets?)?;
        let square = self.mul(&difference, &difference)?;
        let weighted = self.mul(&square, &weights?)?;
        self.mean(&weighted)
    }
}

fn main() -> Result<()> {
    let (mut builder, mut random) = (ArenaBuilder::new(Cpu::default()), Random::new(0, 0));
    let up = builder.weight("up", HostTensor::normal([6, 3], 0.8, &mut random), Mask::All)?;
    let head = builder.weight("head", HostTensor::normal([1, 6], 0.8, &mut random), Mask::Columns(vec![0, 5]))?;
    let mut arena = builder.build()?;
    let input: Vec<f32> = (0..12).map(|_| random.normal() as f32).collect();
    let errors = check_gradients(&mut arena, &Workspace::new(Cpu::default()), |tape| {
        let x = tape.input(4, 3, &input)?;
        let h = tape.linear(&x, &up, &[])?;
        let h = tape.silu(&h)?;
        let z = tape.linear(&h, &head, &[])?;
        tape.weighted_mse(&z, &[1.0, 0.0, -0.5, 2.0], &[1.0, 0.0, 0.5, 3.0])
    })?;
    for error in &errors {
        println!("{:<5} {} entries compared, the worst differs by {:.1e}", error.name, error.compared, error.error);
    }
    assert!(errors.iter().all(|error| error.error < 1e-3), "{errors:?}");
    Ok(())
}
