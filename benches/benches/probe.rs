//! What a probe costs beside an evaluation: 10,000 texts of 20 tokens on MiniLM's extents, 14 classes.
//!
//! Evaluating is the one pass over the texts that both make; fitting is what the probe adds to it, the choice of the
//! penalty and the fit on all rows. `cargo bench -p benches --bench probe -- [ROUNDS]`, 3 by default. As a test, 100
//! texts.

use std::path::Path;

use benches::{MINILM, checkpoint, classes, median, random_text, rounds, seconds};
use bitfit_bert::heads::{Pooling, Targets};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, Model};
use bitfit_bert::probe::Probe;
use bitfit_bert::train::{Evaluation, Examples, evaluate};
use bitfit_core::{Cpu, Device, Precision, Random};
use ndarray::Array2;

const CLASSES: usize = 14;
const TOKENS: usize = 20;

fn main() {
    let (texts, rounds) = if benches::is_test() { (100, 1) } else { (10_000, rounds(3)) };
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let mut random = Random::new(3, 0);
    let of_text: Vec<usize> = (0..texts).map(|_| random.below(CLASSES as u32) as usize).collect();
    // Rows that are near the centre of their class, as far apart as those of a sentence encoder.
    let centres = Array2::from_shape_simple_fn((CLASSES, MINILM.hidden), || random.uniform() as f32 - 0.5);
    let rows = Array2::from_shape_fn((texts, MINILM.hidden), |(text, column)| {
        centres[[of_text[text], column]] + 4.0 * (random.uniform() as f32 - 0.5)
    });
    let targets = Targets::Classes(of_text);
    let encodings = (0..texts).map(|_| random_text(&mut random, TOKENS)).collect();
    let examples = Examples::new(encodings, targets);

    let measured = |work: &dyn Fn()| median((0..rounds).map(|_| seconds(work)));
    for precision in Precision::ALL {
        let device = Cpu::default().with_precision(precision);
        let base = Base::open(&device, &checkpoint(MINILM, dir)).expect("the bench's model");
        let model = Model::new(&base, &classes(CLASSES, Pooling::Mean)).expect("a model");
        let evaluating = measured(&|| {
            let evaluation = Evaluation { examples: &examples, metrics: &[Metric::Accuracy] };
            device.install(|| evaluate(&model, evaluation).expect("a score"));
        });
        println!("evaluating {texts} texts of {TOKENS} tokens, {precision}: {evaluating:.2} s");
    }
    let fitting = measured(&|| {
        Cpu::default().install(|| Probe::fit(rows.view(), &examples.targets, CLASSES));
    });
    println!("fitting a probe of {CLASSES} classes to their rows of {}: {fitting:.2} s", MINILM.hidden);
}
