//! A BERT of two layers and a few hundred parameters, written to a directory and spoilt at will by tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Checkpoint, names};
use crate::config::BertConfig;

/// V 11, H 8, L 2, N 2, F 12, 7 positions, 2 types; every value is different from its neighbours.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub config: Value,
    /// By their names in the file.
    pub tensors: BTreeMap<String, TinyTensor>,
}

#[derive(Clone)]
pub(crate) struct TinyTensor {
    /// What `data` is stored as.
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

pub(crate) fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

impl Tiny {
    pub fn new() -> Self {
        let config = json!({
            "model_type": "bert", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 12, "max_position_embeddings": 7, "type_vocab_size": 2, "layer_norm_eps": 1e-12
        });
        let parsed = BertConfig::from_json(Path::new("config.json"), config.to_string().as_bytes()).unwrap();
        let mut tiny = Self { config, tensors: BTreeMap::new() };
        for (name, shape) in names::required(&parsed).chain(names::required_pooler(&parsed)) {
            tiny.add(&name, &shape, Dtype::F32);
        }
        tiny
    }

    pub fn add(&mut self, name: &str, shape: &[usize], dtype: Dtype) {
        let start = self.tensors.len() * 37;
        let data = (0..shape.iter().product()).map(|i| ((start + i * 7) as f32 * 0.618).sin()).collect();
        self.tensors.insert(name.into(), TinyTensor { dtype, shape: shape.to_vec(), data });
    }

    /// The safetensors file.
    pub fn bytes(&self) -> Vec<u8> {
        let stored: Vec<_> = self.tensors.values().map(TinyTensor::stored).collect();
        let views = self.tensors.iter().zip(&stored).map(|((name, tensor), bytes)| {
            (name, TensorView::new(tensor.dtype, tensor.shape.clone(), bytes).expect("as many bytes as the shape says"))
        });
        safetensors::serialize(views, None).expect("a header that fits")
    }

    pub fn write(&self, dir: &Path) {
        fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        fs::write(dir.join("model.safetensors"), self.bytes()).unwrap();
    }

    /// The checkpoint, opened from a directory that is gone afterwards: the map keeps the file.
    pub fn open(&self) -> Checkpoint {
        let dir = tempdir();
        self.write(dir.path());
        Checkpoint::open(dir.path()).unwrap()
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
