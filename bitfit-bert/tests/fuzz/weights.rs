//! `model.safetensors`: [`Checkpoint::open`], every tensor of it, and its fingerprint.

use std::path::Path;

use bitfit_bert::Checkpoint;
use bitfit_bert::fixture::Tiny;
use safetensors::Dtype;

use crate::runner::{Target, check_error, run};

#[test]
fn fuzz() {
    let tiny = Tiny::new();
    let mut halves = Tiny::new();
    for (index, tensor) in halves.tensors.values_mut().enumerate() {
        tensor.dtype = if index % 2 == 0 { Dtype::F16 } else { Dtype::BF16 };
    }
    // A model with a head, whose names have a prefix and early endings, without a pooler, and with what is ignored.
    let mut named = Tiny::new();
    named.tensors.retain(|name, _| !name.starts_with("pooler"));
    named.tensors = named
        .tensors
        .into_iter()
        .map(|(name, tensor)| {
            let name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta");
            (format!("bert.{name}"), tensor)
        })
        .collect();
    named.add("classifier.weight", &[2, 8], Dtype::F32);
    named.add("bert.embeddings.position_ids", &[1, 7], Dtype::I64);
    run(Target {
        name: "weights",
        memory: 96 << 20,
        seeds: [&tiny, &halves, &named].map(|tiny| vec![("model.safetensors".into(), tiny.bytes())]).into(),
        fixed: vec![("config.json".into(), tiny.config.to_string().into())],
        check: Box::new(|dir, _| open(dir, &["model.safetensors"])),
    });
}

/// Opens a checkpoint and reads all of it; whether it is accepted.
pub fn open(dir: &Path, names: &[&str]) -> bool {
    let checkpoint = match Checkpoint::open(dir) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            check_error(&error, names);
            return false;
        }
    };
    let fingerprint = checkpoint.fingerprint();
    match &fingerprint {
        Ok(digits) => assert_eq!((digits.len(), &checkpoint.fingerprint().unwrap()), (64, digits)),
        Err(error) => check_error(error, names),
    }
    for role in checkpoint.roles() {
        let tensor = checkpoint.tensor(role).unwrap();
        assert_eq!(tensor.shape(), checkpoint.architecture().shape(role, checkpoint.config()));
        let is_finite = tensor.data().iter().all(|value| value.is_finite());
        assert!(is_finite || fingerprint.is_err(), "a value that is not finite is not found");
    }
    checkpoint.check_unchanged().unwrap();
    fingerprint.is_ok()
}
