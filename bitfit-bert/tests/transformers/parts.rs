//! Batches that a GPU computes in parts: the buffers of a part get the same addresses whatever the parts before it are,
//! so that parts of mixed lengths are launched as graphs as often as whole batches are.

use crate::common::gpu;
use crate::padding::model;
use bitfit_bert::heads::{Pooling, Targets};
use bitfit_bert::tokenize::Encoding;
use bitfit_bert::train::{BatchSize, EpochReport, Events, Examples, TrainOptions, Trainer};
use bitfit_core::{Precision, Random};
use bitfit_cuda::Cuda;

/// The number of texts, and of those in a part.
const ROWS: usize = 64;
const PART: usize = 4;
/// The epochs in which graphs are made, and those of the whole run.
const FIRST: usize = 4;
const EPOCHS: usize = 8;

/// Collects the number of graphs that were launched until the end of each epoch.
struct Launched {
    gpu: Cuda,
    graphs: Vec<u64>,
}

impl Events for Launched {
    fn epoch(&mut self, _report: &EpochReport) -> bitfit_bert::Result<()> {
        self.graphs.push(self.gpu.graphs_launched());
        Ok(())
    }
}

/// Texts of 3 to 40 tokens.
fn examples() -> Examples {
    let mut random = Random::new(5, 0);
    let mut encoding = || {
        let ids: Vec<u32> = (0..3 + random.below(38)).map(|token| 1 + token * 5 % 20).collect();
        Encoding { type_ids: vec![0; ids.len()], ids, ..Encoding::default() }
    };
    let encodings = (0..ROWS).map(|_| encoding()).collect();
    Examples::new(encodings, Targets::Classes((0..ROWS).map(|row| row % 2).collect()))
}

/// The number of graphs that the later epochs of a run launch, of batches in random order.
fn launched(options: &TrainOptions) -> Option<u64> {
    let gpu = gpu(Precision::F32)?;
    let mut model = model(&gpu, Pooling::Mean, 0.1);
    let options = TrainOptions { epochs: EPOCHS, ..options.clone() };
    let mut launched = Launched { gpu, graphs: Vec::new() };
    Trainer::new(&mut model, &examples(), None, &options).unwrap().run(&mut launched).unwrap();
    Some(launched.graphs[EPOCHS - 1] - launched.graphs[FIRST - 1])
}

#[test]
fn on_a_gpu_parts_are_launched_as_graphs_as_often_as_whole_batches() {
    // There are no graphs.
    if std::env::var("BITFIT_CUDA_MEMORY").is_ok_and(|memory| memory == "separate") {
        return;
    }
    let sequences = |size| TrainOptions { batch_size: BatchSize::Sequences(size), ..TrainOptions::default() };
    let Some(whole) = launched(&sequences(PART)) else { return };
    assert!(whole > 0, "no graph is launched");
    let in_parts = TrainOptions { micro_batch: Some(PART), ..sequences(8 * PART) };
    let in_shards = TrainOptions { shards: Some(8), ..sequences(8 * PART) };
    // Shards are cut by tokens, so that they have more shapes.
    for (options, percent) in [(in_parts, 95), (in_shards, 85)] {
        let Some(found) = launched(&options) else { return };
        assert!(100 * found >= percent * whole, "{found} graphs instead of {whole}: {options:?}");
    }
}
