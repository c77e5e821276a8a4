//! What the benches share: models of the usual sizes with random weights, and random batches.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bitfit_bert::model::{Batch, Bert, Head, HeadWeights, ModelOptions};
use bitfit_bert::tokenize::Encoding;
use bitfit_bert::train::{Examples, Targets};
use bitfit_bert::{Checkpoint, Selection};
use bitfit_core::optim::{AdamW, ArenaOptimizer};
use bitfit_core::{Arena, Cpu, Gradient, Random, Seed, Tape, Workspace};
use safetensors::{Dtype, tensor::TensorView};

/// The extents of a BERT.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// For reports and file names.
    pub name: &'static str,
    /// L.
    pub layers: usize,
    /// H.
    pub hidden: usize,
    /// N.
    pub heads: usize,
    /// F.
    pub ffn: usize,
}

/// all-MiniLM-L6-v2.
pub const MINILM: Size = Size { name: "minilm", layers: 6, hidden: 384, heads: 12, ffn: 1536 };
/// bert-base-uncased.
pub const BASE: Size = Size { name: "bert-base", layers: 12, hidden: 768, heads: 12, ffn: 3072 };
/// bert-large-uncased.
pub const LARGE: Size = Size { name: "bert-large", layers: 24, hidden: 1024, heads: 16, ffn: 4096 };

const VOCAB: usize = 30_522;

/// A checkpoint of this size with random weights, written once into `dir` and found there again.
///
/// # Panics
/// When `dir` cannot be written.
pub fn checkpoint(size: Size, dir: &Path) -> PathBuf {
    let dir = dir.join(format!("bench-{}", size.name));
    if dir.join("model.safetensors").exists() {
        return dir;
    }
    std::fs::create_dir_all(&dir).expect("a place for the bench's model");
    let config = serde_json::json!({
        "model_type": "bert", "vocab_size": VOCAB, "hidden_size": size.hidden, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "intermediate_size": size.ffn, "max_position_embeddings": 512,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).expect("config.json");
    let (h, f) = (size.hidden, size.ffn);
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("embeddings.word_embeddings.weight".into(), vec![VOCAB, h]),
        ("embeddings.position_embeddings.weight".into(), vec![512, h]),
        ("embeddings.token_type_embeddings.weight".into(), vec![2, h]),
        ("pooler.dense.weight".into(), vec![h, h]),
        ("pooler.dense.bias".into(), vec![h]),
    ];
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..size.layers {
        let at = |name: &str| format!("encoder.layer.{layer}.{name}");
        for (name, out, inner) in [
            ("attention.self.query", h, h),
            ("attention.self.key", h, h),
            ("attention.self.value", h, h),
            ("attention.output.dense", h, h),
            ("intermediate.dense", f, h),
            ("output.dense", h, f),
        ] {
            shapes.push((at(&format!("{name}.weight")), vec![out, inner]));
            shapes.push((at(&format!("{name}.bias")), vec![out]));
        }
        norms.extend([at("attention.output.LayerNorm"), at("output.LayerNorm")]);
    }
    let mut random = Random::new(1, 0);
    // Uniform with the deviation of BERT's own initialisation; a bench needs no more of them.
    let mut draw = |len: usize| -> Vec<f32> { (0..len).map(|_| (random.uniform() as f32 - 0.5) * 0.07).collect() };
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let data = draw(shape.iter().product());
            (name, shape, data)
        })
        .collect();
    for norm in norms {
        tensors.push((format!("{norm}.weight"), vec![h], vec![1.0; h]));
        tensors.push((format!("{norm}.bias"), vec![h], vec![0.0; h]));
    }
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|(_, _, data)| data.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("a tensor has its shape's size"))
    });
    let partial = dir.join("model.partial");
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, &partial).expect("model.safetensors");
    std::fs::rename(partial, dir.join("model.safetensors")).expect("model.safetensors");
    dir
}

/// Everything one training step needs.
pub struct Step {
    /// The network.
    pub model: Bert<Cpu>,
    /// What trains.
    pub arena: Arena<Cpu>,
    /// The device.
    pub workspace: Workspace<Cpu>,
    optimizer: ArenaOptimizer<Cpu>,
    gradient: Gradient<Cpu>,
    examples: Examples,
    rows: Vec<usize>,
    step: u32,
}

impl Step {
    /// BitFit on random tokens: one sequence of each length, two classes, dropout as in the checkpoint.
    ///
    /// # Panics
    /// When the bench's model cannot be written or built.
    pub fn new(size: Size, dir: &Path, lengths: &[usize]) -> Self {
        let device = Cpu::default();
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
            rows: (0..lengths.len()).collect(),
            examples: Examples { encodings, targets },
            workspace: Workspace::new(device),
            model,
            arena,
            step: 0,
        }
    }

    /// Forward, backward, clip and AdamW; returns the loss.
    ///
    /// # Panics
    /// When the device fails.
    pub fn run(&mut self) -> f32 {
        self.gradient.clear(self.workspace.device()).expect("a gradient");
        let mut tape = Tape::train(&self.workspace, &self.arena, Seed { run: 0, step: self.step });
        let batch = Batch::new(self.workspace.device(), &self.examples.encodings).expect("a batch");
        let outputs = self.model.forward(&mut tape, &batch).expect("a forward pass");
        let loss = self.examples.loss(&mut tape, &outputs, &self.rows).expect("a loss");
        tape.backward(&loss, &mut self.gradient).expect("a backward pass");
        self.optimizer.step(&mut self.arena, &self.gradient, 1e-3, Some(1.0)).expect("a step");
        self.step += 1;
        loss.tensor().to_array().expect("a loss")[[0, 0]]
    }
}
