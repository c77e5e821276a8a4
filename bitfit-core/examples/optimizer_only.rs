//! The optimizer alone, inside a training loop that has its own tensors and gradients; a build with
//! `default-features = false` suffices. Run it with `cargo run -p bitfit-core --example optimizer_only`.
//!
//! The "network" is a pre-trained logistic regression whose task has changed: the intercept and the effect of three
//! features have other values. These four scalars train, the other seventeen are frozen: the trainer gathers what
//! trains into one flat slice and scatters it back. Clipping, AdamW and the schedule come from `bitfit_core::optim`.

use bitfit_core::{
    Random, Result,
    optim::{AdamW, LearningRate, Schedule, SparseAdamW, clip_grad_norm},
};

const FEATURES: usize = 20;
const STEPS: u64 = 300;
/// The features whose weights train; the intercept trains too.
const TRAINED: [usize; 3] = [2, 7, 11];

/// The trainer's own parameters: the weights of the features, and the intercept.
#[derive(Clone)]
struct Model([f32; FEATURES], f32);

impl Model {
    fn probability(&self, x: &[f32; FEATURES]) -> f32 {
        let logit: f32 = self.0.iter().zip(x).map(|(w, x)| w * x).sum();
        1.0 / (1.0 + (-(logit + self.1)).exp())
    }

    /// The gradient of the mean cross-entropy, for the trainable values only: the intercept, then `TRAINED`.
    fn gradient(&self, data: &[([f32; FEATURES], bool)]) -> Vec<f32> {
        let mut gradient = vec![0.0; 1 + TRAINED.len()];
        for (x, label) in data {
            let error = (self.probability(x) - f32::from(*label)) / data.len() as f32;
            gradient[0] += error;
            for (g, feature) in gradient[1..].iter_mut().zip(TRAINED) {
                *g += error * x[feature];
            }
        }
        gradient
    }

    fn gather(&self) -> Vec<f32> {
        std::iter::once(self.1).chain(TRAINED.map(|feature| self.0[feature])).collect()
    }

    fn scatter(&mut self, values: &[f32]) {
        self.1 = values[0];
        TRAINED.into_iter().zip(&values[1..]).for_each(|(feature, value)| self.0[feature] = *value);
    }
}

fn main() -> Result<()> {
    let mut random = Random::new(42, 0);
    let mut model = Model(std::array::from_fn(|_| random.normal() as f32), 0.0);
    // The current true model, and rows drawn from it.
    let mut truth = model.clone();
    truth.scatter(&[-1.5, 2.0, -2.0, 1.0]);
    let mut row = || std::array::from_fn(|_| random.normal() as f32);
    let rows: Vec<[f32; FEATURES]> = (0..2000).map(|_| row()).collect();
    let mut label = |x| random.uniform() < f64::from(truth.probability(x));
    let data: Vec<_> = rows.iter().map(|x| (*x, label(x))).collect();

    let rate = LearningRate::new(0.05, Schedule::Linear, STEPS).with_warmup(20);
    let mut optimizer = SparseAdamW::new(1 + TRAINED.len(), AdamW::default())?;
    for step in 0..STEPS {
        let mut gradient = model.gradient(&data);
        let norm = clip_grad_norm(&mut gradient, 1.0);
        if step % 50 == 0 {
            println!("step {step:3}  gradient norm {norm:.4}  lr {:.4}", rate.at(step));
        }
        let mut values = model.gather();
        optimizer.step(rate.at(step), &mut values, &gradient)?;
        model.scatter(&values);
    }
    println!("trained {:.2?}\ntruth   {:.2?}", model.gather(), truth.gather());
    println!("moments of {} of {} values", optimizer.len(), FEATURES + 1);
    assert!(model.gather().iter().zip(truth.gather()).all(|(found, true_value)| (found - true_value).abs() < 0.5));
    Ok(())
}
