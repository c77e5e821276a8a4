//! A model of a few hundred parameters for tests, written to a directory in Hugging Face's layout, which tests can
//! corrupt.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

use crate::arch::{Architecture, MaskedLmTensor, Positions};
use crate::config::{self, ModelConfig};

/// The contents of a model's files: a configuration, and tensors by their names.
#[derive(Clone, Debug)]
pub struct Tiny {
    /// The content of `config.json`.
    pub config: Value,
    /// The tensors of `model.safetensors` by name.
    pub tensors: BTreeMap<String, TinyTensor>,
}

/// A tensor of a [`Tiny`].
#[derive(Clone, Debug)]
pub struct TinyTensor {
    /// The type in which `data` is stored.
    pub dtype: Dtype,
    /// The extents.
    pub shape: Vec<usize>,
    /// The elements, row-major.
    pub data: Vec<f32>,
}

impl Default for Tiny {
    fn default() -> Self {
        Self::new()
    }
}

impl Tiny {
    /// A BERT with V 11, H 8, L 2, N 2, F 12, 7 positions and 2 token types, with a pooler, whose neighbouring values
    /// differ.
    pub fn new() -> Self {
        Self::of(json!({
            "model_type": "bert", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 7, "type_vocab_size": 2, "layer_norm_eps": 1e-12
        }))
    }

    /// A model of this configuration, with a pooler if the architecture has one.
    ///
    /// # Panics
    /// When the configuration is refused.
    pub fn of(config: Value) -> Self {
        let mut tiny = Self { config, tensors: BTreeMap::new() };
        let config = tiny.config();
        let architecture = config.architecture;
        for role in architecture.required(&config).chain(architecture.pooler()) {
            tiny.add(&architecture.name(role), &architecture.shape(role, &config), Dtype::F32);
        }
        tiny
    }

    /// A model of the same extents with the names of another architecture.
    ///
    /// # Panics
    /// When the architecture cannot have these extents.
    #[must_use]
    pub fn in_words_of(&self, architecture: &Architecture) -> Self {
        let (config, keys) = (self.config(), &architecture.keys);
        let first = if architecture.positions == Positions::FromZero { 0 } else { 2 };
        Self::of(json!({
            "model_type": architecture.model_type, "vocab_size": config.vocab_size, keys.hidden_size: config.hidden_size,
            keys.num_hidden_layers: config.num_hidden_layers, keys.num_attention_heads: config.num_attention_heads,
            keys.intermediate_size: config.intermediate_size,
            "max_position_embeddings": config.max_length() + first,
            "type_vocab_size": config.type_vocab_size, "layer_norm_eps": config.layer_norm_eps,
        }))
    }

    /// The same model with the head for masked language modelling of its architecture.
    ///
    /// # Panics
    /// When the architecture has none.
    #[must_use]
    pub fn with_masked_lm(mut self) -> Self {
        let config = self.config();
        let names = config.architecture.masked_lm.as_ref().expect("an architecture with such a head");
        for tensor in MaskedLmTensor::ALL {
            self.add(&names.name(tensor), &tensor.shape(&config), Dtype::F32);
        }
        self
    }

    /// The parsed configuration.
    ///
    /// # Panics
    /// When it is refused.
    pub fn config(&self) -> ModelConfig {
        let json = self.config.to_string();
        ModelConfig::from_json(Path::new(config::FILE_NAME), json.as_bytes()).expect("a sound configuration")
    }

    /// Adds a tensor with values that differ from their neighbours'.
    pub fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        let start = self.tensors.len() * 37;
        let data = (0..shape.iter().product()).map(|i| ((start + i * 7) as f32 * 0.618).sin()).collect();
        self.tensors.insert(name.into(), TinyTensor { dtype, shape: shape.to_vec(), data });
    }

    /// The bytes of `model.safetensors`.
    ///
    /// # Panics
    /// When the data of a tensor does not have its shape's size.
    pub fn bytes(&self) -> Vec<u8> {
        let stored: Vec<_> = self.tensors.values().map(TinyTensor::stored).collect();
        let views = self.tensors.iter().zip(&stored).map(|((name, tensor), bytes)| {
            (name, TensorView::new(tensor.dtype, tensor.shape.clone(), bytes).expect("as many bytes as the shape says"))
        });
        safetensors::serialize(views, None).expect("a header that fits")
    }

    /// Writes `config.json` and `model.safetensors` into a directory.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, dir: &Path) {
        fs::write(dir.join(config::FILE_NAME), self.config.to_string()).expect("a configuration");
        fs::write(dir.join("model.safetensors"), self.bytes()).expect("weights");
    }

    /// The opened checkpoint. Its directory is removed, but the memory map keeps the file.
    #[cfg(test)]
    pub fn open(&self) -> crate::Checkpoint {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        crate::Checkpoint::open(dir.path()).unwrap()
    }

    /// The model laid out on a CPU.
    #[cfg(test)]
    pub fn base(&self) -> crate::model::Base<bitfit_core::Cpu> {
        crate::model::Base::new(&bitfit_core::Cpu::default(), self.open())
    }
}

impl TinyTensor {
    fn stored(&self) -> Vec<u8> {
        let values = self.data.iter();
        match self.dtype {
            Dtype::F32 => values.flat_map(|x| x.to_le_bytes()).collect(),
            Dtype::F16 => values.flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Dtype::BF16 => values.flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
            other => vec![0; self.data.len() * other.bitsize() / 8],
        }
    }
}
