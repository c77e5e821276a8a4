//! Whole training steps on random tokens.

use std::{ops::Range, path::Path};

use bitfit_bert::model::{Batch, Bert, Head, HeadWeights, ModelOptions};
use bitfit_bert::tokenize::Encoding;
use bitfit_bert::train::{Examples, Targets};
use bitfit_bert::{Checkpoint, Selection};
use bitfit_core::optim::{AdamW, ArenaOptimizer};
use bitfit_core::{Arena, Backend, Gradient, Random, Seed, Tape, Workspace};

use crate::{Size, checkpoint};

/// Everything training steps need.
pub struct Step<D: Backend> {
    /// The network.
    pub model: Bert<D>,
    /// What trains.
    pub arena: Arena<D>,
    /// The device.
    pub workspace: Workspace<D>,
    optimizer: ArenaOptimizer<D>,
    gradient: Gradient<D>,
    examples: Examples,
    step: u32,
}

impl<D: Backend> Step<D> {
    /// BitFit on random tokens: one sequence of each length, two classes, dropout as in the checkpoint.
    ///
    /// # Panics
    /// When the bench's model cannot be written or built.
    pub fn new(device: D, size: Size, dir: &Path, lengths: &[usize]) -> Self {
        let checkpoint = Checkpoint::open(&checkpoint(size, dir)).expect("the bench's model");
        let options = ModelOptions {
            head: Head::Classify { classes: 2 },
            head_weights: HeadWeights::Fresh { seed: 0 },
            selection: Selection::all(),
            dropout: None,
        };
        let (model, arena) = Bert::build(&device, &checkpoint, &options).expect("the bench's model");
        let mut random = Random::new(2, 0);
        let encodings: Vec<Encoding> = lengths
            .iter()
            .map(|&len| Encoding {
                ids: (0..len).map(|_| 1000 + random.below(29_000)).collect(),
                type_ids: vec![0; len],
            })
            .collect();
        let targets = Targets::Classes(lengths.iter().map(|_| random.below(2) as usize).collect());
        Self {
            optimizer: ArenaOptimizer::new(&arena, AdamW::default()).expect("an optimizer"),
            gradient: arena.gradient().expect("a gradient"),
            examples: Examples { encodings, targets },
            workspace: Workspace::new(device),
            model,
            arena,
            step: 0,
        }
    }

    /// A step over all sequences: forward, backward, clip and AdamW; returns the loss.
    ///
    /// # Panics
    /// When the device fails.
    pub fn run(&mut self) -> f32 {
        self.run_batch(0..self.examples.encodings.len())
    }

    /// A step over some of the sequences.
    ///
    /// # Panics
    /// When the device fails.
    pub fn run_batch(&mut self, sequences: Range<usize>) -> f32 {
        self.workspace.device().clone().install(|| self.run_installed(sequences))
    }

    fn run_installed(&mut self, sequences: Range<usize>) -> f32 {
        self.gradient.clear(self.workspace.device()).expect("a gradient");
        let mut tape = Tape::train(&self.workspace, &self.arena, Seed { run: 0, step: self.step });
        let encodings = &self.examples.encodings[sequences.clone()];
        let batch = Batch::new(self.workspace.device(), encodings).expect("a batch");
        let outputs = self.model.forward(&mut tape, &batch).expect("a forward pass");
        let rows: Vec<usize> = sequences.collect();
        let loss = self.examples.loss(&mut tape, &outputs, &rows).expect("a loss");
        tape.backward(&loss, &mut self.gradient).expect("a backward pass");
        self.optimizer.step(&mut self.arena, &self.gradient, 1e-3, Some(1.0)).expect("a step");
        self.step += 1;
        loss.tensor().to_array().expect("a loss")[[0, 0]]
    }
}
