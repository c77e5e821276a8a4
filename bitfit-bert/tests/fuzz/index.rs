//! `model.safetensors.index.json` with two shards, of which one may be mutated as well.

use std::collections::BTreeMap;

use bitfit_bert::fixture::Tiny;
use serde_json::{Map, Value, json};

use crate::runner::{Target, run};
use crate::weights;

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];

#[test]
fn fuzz() {
    let tiny = Tiny::new();
    let mut shards = [BTreeMap::new(), BTreeMap::new()];
    let mut map = Map::new();
    for (index, (name, tensor)) in tiny.tensors.iter().enumerate() {
        shards[index % 2].insert(name.clone(), tensor.clone());
        map.insert(name.clone(), SHARDS[index % 2].into());
    }
    let index = json!({"metadata": {"total_size": 1_000}, "weight_map": map});
    let [first, second] = shards.map(|tensors| Tiny { config: Value::Null, tensors }.bytes());
    run(Target {
        name: "index",
        memory: 96 << 20,
        seeds: vec![
            vec![(INDEX.into(), index.to_string().into()), (SHARDS[0].into(), first)],
            // The same with all tensors in the first shard.
            vec![
                (INDEX.into(), json!({"weight_map": {"embeddings.LayerNorm.bias": SHARDS[0]}}).to_string().into()),
                (SHARDS[0].into(), tiny.bytes()),
            ],
        ],
        fixed: vec![("config.json".into(), tiny.config.to_string().into()), (SHARDS[1].into(), second)],
        // An index may name any file of the directory.
        check: Box::new(|dir, _| weights::open(dir, &[&*dir.to_string_lossy()])),
    });
}
