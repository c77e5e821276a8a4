//! Task files: [`TaskFile::read`], and a prediction by those that are accepted.

use std::collections::HashMap;
use std::path::Path;

use bitfit_bert::arch::{MaskedLmTensor, Module, Part, Role};
use bitfit_bert::calibrate::Calibration;
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::fixture::Tiny;
use bitfit_bert::heads::{MaskingOptions, PairEncoding, Pooling, SpanSettings, default_metrics};
use bitfit_bert::model::Base;
use bitfit_bert::task_file::{Best, Hyperparameters, TaskInfo};
use bitfit_bert::{BiasKind, BiasSelection, Error, Method, Predictor, TaskFile};
use bitfit_core::{Cpu, HostTensor};

use crate::runner::{Target, check_error, run};

const FILE: &str = "task.safetensors";

#[test]
fn fuzz() {
    let base = base(&Tiny::new().with_masked_lm());
    let single = [Kind::Classify, Kind::MultiLabel, Kind::Tag, Kind::MaskedLm].map(|kind| (kind, false));
    let pairs = [Kind::Regress, Kind::Span].map(|kind| (kind, true));
    let seeds = single.into_iter().chain(pairs).map(|(kind, pairs)| seed(&base, kind, pairs));
    run(Target {
        name: "task_file",
        memory: 96 << 20,
        seeds: seeds.map(|bytes| vec![(FILE.into(), bytes)]).collect(),
        fixed: Vec::new(),
        check: Box::new(move |dir, _| {
            let path = dir.join(FILE);
            if let Err(error) = TaskFile::read(&path) {
                check_error(&error, &[FILE]);
                return false;
            }
            let predictor = match Predictor::open(&base, &path) {
                Ok(predictor) => predictor,
                Err(error) => {
                    check_error(&error, &[FILE]);
                    return false;
                }
            };
            let texts = match (predictor.info().kind, predictor.info().pairs) {
                (Kind::MaskedLm, _) => [("a [MASK] [MASK]", None), ("[MASK]", None)],
                (_, true) => [("a b", Some("c")), ("", Some(""))],
                (_, false) => [("a b", None), ("", None)],
            };
            match predictor.predict(&texts) {
                Ok(predictions) => assert_eq!(predictions.len(), texts.len()),
                // Finite numbers so large that their sums are not.
                Err(error) => assert!(matches!(error, Error::NotFinite { .. }), "{error}"),
            }
            true
        }),
    });
}

#[test]
fn a_maximum_length_that_the_base_cannot_have_is_the_files_and_not_the_callers() {
    let base = base(&Tiny::new());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    for max_length in [0, 2, 8, usize::MAX] {
        std::fs::write(&path, seed(&base, Kind::Classify, false)).unwrap();
        let mut file = TaskFile::read(&path).unwrap();
        file.info.hyperparameters.max_length = max_length;
        file.write(&path).unwrap();
        let message = Predictor::open(&base, &path).unwrap_err().to_string();
        let expected = format!("{FILE}: the metadata's \"hyperparameters.max_length\" is {max_length}: ");
        assert!(message.contains(&expected), "{message}");
    }
}

/// A base with a tokenizer, which needs its files no longer.
pub fn base(tiny: &Tiny) -> Base<Cpu> {
    let dir = tempfile::tempdir().unwrap();
    tiny.write(dir.path());
    std::fs::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\ngood\nbad")
        .unwrap();
    let base = Base::open(&Cpu::default(), dir.path()).unwrap();
    base.tokenizer().unwrap();
    base
}

/// A task file of all biases and one matrix.
pub fn seed(base: &Base<Cpu>, kind: Kind, pairs: bool) -> Vec<u8> {
    let architecture = base.architecture();
    let has_labels = !matches!(kind, Kind::Regress | Kind::Span | Kind::MaskedLm);
    let labels = Labels::from_names(vec!["no".into(), "yes".into()]).filter(|_| has_labels);
    let h = base.config().hidden_size;
    let span = (kind == Kind::Span).then_some(SpanSettings { stride: 2, unanswerable: true });
    let outputs = labels.as_ref().map_or(if span.is_some() { 2 } else { 1 }, Labels::len);
    let pooling = Pooling::of_kind(kind).unwrap_or(Pooling::Pooler);
    let is_read = |role: &Role| role.module != Module::Pooler || pooling == Pooling::Pooler;
    let method = Method::BitFit(BiasSelection::all());
    let mut tensors = HashMap::new();
    for role in base.checkpoint().roles().filter(is_read) {
        if BiasKind::of(role).is_some() || role == Role::weight(Module::Output, 1) {
            tensors.insert(architecture.parameter_name(role), base.checkpoint().tensor(role).unwrap());
        }
    }
    let head: Vec<(String, Vec<usize>)> = if kind == Kind::MaskedLm {
        let names = architecture.masked_lm.as_ref().unwrap();
        let tensors = MaskedLmTensor::trained(&method);
        tensors.map(|tensor| (names.name(tensor), tensor.shape(base.config()))).collect()
    } else {
        let shapes = [(Part::Weight, vec![outputs, h]), (Part::Bias, vec![outputs])];
        shapes.map(|(part, shape)| (architecture.classifier_name(pooling, part), shape)).to_vec()
    };
    for (name, shape) in head {
        let values = (0..shape.iter().product()).map(|i: usize| i as f32 * 0.01).collect();
        tensors.insert(name, HostTensor::new(shape, values).unwrap());
    }
    let metrics = default_metrics(kind, labels.as_ref());
    let info = TaskInfo {
        base: "some/model".into(),
        base_path: None,
        base_fingerprint: base.fingerprint_for(kind).unwrap().into(),
        tokenizer_fingerprint: base.tokenizer().unwrap().fingerprint(),
        config: base.config().inference(),
        kind,
        labels,
        pairs,
        calibration: (kind == Kind::Classify).then_some(Calibration {
            temperature: 1.5,
            reject_below: Some(0.6),
            thresholds: None,
        }),
        pair: PairEncoding::Joint,
        span,
        pooling,
        method,
        seed: 7,
        hyperparameters: Hyperparameters {
            task: None,
            learning_rate: 0.001,
            learning_rates: [("head".to_owned(), 0.01)].into(),
            layer_decay: Some(0.9),
            schedule: "constant".into(),
            warmup: 0.1,
            epochs: 3,
            steps: 12,
            batch_size: Some(16),
            batch_tokens: None,
            micro_batch: None,
            shards: None,
            class_weights: Some(vec![0.5, 2.0]),
            label_smoothing: Some(0.1),
            focal_gamma: Some(2.0),
            eval_every: Some(7),
            patience: Some(3),
            group_by_length: false,
            max_length: 7,
            weight_decay: 0.0,
            max_grad_norm: Some(1.0),
            dropout: None,
            frozen_dropout: false,
            shuffle: true,
            limit: None,
            masking: (kind == Kind::MaskedLm).then(MaskingOptions::default),
            device: "cpu".into(),
            precision: "f32".into(),
            metrics,
        },
        best: Some(Best { epoch: 2, step: Some(7), scores: [("accuracy".to_owned(), 0.75)].into() }),
    };
    let dir = tempfile::tempdir().unwrap();
    let path: &Path = &dir.path().join(FILE);
    TaskFile { info, tensors: tensors.into() }.write(path).unwrap();
    std::fs::read(path).unwrap()
}
