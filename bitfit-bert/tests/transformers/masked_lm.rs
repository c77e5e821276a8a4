//! Masked language modelling on tiny random encoders of five architectures, against numbers that
//! `goldens/masked_lm.py` computed with transformers in float64: logits at the masked tokens, losses, the gradient of
//! everything that trains, ten AdamW steps. On every instruction set of this CPU, and on a GPU where there is one. And
//! the base model that a run leaves.

use std::fs;
use std::path::Path;

use crate::common::case::{BFLOAT16_SHARE, Case, encodings};
use crate::common::{File, cpus, goldens};
use bitfit_bert::arch::Architecture;
use bitfit_bert::data::Kind;
use bitfit_bert::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use bitfit_bert::run::write_base;
use bitfit_bert::tokenize::ReadToken;
use bitfit_bert::train::{self, Examples};
use bitfit_bert::{BiasSelection, Checkpoint, Method};
use bitfit_core::{Backend, Cpu, HostTensor, Precision};
use safetensors::SafeTensors;

const RUN: &str = "mlm";
const ARCHITECTURES: [&str; 5] = ["bert", "roberta", "distilbert", "electra", "mpnet"];

fn options(initial: InitialValues) -> ModelOptions {
    let spec = TaskSpec {
        kind: Kind::MaskedLm,
        labels: None,
        pairs: false,
        pair: PairEncoding::Joint,
        span: None,
        pooling: Pooling::Tokens,
        max_length: 150,
        metrics: vec![Metric::Perplexity, Metric::Accuracy],
    };
    ModelOptions { spec, method: Method::BitFit(BiasSelection::all()), initial, dropout: Some(0.0) }
}

fn cases<D: Backend>(device: &D) -> impl Iterator<Item = Case<D>> {
    ARCHITECTURES.into_iter().map(|model_type| case(device, model_type))
}

fn case<D: Backend>(device: &D, model_type: &str) -> Case<D> {
    let dir = goldens("masked_lm").join(model_type);
    let base = Base::open(device, &dir).unwrap();
    let golden = File::read(&dir.join("golden.safetensors"));
    Case {
        json: serde_json::from_slice(&fs::read(dir.join("golden.json")).unwrap()).unwrap(),
        run: RUN.into(),
        examples: masked(&golden),
        model: Model::new(&base, &options(InitialValues::Drawn { seed: 0 })).unwrap(),
        golden,
    }
}

/// The texts of the batch with their masked tokens and what stood there.
fn masked(golden: &File) -> Examples {
    let mut masked = golden.integer("batch.masked").iter().zip(golden.integer("batch.tokens")).peekable();
    let (mut encodings, mut targets, mut first) = (encodings(golden), Vec::new(), 0);
    for encoding in &mut encodings {
        let end = first + encoding.ids.len();
        let mut tokens = Vec::new();
        while let Some((&place, &token)) = masked.next_if(|(place, _)| (**place as usize) < end) {
            encoding.read.push(ReadToken { token: place as usize - first, word: tokens.len() });
            tokens.push(token as usize);
        }
        targets.push(tokens);
        first = end;
    }
    Examples::new(encodings, Targets::Tags(targets))
}

tests_in_f32!(cases);

#[test]
fn in_bfloat16_logits_and_gradients_are_within_its_rounding() {
    cpus(Precision::Bf16).for_each(|cpu| cases(&cpu).for_each(|case| case.check_bfloat16(BFLOAT16_SHARE)));
}

#[test]
fn the_loss_and_the_scores_of_a_set_are_one() {
    let Case { model, examples, golden, json, .. } = case(&Cpu::default(), "bert");
    let kept = train::scored_outputs(&model, &examples).unwrap();
    let loss = kept.column(0).iter().map(|&loss| f64::from(loss)).sum::<f64>() / kept.nrows() as f64;
    assert!((loss - json["runs"][RUN]["loss"].as_f64().unwrap()).abs() < 1e-5, "{loss}");
    let vocabulary = golden.float("mlm.logits").len() / kept.nrows();
    let rows = golden.float("mlm.logits").chunks(vocabulary).zip(golden.integer("batch.tokens"));
    for (row, (logits, &token)) in rows.enumerate() {
        let is_right = logits.iter().all(|&logit| logit <= logits[token as usize]);
        assert_eq!(kept[[row, 1]] == 1.0, is_right, "row {row}");
    }
}

#[test]
fn the_outputs_of_a_text_have_the_same_bits_alone_and_in_a_batch() {
    for cpu in cpus(Precision::F32) {
        for Case { model, examples, .. } in cases(&cpu) {
            let together = train::outputs(&model, &examples.encodings).unwrap();
            let mut rows = together.rows().into_iter();
            for encoding in &examples.encodings {
                let alone = train::outputs(&model, std::slice::from_ref(encoding)).unwrap();
                for (row, expected) in alone.rows().into_iter().zip(&mut rows) {
                    let bits = |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                    assert_eq!(bits(row), bits(expected));
                }
            }
            assert_eq!(rows.count(), 0);
        }
    }
}

/// The values of a model after a change that stands for training.
fn trained<D: Backend>(model: &mut Model<D>) -> std::collections::HashMap<String, HostTensor> {
    let values: Vec<f32> = model.arena().read().unwrap().iter().enumerate().map(|(i, x)| x + i as f32 * 1e-4).collect();
    model.arena_mut().write(&values).unwrap();
    model.values().unwrap()
}

#[test]
fn a_base_that_is_written_computes_what_base_and_task_do() {
    for Case { mut model, examples, .. } in cases(&Cpu::default()) {
        let tensors = trained(&mut model);
        let dir = tempfile::tempdir().unwrap();
        let (base, path) = (model.base(), dir.path().join("new"));
        fs::write(dir.path().join("beside"), "").unwrap();
        write_base(base, &tensors, &path).unwrap();

        let file = TensorFile { path: "task.safetensors".into(), tensors: tensors.into() };
        let finished = Model::new(base, &options(InitialValues::Finished(file))).unwrap();
        let new = Base::open(base.device(), &path).unwrap();
        let written = Model::new(&new, &options(InitialValues::Drawn { seed: 0 })).unwrap();
        let expected = train::outputs(&finished, &examples.encodings).unwrap();
        assert_eq!(train::outputs(&written, &examples.encodings).unwrap(), expected);
        let before = case(base.device(), base.architecture().model_type).model;
        assert_ne!(train::outputs(&before, &examples.encodings).unwrap(), expected);

        // Every tensor has its own name, and what did not train its own bytes.
        let [old, new] =
            [base.checkpoint().path(), &path.join("model.safetensors")].map(|path| fs::read(path).unwrap());
        let [old, new] = [&old, &new].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
        assert_eq!(sorted(old.names()), sorted(new.names()));
        let kept = |name: &&&str| old.tensor(name).unwrap().data() == new.tensor(name).unwrap().data();
        let same = old.names().iter().filter(kept).count();
        let inert = base.config().num_hidden_layers;
        assert_eq!(old.len() - same, model.trainable().len() - inert, "all but the key biases");
        let [weights, config] = ["model.safetensors", "config.json"].map(|name| fs::metadata(path.join(name)).unwrap());
        assert_eq!(weights.permissions(), config.permissions());
        let configs = [base.checkpoint().dir(), &path].map(|dir| fs::read(dir.join("config.json")).unwrap());
        assert_eq!(configs[0], configs[1]);
        assert_eq!(names(dir.path()), ["beside", "new"]);
    }
}

fn sorted<T: Ord>(mut names: Vec<T>) -> Vec<T> {
    names.sort_unstable();
    names
}

fn names(dir: &Path) -> Vec<String> {
    sorted(fs::read_dir(dir).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect())
}

#[test]
fn a_base_never_replaces_what_is_there() {
    let Case { mut model, .. } = case(&Cpu::default(), "bert");
    let tensors = trained(&mut model);
    let dir = tempfile::tempdir().unwrap();
    let (full, empty, file) = (dir.path().join("full"), dir.path().join("empty"), dir.path().join("file"));
    fs::create_dir(&full).unwrap();
    fs::create_dir(&empty).unwrap();
    fs::write(full.join("config.json"), "mine").unwrap();
    fs::write(&file, "mine").unwrap();
    for path in [&full, &empty, &file] {
        let message = write_base(model.base(), &tensors, path).unwrap_err().to_string();
        assert!(message.contains("there already"), "{message}");
    }
    let gone = dir.path().join("gone/new");
    assert!(write_base(model.base(), &tensors, &gone).unwrap_err().to_string().contains("gone/new"));
    let mut unknown = tensors;
    unknown.insert("classifier.bias".into(), HostTensor::new([1], vec![0.0]).unwrap());
    let message = write_base(model.base(), &unknown, &dir.path().join("new")).unwrap_err().to_string();
    assert!(message.ends_with("the tensor classifier.bias is missing"), "{message}");
    assert_eq!(names(dir.path()), ["empty", "file", "full"], "nothing is left");
    assert_eq!(fs::read_to_string(full.join("config.json")).unwrap(), "mine");
}

#[test]
fn a_base_of_another_head_is_not_the_tasks() {
    let base = Base::open(&Cpu::default(), &goldens("masked_lm").join("bert")).unwrap();
    let encoder = base.fingerprint_for(Kind::Classify).unwrap();
    assert_eq!(encoder, base.fingerprint().unwrap());
    assert_ne!(base.fingerprint_for(Kind::MaskedLm).unwrap(), encoder);
}

#[test]
fn every_architecture_of_a_pre_trained_head_has_goldens_or_the_names_of_one_that_has() {
    for architecture in Architecture::all() {
        let Some(names) = &architecture.masked_lm else { panic!("{architecture} has no such head") };
        let same = |model_type: &&str| {
            let other = Architecture::named(model_type).unwrap().masked_lm.as_ref().unwrap();
            (other.dense, other.norm, other.decoder) == (names.dense, names.norm, names.decoder)
        };
        assert!(ARCHITECTURES.iter().any(same), "{architecture}");
    }
}

#[test]
fn a_checkpoint_of_an_encoder_alone_is_refused_with_the_way_out() {
    let checkpoint = Checkpoint::open(&goldens("encoders").join("roberta")).unwrap();
    let base = Base::new(&Cpu::default(), checkpoint);
    let message = Model::new(&base, &options(InitialValues::Drawn { seed: 0 })).unwrap_err().to_string();
    assert!(message.contains("no head for masked language modelling (no lm_head.dense.weight)"), "{message}");
}
