//! Batches of different lengths on a GPU, where rows of padding give them a common shape: the losses and gradients are
//! those of the CPU, which pads nothing, and the steps are launched as graphs.

use crate::common::{cpus, goldens, gpu};
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions};
use bitfit_bert::tokenize::Encoding;
use bitfit_bert::train::Examples;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::{Backend, Precision, Seed};

/// The lengths of the texts of each batch. Each has another number of tokens, and none more than 32 rows take.
const BATCHES: [[usize; 4]; 6] = [[8, 8, 8, 8], [5, 7, 3, 4], [8, 1, 2, 6], [2, 2, 3, 5], [8, 8, 7, 8], [6, 5, 7, 8]];

/// A classifier of two classes.
pub fn model<D: Backend>(device: &D, pooling: Pooling, dropout: f32) -> Model<D> {
    let spec = TaskSpec {
        kind: Kind::Classify,
        labels: Labels::from_names(["a", "b"].map(str::to_owned).to_vec()),
        pairs: false,
        pair: PairEncoding::Joint,
        span: None,
        pooling,
        max_length: 64,
        metrics: vec![Metric::Accuracy],
    };
    let method = Method::BitFit(BiasSelection::all());
    let options = ModelOptions { spec, method, initial: InitialValues::Drawn { seed: 0 }, dropout: Some(dropout) };
    Model::new(&Base::open(device, &goldens("bert-h32-l2")).unwrap(), &options).unwrap()
}

fn examples(lengths: &[usize]) -> Examples {
    let text = |(number, &length): (usize, &usize)| Encoding {
        ids: (0..length).map(|token| (1 + (7 * number + 5 * token + length) % 20) as u32).collect(),
        type_ids: vec![0; length],
        ..Encoding::default()
    };
    let encodings = lengths.iter().enumerate().map(text).collect();
    Examples::new(encodings, Targets::Classes((0..lengths.len()).map(|number| number % 2).collect()))
}

/// The loss of a batch, and the gradient behind it.
fn step<D: Backend>(model: &Model<D>, lengths: &[usize]) -> Vec<f32> {
    let rows: Vec<usize> = (0..lengths.len()).collect();
    let mut gradient = model.arena().gradient().unwrap();
    let mut tape = model.training_tape(Seed { run: 0, step: 0 });
    let batch = examples(lengths).batch(model, &rows).unwrap();
    let outputs = model.forward(&mut tape, &batch).unwrap();
    let loss = model.loss(&mut tape, &outputs, &batch).unwrap();
    tape.backward(&loss, &mut gradient).unwrap();
    let loss = loss.tensor().to_array().unwrap()[[0, 0]];
    [vec![loss], gradient.read(model.base().device()).unwrap()].concat()
}

#[test]
fn on_a_gpu_batches_of_other_lengths_are_launched_as_graphs_and_padding_changes_nothing() {
    let is_separate = std::env::var("BITFIT_CUDA_MEMORY").is_ok_and(|memory| memory == "separate");
    for pooling in [Pooling::Pooler, Pooling::Cls, Pooling::Mean, Pooling::MeanNormalized] {
        let Some(gpu) = gpu(Precision::F32) else { return };
        let Some(cpu) = cpus(Precision::F32).next() else { return };
        let (on_gpu, on_cpu) = (model(&gpu, pooling, 0.0), model(&cpu, pooling, 0.0));
        for lengths in BATCHES {
            let (found, expected) = (step(&on_gpu, &lengths), step(&on_cpu, &lengths));
            let most = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let off = found.iter().zip(&expected).fold(0.0_f32, |off, (one, other)| off.max((one - other).abs()));
            assert!(off <= 1e-5 * most, "{pooling:?} {lengths:?}: {off} of {most}");
        }
        assert!(gpu.graphs_launched() > 0 || is_separate, "{pooling:?}");
    }
}
