//! Tiny random BERTs compared with values that `goldens/generate.py` computed with PyTorch in float64: logits, losses,
//! the gradient of every bias but the key's, ten AdamW steps. The tests run with every instruction set of this CPU, and
//! on a GPU if there is one.

use std::collections::HashMap;

use crate::common::case::{BFLOAT16_SHARE, Case, encodings};
use crate::common::{File, cpus, goldens, gpu};
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use bitfit_bert::train::Examples;
use bitfit_bert::{BiasKind, BiasSelection, Method};
use bitfit_core::{Backend, HostTensor, Precision};

const VARIANTS: [&str; 2] = ["bert-h32-l2", "bert-h24-l3"];

fn case<D: Backend>(device: D, variant: &str, run: &str) -> Case<D> {
    let dir = goldens(variant);
    let golden = File::read(&dir.join("golden.safetensors"));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("golden.json")).unwrap()).unwrap();
    let head_file = if run == "regress" { "head_regression.safetensors" } else { "model.safetensors" };
    let tensors: HashMap<String, HostTensor> = File::read(&dir.join(head_file))
        .floats
        .into_iter()
        .filter(|(name, _)| name.starts_with("classifier"))
        .collect();
    let classes = ["a", "b", "c"].map(str::to_owned).to_vec();
    let (kind, labels) = match run {
        "regress" => (Kind::Regress, None),
        _ => (Kind::Classify, Labels::from_names(classes)),
    };
    let biases = match run {
        "subset" => BiasSelection::of([BiasKind::Query, BiasKind::Intermediate]),
        _ => BiasSelection::all(),
    };
    let options = ModelOptions {
        spec: TaskSpec {
            kind,
            labels,
            pairs: false,
            pair: PairEncoding::Joint,
            span: None,
            pooling: Pooling::Pooler,
            max_length: 16,
            metrics: vec![Metric::Accuracy],
        },
        method: Method::BitFit(biases),
        initial: InitialValues::HeadFile {
            file: TensorFile { path: dir.join(head_file), tensors: tensors.into() },
            seed: 0,
        },
        dropout: Some(0.0),
    };
    let model = Model::new(&Base::open(&device, &dir).unwrap(), &options).unwrap();
    let examples = Examples::new(encodings(&golden), targets(&golden, run));
    Case { golden, json, run: run.to_owned(), examples, model }
}

fn targets(golden: &File, run: &str) -> Targets {
    match run {
        "regress" => Targets::Scores(golden.float("batch.targets").to_vec()),
        _ => Targets::Classes(golden.integer("batch.labels").iter().map(|&label| label as usize).collect()),
    }
}

fn runs() -> impl Iterator<Item = (&'static str, &'static str)> {
    VARIANTS.into_iter().flat_map(|variant| ["classify", "regress", "subset"].map(|run| (variant, run)))
}

/// Every variant and run on a device.
fn cases<D: Backend>(device: &D) -> impl Iterator<Item = Case<D>> {
    runs().map(|(variant, run)| case(device.clone(), variant, run))
}

#[test]
fn logits_are_pytorchs() {
    cpus(Precision::F32).for_each(|cpu| cases(&cpu).for_each(|case| case.check_logits()));
}

#[test]
fn loss_and_every_gradient_are_pytorchs() {
    cpus(Precision::F32).for_each(|cpu| cases(&cpu).for_each(|case| case.check_gradients()));
}

#[test]
fn ten_adamw_steps_are_pytorchs() {
    cpus(Precision::F32).for_each(|cpu| cases(&cpu).for_each(Case::check_adamw));
}

#[test]
fn in_bfloat16_logits_and_gradients_are_pytorchs_within_its_rounding() {
    cpus(Precision::Bf16).for_each(|cpu| cases(&cpu).for_each(|case| case.check_bfloat16(BFLOAT16_SHARE)));
}

#[test]
fn in_int8_logits_and_gradients_are_pytorchs_within_its_rounding() {
    cpus(Precision::Int8).for_each(|cpu| cases(&cpu).for_each(|case| case.check_int8()));
}

#[test]
fn on_a_gpu_logits_gradients_and_adamw_steps_are_pytorchs() {
    if let Some(gpu) = gpu(Precision::F32) {
        cases(&gpu).for_each(Case::check);
    }
}

#[test]
fn on_a_gpu_in_bfloat16_logits_and_gradients_are_pytorchs_within_its_rounding() {
    if let Some(gpu) = gpu(Precision::Bf16) {
        cases(&gpu).for_each(|case| case.check_bfloat16(BFLOAT16_SHARE));
    }
}

#[test]
fn on_a_gpu_a_step_has_the_same_bits_every_time() {
    for precision in [Precision::F32, Precision::Bf16] {
        let Some(gpu) = gpu(precision) else { return };
        for case in cases(&gpu) {
            let bits = || {
                let (loss, gradient) = case.step();
                (loss.to_bits(), gradient.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            assert_eq!(bits(), bits(), "{}", case.run);
        }
    }
}

/// A step is launched kernel by kernel, then captured, then launched as graphs.
#[test]
fn on_a_gpu_a_step_in_graphs_has_the_bits_of_single_launches() {
    for precision in [Precision::F32, Precision::Bf16] {
        let (Some(gpu), Some(without)) = (gpu(precision), gpu(precision)) else { return };
        let without = without.without_graphs();
        for (case, single) in cases(&gpu).zip(cases(&without)) {
            let bits = |(loss, gradient): (f32, Vec<f32>)| {
                (loss.to_bits(), gradient.into_iter().map(f32::to_bits).collect::<Vec<_>>())
            };
            let expected = bits(single.step());
            for _ in 0..4 {
                assert_eq!(bits(case.step()), expected, "{}", case.run);
            }
        }
        // Buffers that are the driver's may have another address in every step.
        let is_separate = std::env::var("BITFIT_CUDA_MEMORY").is_ok_and(|memory| memory == "separate");
        assert!(gpu.graphs_launched() > 0 || is_separate, "no step was launched as graphs");
        assert_eq!(without.graphs_launched(), 0);
    }
}
