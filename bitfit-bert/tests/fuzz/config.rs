//! `config.json`: [`ModelConfig::from_json`], and [`Checkpoint::open`] over weights that stay as they are.

use std::fs;

use bitfit_bert::fixture::Tiny;
use bitfit_bert::{Checkpoint, ModelConfig};
use serde_json::json;

use crate::runner::{Target, check_error, run};

#[test]
fn fuzz() {
    let tiny = Tiny::new();
    let mut all = tiny.config.clone();
    for (key, value) in [
        ("architectures", json!(["BertForMaskedLM", "BertModel"])),
        ("hidden_act", json!("gelu")),
        ("hidden_dropout_prob", json!(0.1)),
        ("attention_probs_dropout_prob", json!(0.0)),
        ("classifier_dropout", json!(null)),
        ("position_embedding_type", json!("absolute")),
        ("is_decoder", json!(false)),
        ("id2label", json!({"0": "no", "1": "yes"})),
        ("tokenizer_class", json!("BertTokenizer")),
    ] {
        all[key] = value;
    }
    let mut nameless = all.clone();
    nameless.as_object_mut().unwrap().remove("model_type");
    let seeds = [tiny.config.clone(), all, nameless];
    run(Target {
        name: "config",
        memory: 96 << 20,
        seeds: seeds.iter().map(|config| vec![("config.json".into(), config.to_string().into())]).collect(),
        fixed: vec![("model.safetensors".into(), tiny.bytes())],
        check: Box::new(|dir, _| {
            let path = dir.join("config.json");
            let read = fs::read(&path).ok().map(|json| ModelConfig::from_json(&path, &json));
            if let Some(Err(error)) = &read {
                check_error(error, &["config.json"]);
            }
            match Checkpoint::open(dir) {
                Ok(checkpoint) => {
                    assert_eq!(&read.unwrap().unwrap(), checkpoint.config());
                    assert!(checkpoint.config().max_length() > 0 && checkpoint.fingerprint().is_ok());
                    true
                }
                Err(error) => {
                    check_error(&error, &["config.json", "model.safetensors"]);
                    false
                }
            }
        }),
    });
}
