use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bitfit_core::Mask;
use serde_json::Value;

use super::testing::Trained;
use super::*;
use crate::arch::{BERT, DISTILBERT, ELECTRA, Module, Role};
use crate::checkpoint::mapped::Entry;
use crate::fixture::{Tiny, TinyTensor};
use crate::heads::{PairEncoding, Pooling};
use crate::methods::{MaskFile, Masks, Method};
use crate::model::PartialTensor;
use crate::{Checkpoint, Predictor};

const KINDS: [&str; 6] = ["classify", "regress", "multi-label", "tag", "span", "mlm"];

fn options() -> TunedTask {
    TunedTask { model: "base".into(), ..TunedTask::default() }
}

/// Checks that the way through a merged directory and back gives the same bytes.
fn returns(trained: &Trained, what: &str) {
    let dir = trained.path(&format!("merged {what}"));
    merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
    let extracted = extract(&trained.base, &dir, &options()).unwrap();
    assert!(extracted.is_merged && extracted.not_held.is_empty(), "{what}: {:?}", extracted.not_held);
    assert!(trained.bytes(&extracted.task) == trained.bytes(&trained.task), "{what}");
}

#[test]
fn a_merged_task_is_extracted_byte_by_byte() {
    for kind in KINDS {
        for method in ["bitfit", "frozen", "full", "layernorm", "random-uniform:7", "random-row-col:1", "rows:2"] {
            returns(&Trained::new(kind, method), &format!("{kind} {method}"));
        }
    }
    returns(&Trained::new("classify", "bitfit:query+intermediate@1-1+columns:3"), "a union");
}

#[test]
fn a_merged_task_of_every_read_out_and_of_other_architectures_is_extracted_byte_by_byte() {
    for pooling in [Pooling::Cls, Pooling::Mean, Pooling::ClsNormalized, Pooling::MeanNormalized] {
        returns(&Trained::of(&BERT, "classify", "bitfit", Some(pooling)), pooling.name());
    }
    for architecture in [&DISTILBERT, &ELECTRA] {
        for kind in KINDS {
            returns(&Trained::of(architecture, kind, "bitfit", None), &format!("{architecture} {kind}"));
        }
    }
}

#[test]
fn a_merged_task_of_a_mask_file_is_extracted_byte_by_byte() {
    let mut trained = Trained::new("classify", "full");
    let name = |role| BERT.parameter_name(role);
    let query = Role::weight(Module::Query, 1);
    let masks = BTreeMap::from([
        (name(query), Mask::Elements(vec![3, 1, 9])),
        (name(Role::weight(Module::Value, 0)), Mask::Rows(vec![5, 2])),
        (name(Role::bias(Module::Output, 0)), Mask::All),
    ]);
    let file = Method::Mask(Some(Arc::new(MaskFile::new("m".into(), masks))));
    let masks = Masks::new(&file, trained.base.tensors(Pooling::Pooler)).unwrap();
    for role in trained.base.tensors(Pooling::Pooler).roles() {
        let values = trained.task.tensors.whole.remove(&name(role)).unwrap();
        match masks.of(role) {
            Mask::None => {}
            Mask::All => _ = trained.task.tensors.whole.insert(name(role), values),
            mask => {
                let partial = PartialTensor::of(mask, &values).unwrap();
                trained.task.tensors.partial.insert(name(role), partial);
            }
        }
    }
    trained.task.info.method = Method::Mask(None);
    returns(&trained, "a mask file");
}

#[test]
fn a_checkpoint_of_another_program_gives_the_same_predictions() {
    for kind in KINDS {
        for (method, expected) in [
            ("bitfit", "bitfit"),
            ("bitfit:query+value@1-1", "bitfit:query+value@1-1"),
            ("frozen", "frozen"),
            ("layernorm", "layernorm"),
            ("bitfit+layernorm", "bitfit+layernorm"),
            ("rows:1", "mask"),
            ("full", "full"),
        ] {
            let trained = Trained::new(kind, method);
            let dir = trained.path("merged");
            merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
            fs::remove_file(dir.join(HEADER_FILE)).unwrap();
            let options = TunedTask { max_length: Some(7), unanswerable: true, ..options() };
            let extracted = extract(&trained.base, &dir, &options).unwrap();
            let task = &extracted.task;
            assert!(!extracted.is_merged && extracted.has_tokenizer && extracted.not_held.is_empty(), "{extracted:?}");
            let mut found = task.info.method.to_string();
            if method == "bitfit+layernorm" {
                found = found.replace(&expected_union(kind), expected);
            }
            assert_eq!(found, expected, "{kind} {method}");
            assert_eq!((task.info.kind, &task.info.labels), (trained.task.info.kind, &trained.task.info.labels));
            let predict = |task: &crate::TaskFile| {
                let predictor = Predictor::new(&trained.base, "t".as_ref(), task.clone()).unwrap();
                let (text, pair) = (["a [MASK] b", "c d"], (kind == "span").then_some("a b c"));
                let texts = if kind == "span" { [("a", pair), ("b", pair)] } else { text.map(|text| (text, None)) };
                let texts = if kind == "mlm" { &texts[..1] } else { &texts };
                if kind == "tag" {
                    return String::new();
                }
                format!("{:?}", predictor.predict(texts).unwrap())
            };
            assert_eq!(predict(task), predict(&trained.task), "{kind} {method}");
        }
    }
}

/// How the union of every bias and every LayerNorm is named where the biases of LayerNorms are of the latter.
fn expected_union(kind: &str) -> String {
    let pooler = if ["tag", "span", "mlm"].contains(&kind) { "" } else { "+pooler" };
    format!("bitfit:query+value+attention-output+intermediate+output{pooler}+layernorm")
}

#[test]
fn what_a_task_file_cannot_hold_is_named() {
    let trained = Trained::new("tag", "bitfit");
    let dir = trained.path("merged");
    merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
    fs::remove_file(dir.join(HEADER_FILE)).unwrap();
    let mut tiny = tensors_of(&dir);
    tiny.add("bert.pooler.dense.weight", &[8, 8], safetensors::Dtype::F32);
    tiny.add("bert.pooler.dense.bias", &[8], safetensors::Dtype::F32);
    tiny.add("span_head.weight", &[2, 8], safetensors::Dtype::F32);
    tiny.add("bert.embeddings.position_ids", &[1, 7], safetensors::Dtype::F32);
    fs::write(dir.join("model.safetensors"), tiny.bytes()).unwrap();
    let extracted = extract(&trained.base, &dir, &options()).unwrap();
    assert_eq!(extracted.not_held, ["pooler.dense.weight", "pooler.dense.bias", "span_head.weight"]);
}

/// The weights of a model directory, to be changed.
fn tensors_of(dir: &Path) -> Tiny {
    let checkpoint = Checkpoint::open(dir).unwrap();
    let tensor = |entry: &Entry| {
        let (shape, data) = (entry.shape.clone(), entry.to_f32().unwrap());
        (entry.name.clone(), TinyTensor { dtype: entry.dtype, shape, data })
    };
    Tiny { tensors: checkpoint.all_entries().map(|(entry, _)| tensor(entry)).collect(), ..Tiny::new() }
}

#[test]
fn a_classifier_that_is_not_a_matrix_is_refused_by_name() {
    for kind in ["classify", "multi-label", "tag"] {
        let trained = Trained::new(kind, "bitfit");
        let dir = trained.path("merged");
        merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
        fs::remove_file(dir.join(HEADER_FILE)).unwrap();
        for shape in [&[][..], &[1], &[2, 8, 1]] {
            let mut tiny = tensors_of(&dir);
            tiny.add("classifier.weight", shape, safetensors::Dtype::F32);
            fs::write(dir.join("model.safetensors"), tiny.bytes()).unwrap();
            let message = extract(&trained.base, &dir, &options()).unwrap_err().to_string();
            let expected =
                format!("model.safetensors: the tensor classifier.weight has shape {shape:?}, expected a matrix");
            assert!(message.contains(&expected), "{kind}: {message}");
        }
    }
}

#[test]
fn a_merged_directory_that_was_trained_further_is_refused_by_tensor() {
    let trained = Trained::new("classify", "bitfit:query");
    let dir = trained.path("merged");
    merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
    let other = Trained::new("classify", "bitfit:query+value");
    merge(&other.base, &other.task, "task.safetensors".as_ref(), &trained.path("other")).unwrap();
    fs::copy(trained.path("other").join("model.safetensors"), dir.join("model.safetensors")).unwrap();
    let message = extract(&trained.base, &dir, &options()).unwrap_err().to_string();
    assert!(message.contains("bitfit.json: the tensor bert.encoder.layer.0.attention.self.value.bias"), "{message}");
}

#[test]
fn checkpoints_that_do_not_fit_are_refused_by_name() {
    let trained = Trained::new("classify", "bitfit");
    let dir = trained.path("merged");
    merge(&trained.base, &trained.task, "task.safetensors".as_ref(), &dir).unwrap();
    fs::remove_file(dir.join(HEADER_FILE)).unwrap();
    let sound: Value = serde_json::from_str(&fs::read_to_string(dir.join("config.json")).unwrap()).unwrap();
    for (key, value, words) in [
        ("architectures", serde_json::json!(["BertModel"]), "[\"BertModel\"] is not supported"),
        ("architectures", Value::Null, "BertForSequenceClassification"),
        ("layer_norm_eps", 1e-5.into(), "\"layer_norm_eps\""),
        ("id2label", serde_json::json!({"0": "a", "1": "b", "2": "c"}), "names 3 labels, but the head has 2"),
        ("id2label", serde_json::json!({"0": "a", "1": "a"}), "two different names"),
        ("problem_type", "regression".into(), "with 2 outputs"),
    ] {
        let mut config = sound.clone();
        config[key] = value;
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let message = extract(&trained.base, &dir, &options()).unwrap_err().to_string();
        assert!(message.contains(words), "{key}: {message}");
    }
    fs::write(dir.join("config.json"), sound.to_string()).unwrap();
    fs::write(dir.join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nb\na\nc\nd\ne\nf").unwrap();
    let message = extract(&trained.base, &dir, &options()).unwrap_err().to_string();
    assert!(message.contains("other tokens"), "{message}");
}

#[test]
fn what_no_class_computes_is_refused_and_nothing_is_written() {
    let mut trained = Trained::of(&BERT, "classify", "bitfit", Some(Pooling::Mean));
    (trained.task.info.pairs, trained.task.info.pair) = (true, PairEncoding::Separate);
    let dir = trained.path("merged");
    let message = merge(&trained.base, &trained.task, "t.safetensors".as_ref(), &dir).unwrap_err().to_string();
    assert!(message.starts_with("t.safetensors: it reads the two texts of a pair apart"), "{message}");
    assert!(!dir.exists());
    let trained = Trained::new("classify", "bitfit");
    fs::create_dir(&dir).unwrap_or_default();
    let taken = trained.path("base");
    let message = merge(&trained.base, &trained.task, "t.safetensors".as_ref(), &taken).unwrap_err().to_string();
    assert!(message.contains("choose a new directory"), "{message}");
}
