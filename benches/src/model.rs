//! Checkpoints of the usual sizes with random weights, because benches depend only on their shapes.

use std::{
    borrow::Cow,
    collections::HashMap,
    path::{Path, PathBuf},
};

use bitfit_bert::ModelConfig;
use bitfit_bert::arch::{
    Architecture, BERT, DISTILBERT, MPNET, MaskedLmTensor, Module, Part, Positions, ROBERTA, Role,
};
use bitfit_core::Random;
use safetensors::{Dtype, View};

/// The architecture and the extents of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The name in reports and file names.
    pub name: &'static str,
    /// The architecture.
    pub architecture: &'static Architecture,
    /// The number of layers, L.
    pub layers: usize,
    /// The hidden size, H.
    pub hidden: usize,
    /// The number of heads, N.
    pub heads: usize,
    /// The width of the feed-forward, F.
    pub ffn: usize,
    /// The number of word pieces, V.
    pub vocab: usize,
}

/// all-MiniLM-L6-v2.
pub const MINILM: Size =
    Size { name: "minilm", architecture: &BERT, layers: 6, hidden: 384, heads: 12, ffn: 1536, vocab: 30_522 };
/// bert-base-uncased.
pub const BASE: Size = Size { name: "bert-base", layers: 12, hidden: 768, ffn: 3072, ..MINILM };
/// bert-large-uncased.
pub const LARGE: Size = Size { name: "bert-large", layers: 24, hidden: 1024, heads: 16, ffn: 4096, ..MINILM };
/// roberta-base.
pub const ROBERTA_BASE: Size = Size { name: "roberta-base", architecture: &ROBERTA, vocab: 50_265, ..BASE };
/// distilbert-base-uncased.
pub const DISTILBERT_BASE: Size = Size { name: "distilbert-base", architecture: &DISTILBERT, layers: 6, ..BASE };
/// all-mpnet-base-v2.
pub const MPNET_BASE: Size = Size { name: "mpnet-base", architecture: &MPNET, vocab: 30_527, ..BASE };
/// Every size.
pub const SIZES: [Size; 6] = [MINILM, BASE, LARGE, ROBERTA_BASE, DISTILBERT_BASE, MPNET_BASE];

/// The number of tokens that every size can read.
pub const MAX_TOKENS: usize = 512;

/// A checkpoint of this size with random weights, written to `dir` at the first call and reused later.
///
/// Tensors are drawn while they are written, one at a time, so that writing does not affect the peak memory.
///
/// # Panics
/// When `dir` cannot be written.
pub fn checkpoint(size: Size, dir: &Path) -> PathBuf {
    let dir = dir.join(format!("bench-{}", size.name));
    if dir.join("model.safetensors").exists() {
        return dir;
    }
    std::fs::create_dir_all(&dir).expect("a place for the bench's model");
    let keys = &size.architecture.keys;
    // Where positions begin behind the padding's id, which is 1, two rows of the table are for none.
    let before = if size.architecture.positions == Positions::FromZero { 0 } else { 2 };
    let config = serde_json::json!({
        "model_type": size.architecture.model_type, "vocab_size": size.vocab, keys.hidden_size: size.hidden,
        keys.num_hidden_layers: size.layers, keys.num_attention_heads: size.heads, keys.intermediate_size: size.ffn,
        "max_position_embeddings": MAX_TOKENS + before, "type_vocab_size": if before == 0 { 2 } else { 1 },
        "layer_norm_eps": 1e-12, keys.hidden_act: "gelu", keys.hidden_dropout: 0.1, keys.attention_dropout: 0.1,
    });
    std::fs::write(dir.join("config.json"), config.to_string()).expect("config.json");
    let config = ModelConfig::open(&dir).expect("config.json");
    // Written under another name first, so that a partial checkpoint is never used.
    let partial = dir.join(format!("partial-{}", std::process::id()));
    // Transformers requires the name of the framework that wrote the file.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(tensors(&config), Some(metadata), &partial).expect("model.safetensors");
    std::fs::rename(partial, dir.join("model.safetensors")).expect("model.safetensors");
    dir
}

/// Every tensor of an encoder with its pooler and its head for masked language modelling, with transformers' names.
fn tensors(config: &ModelConfig) -> Vec<(String, Weights)> {
    let architecture = config.architecture;
    let values = |role: Role| match (role.module, role.part) {
        (Module::EmbeddingsLayerNorm | Module::AttentionLayerNorm | Module::OutputLayerNorm, Part::Weight) => {
            Values::All(1.0)
        }
        (Module::EmbeddingsLayerNorm | Module::AttentionLayerNorm | Module::OutputLayerNorm, Part::Bias) => {
            Values::All(0.0)
        }
        _ => Values::Random,
    };
    let encoder = architecture.required(config).chain(architecture.pooler());
    let encoder = encoder.map(|role| (architecture.name(role), architecture.shape(role, config), values(role)));
    let masked_lm = architecture.masked_lm.iter().flat_map(|names| {
        MaskedLmTensor::ALL.map(|tensor| {
            let values = match tensor {
                MaskedLmTensor::Norm(Part::Weight) => Values::All(1.0),
                MaskedLmTensor::Norm(Part::Bias) | MaskedLmTensor::Decoder(_) => Values::All(0.0),
                MaskedLmTensor::Dense(_) => Values::Random,
            };
            (names.name(tensor), tensor.shape(config), values)
        })
    });
    let all = encoder.chain(masked_lm).enumerate();
    all.map(|(stream, (name, shape, values))| (name, Weights { stream: stream as u32, shape, values })).collect()
}

#[derive(Clone, Copy)]
enum Values {
    /// Uniformly distributed with the standard deviation of BERT's initialisation, which suffices for a bench.
    Random,
    All(f32),
}

/// One tensor, which is made when its bytes are requested.
struct Weights {
    stream: u32,
    shape: Vec<usize>,
    values: Values,
}

impl View for Weights {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let mut random = Random::new(1, self.stream);
        let mut value = || match self.values {
            Values::Random => (random.uniform() as f32 - 0.5) * 0.07,
            Values::All(value) => value,
        };
        let len: usize = self.shape.iter().product();
        let mut bytes = Vec::with_capacity(self.data_len());
        (0..len).for_each(|_| bytes.extend(value().to_le_bytes()));
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<f32>()
    }
}
