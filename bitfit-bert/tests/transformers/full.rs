//! Training more than biases, on tiny random encoders of every architecture: full fine-tuning against numbers that
//! `goldens/full.py` computed with transformers in float64 (logits, loss, the gradient of every parameter, ten AdamW
//! steps), and the gradient of every sparse method against the entries of the full one.

use std::collections::HashMap;

use crate::common::case::{Case, encodings};
use crate::common::{File, assert_close, cpus, goldens, gpu};
use bitfit_bert::Method;
use bitfit_bert::arch::Architecture;
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use bitfit_bert::train::{self, Examples};
use bitfit_core::{Backend, HostTensor, Precision};

const RUN: &str = "full";

fn cases<D: Backend>(device: &D, method: Method) -> impl Iterator<Item = Case<D>> {
    Architecture::all().map(move |architecture| case(device, architecture.model_type, method.clone()))
}

fn case<D: Backend>(device: &D, model_type: &str, method: Method) -> Case<D> {
    let path = goldens(RUN).join(format!("{model_type}.safetensors"));
    let golden = File::read(&path);
    let json = std::fs::read(path.with_extension("json")).unwrap();
    let first = format!("{RUN}.head.");
    let head = |(name, value): (&String, &HostTensor)| Some((name.strip_prefix(&first)?.to_owned(), value.clone()));
    let tensors: HashMap<String, HostTensor> = golden.floats.iter().filter_map(head).collect();
    let options = ModelOptions {
        spec: TaskSpec {
            kind: Kind::Classify,
            labels: Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec()),
            pairs: false,
            pair: PairEncoding::Joint,
            span: None,
            pooling: Pooling::Pooler,
            max_length: 150,
            metrics: vec![Metric::Accuracy],
        },
        method,
        initial: InitialValues::HeadFile { file: TensorFile { path, tensors: tensors.into() }, seed: 0 },
        dropout: Some(0.0),
    };
    let base = Base::open(device, &goldens("encoders").join(model_type)).unwrap();
    let labels = golden.integer("batch.labels").iter().map(|&label| label as usize).collect();
    Case {
        json: serde_json::from_slice(&json).unwrap(),
        run: RUN.into(),
        examples: Examples::new(encodings(&golden), Targets::Classes(labels)),
        model: Model::new(&base, &options).unwrap(),
        golden,
    }
}

#[test]
fn logits_and_the_gradient_of_every_parameter_are_those_of_transformers() {
    for cpu in cpus(Precision::F32) {
        for case in cases(&cpu, Method::Full) {
            case.check_logits();
            case.check_gradients();
        }
    }
}

#[test]
fn ten_adamw_steps_of_every_parameter_are_those_of_transformers() {
    cpus(Precision::F32).for_each(|cpu| cases(&cpu, Method::Full).for_each(Case::check_adamw));
}

#[test]
fn in_bfloat16_logits_and_gradients_are_within_its_rounding() {
    cpus(Precision::Bf16)
        .for_each(|cpu| cases(&cpu, Method::Full).for_each(|case| case.check_bfloat16(BFLOAT16_SHARE)));
}

/// As for biases; the ReLU of DistilBERT's head is worth more of the norm here.
const BFLOAT16_SHARE: f64 = 0.15;

/// The gradient by parameter, and the entries of it that a mask chooses of the whole one.
fn check_entries<D: Backend>(device: &D, share: f32) {
    for model_type in ["bert", "distilbert", "electra"] {
        let full = case(device, model_type, Method::Full);
        let whole = full.step().1;
        let whole: HashMap<String, Vec<f32>> = full
            .model
            .arena()
            .entries()
            .iter()
            .map(|entry| (entry.name.clone(), whole[entry.range()].to_vec()))
            .collect();
        for method in
            ["columns:3", "rows:2", "columns:11", "rows:9", "random-uniform:3", "random-row-col:1", "layernorm"]
        {
            let case = case(device, model_type, method.parse().unwrap());
            let gradient = case.step().1;
            for entry in case.model.arena().entries() {
                let what = format!("{model_type} {method} {}", entry.name);
                let chosen = entry.mask.indices(&entry.shape);
                let expected: Vec<f32> = chosen.iter().map(|&at| whole[&entry.name][at as usize]).collect();
                assert_close(&what, &gradient[entry.range()], &expected, 1e-7, share);
            }
        }
    }
}

#[test]
fn a_sparse_method_has_the_entries_of_the_full_gradient() {
    cpus(Precision::F32).for_each(|cpu| check_entries(&cpu, 1e-4));
}

#[test]
fn on_a_gpu_full_fine_tuning_and_sparse_methods_are_those_of_transformers() {
    if let Some(gpu) = gpu(Precision::F32) {
        cases(&gpu, Method::Full).for_each(Case::check);
        check_entries(&gpu, 1e-4);
    }
}

#[test]
fn the_check_before_the_first_step_knows_what_every_method_trains() {
    let cpu = bitfit_core::Cpu::default();
    for method in ["full", "columns:1", "rows:1", "random-uniform:0", "random-row-col:0", "layernorm", "bitfit+rows:2"]
    {
        for mut case in cases(&cpu, method.parse().unwrap()) {
            let rows: Vec<usize> = (0..case.examples.len()).collect();
            train::check_gradients(&mut case.model, &case.examples, &rows, None, 0).unwrap();
        }
    }
}
