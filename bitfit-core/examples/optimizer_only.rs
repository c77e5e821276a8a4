//! Using the optimizer alone, inside a training loop that has its own tensors and its own gradients.
//!
//! The "network" is a pre-trained logistic regression whose task has changed: the intercept and the effect of three
//! features have other values. The example trains these four scalars and leaves the other seventeen frozen. The trainer
//! gathers the trainable values into one flat slice and scatters them back; clipping, AdamW and the schedule come from
//! `bitfit_core::optim`.
//!
//! ```text
//! cargo run -p bitfit-core --example optimizer_only
//! ```

use bitfit_core::{
    Result,
    optim::{AdamW, LearningRate, Schedule, SparseAdamW, clip_grad_norm},
};

const FEATURES: usize = 20;
const ROWS: usize = 2000;
const STEPS: u64 = 300;
/// The features whose weights train; the intercept trains too.
const TRAINED: [usize; 3] = [2, 7, 11];

/// The trainer's own parameters.
struct Model {
    weights: [f32; FEATURES],
    intercept: f32,
}

impl Model {
    fn probability(&self, x: &[f32; FEATURES]) -> f32 {
        let logit: f32 = self.weights.iter().zip(x).map(|(w, x)| w * x).sum();
        1.0 / (1.0 + (-(logit + self.intercept)).exp())
    }

    /// The mean cross-entropy, and its gradient for the trainable values only: the intercept, then `TRAINED`.
    fn loss_and_gradient(&self, data: &[([f32; FEATURES], bool)]) -> (f32, Vec<f32>) {
        let mut loss = 0.0;
        let mut gradient = vec![0.0; 1 + TRAINED.len()];
        for (x, label) in data {
            let p = self.probability(x);
            loss -= if *label { p } else { 1.0 - p }.max(f32::MIN_POSITIVE).ln();
            let error = (p - f32::from(*label)) / data.len() as f32;
            gradient[0] += error;
            for (g, feature) in gradient[1..].iter_mut().zip(TRAINED) {
                *g += error * x[feature];
            }
        }
        (loss / data.len() as f32, gradient)
    }

    fn gather(&self) -> Vec<f32> {
        std::iter::once(self.intercept).chain(TRAINED.map(|feature| self.weights[feature])).collect()
    }

    fn scatter(&mut self, values: &[f32]) {
        self.intercept = values[0];
        for (feature, value) in TRAINED.into_iter().zip(&values[1..]) {
            self.weights[feature] = *value;
        }
    }
}

fn main() -> Result<()> {
    let mut noise = Noise(42);
    let pretrained: [f32; FEATURES] = std::array::from_fn(|_| noise.symmetric());
    let mut model = Model { weights: pretrained, intercept: 0.0 };

    // The current true model, and rows drawn from it.
    let mut truth = Model { weights: pretrained, intercept: 0.0 };
    truth.scatter(&[-1.5, 2.0, -2.0, 1.0]);
    let data: Vec<_> = (0..ROWS)
        .map(|_| {
            let x = std::array::from_fn(|_| 2.0 * noise.symmetric());
            (x, noise.uniform() < truth.probability(&x))
        })
        .collect();

    let rate = LearningRate { peak: 0.05, schedule: Schedule::Linear, warmup_steps: 20, total_steps: STEPS };
    let mut optimizer = SparseAdamW::new(1 + TRAINED.len(), AdamW::default())?;
    for step in 0..STEPS {
        let (loss, mut gradient) = model.loss_and_gradient(&data);
        let norm = clip_grad_norm(&mut gradient, 1.0);
        if step % 50 == 0 {
            println!("step {step:3}  loss {loss:.4}  gradient norm {norm:.4}  lr {:.4}", rate.at(step));
        }
        let mut values = model.gather();
        optimizer.step(rate.at(step), &mut values, &gradient)?;
        model.scatter(&values);
    }

    println!(
        "at the end  loss {:.4}  of the truth {:.4}",
        model.loss_and_gradient(&data).0,
        truth.loss_and_gradient(&data).0
    );
    println!("trainable {:.2?}", model.gather());
    println!("truth   {:.2?}", truth.gather());
    let moved = (0..FEATURES).filter(|&feature| model.weights[feature] != pretrained[feature]).collect::<Vec<_>>();
    println!("weights that moved: {moved:?}, moments held: {} of {}", optimizer.len(), FEATURES + 1);
    Ok(())
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): numbers that are the same in every run.
struct Noise(u64);

impl Noise {
    /// A number in 0..1.
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 24) as f32
    }

    /// A number in -1..1.
    fn symmetric(&mut self) -> f32 {
        2.0 * self.uniform() - 1.0
    }
}
