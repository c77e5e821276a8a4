use std::collections::HashMap;

use bitfit_core::Cpu;
use bitfit_core::backend::Device;

use super::*;
use crate::data::{Kind, Labels};
use crate::fixture::Tiny;
use crate::heads::{PairEncoding, Pooling};
use crate::methods::BiasSelection;
use crate::metrics::Metric;

const WORDS: &str = "bert.embeddings.word_embeddings.weight";
const NORM: &str = "bert.encoder.layer.1.output.LayerNorm.bias";
const POOLER: [&str; 2] = ["bert.pooler.dense.weight", "bert.pooler.dense.bias"];
const CLASSIFIER: [&str; 2] = ["classifier.weight", "classifier.bias"];

/// H of [`Tiny`].
const H: usize = 8;

/// Tensors whose elements are all 7.
fn sevens(shapes: &[(&str, &[usize])]) -> HashMap<String, HostTensor> {
    let seven = |shape: &[usize]| HostTensor::new(shape, vec![7.0; shape.iter().product()]).unwrap();
    shapes.iter().map(|&(name, shape)| (name.to_owned(), seven(shape))).collect()
}

fn whole_model() -> HashMap<String, HostTensor> {
    sevens(&[
        (WORDS, &[11, H]),
        (NORM, &[H]),
        (POOLER[0], &[H, H]),
        (POOLER[1], &[H]),
        (CLASSIFIER[0], &[2, H]),
        (CLASSIFIER[1], &[2]),
    ])
}

fn given(tensors: HashMap<String, HostTensor>) -> InitialValues {
    InitialValues::HeadFile {
        file: TensorFile { path: "heads/first.safetensors".into(), tensors: tensors.into() },
        seed: 0,
    }
}

/// A finished task of the head alone, with these tensors.
fn finished(tensors: HashMap<String, HostTensor>) -> InitialValues {
    InitialValues::Finished(TensorFile { path: "out/task.safetensors".into(), tensors: tensors.into() })
}

fn without_pooler() -> Tiny {
    let mut tiny = Tiny::new();
    tiny.tensors.retain(|name, _| !name.starts_with("pooler"));
    tiny
}

fn options(initial: InitialValues) -> ModelOptions {
    let labels = Labels::from_names(vec!["no".into(), "yes".into()]);
    let (pooling, metrics) = (Pooling::Pooler, vec![Metric::Accuracy]);
    let spec = TaskSpec {
        kind: Kind::Classify,
        labels,
        pairs: false,
        pair: PairEncoding::Joint,
        span: None,
        pooling,
        max_length: 7,
        metrics,
    };
    let method = match initial {
        InitialValues::Finished(_) => Method::Frozen,
        _ => Method::BitFit(BiasSelection::all()),
    };
    ModelOptions { spec, method, initial, dropout: None }
}

/// The values that the network reads for the tensors in [`whole_model`].
fn build(tiny: &Tiny, initial: InitialValues) -> Result<HashMap<String, HostTensor>> {
    let model = Model::new(&tiny.base(), &options(initial))?;
    let read = |slice: bitfit_core::backend::Slice<'_, Cpu>, shape: &[usize]| {
        let mut values = vec![0.0; slice.len];
        Cpu::default().read(slice, &mut values).unwrap();
        HostTensor::new(shape, values).unwrap()
    };
    let mut values = model.values()?;
    let encoder = &model.encoder;
    let vectors = [
        (WORDS, Some(&encoder.embeddings.word), &[11, H][..]),
        (NORM, Some(&encoder.layers[1].output_norm.bias), &[H]),
        (POOLER[1], encoder.pooler.as_ref().map(|pooler| &pooler.bias), &[H]),
    ];
    for (name, vector, shape) in vectors {
        if let Some(Param::Frozen(frozen)) = vector {
            values.insert(name.into(), read(frozen.slice(), shape));
        }
    }
    Ok(values)
}

fn is_given(tensor: &HostTensor) -> bool {
    tensor.data().iter().all(|&value| value == 7.0)
}

#[test]
fn a_head_from_a_whole_model_brings_nothing_but_the_head() {
    let values = build(&Tiny::new(), given(whole_model())).unwrap();
    for name in [WORDS, NORM, POOLER[1]] {
        assert!(!is_given(&values[name]), "{name} is the checkpoint's");
    }
    assert!(CLASSIFIER.iter().all(|name| is_given(&values[*name])));
    let values = build(&without_pooler(), given(whole_model())).unwrap();
    assert!(!is_given(&values[WORDS]) && !is_given(&values[NORM]));
    assert!(CLASSIFIER.iter().chain(&POOLER).all(|name| is_given(&values[*name])));
}

#[test]
fn a_finished_task_takes_the_place_of_the_checkpoint() {
    let values = build(&Tiny::new(), finished(whole_model())).unwrap();
    assert!([WORDS, NORM, POOLER[1]].iter().all(|name| is_given(&values[*name])));
}

#[test]
fn a_finished_task_without_its_head_is_refused_by_file_and_tensor() {
    for (tiny, missing) in
        [(Tiny::new(), &CLASSIFIER[..]), (without_pooler(), &CLASSIFIER), (without_pooler(), &POOLER)]
    {
        for name in missing {
            let mut tensors = whole_model();
            tensors.remove(*name);
            let message = build(&tiny, finished(tensors)).unwrap_err().to_string();
            assert_eq!(message, format!("out/task.safetensors: the tensor {name} is missing"));
        }
    }
    // The checkpoint has a pooler, so the task need not.
    let mut tensors = whole_model();
    POOLER.iter().for_each(|name| _ = tensors.remove(*name));
    build(&Tiny::new(), finished(tensors)).unwrap();
}

#[test]
fn a_finished_task_with_an_unexpected_tensor_is_refused_by_file_and_tensor() {
    for name in ["bert.encoder.layer.0.output.dense.bais", "encoder.layer.0.output.dense.bias", "dropout"] {
        let mut tensors = whole_model();
        tensors.insert(name.into(), HostTensor::new([H], vec![7.0; H]).unwrap());
        let message = build(&Tiny::new(), finished(tensors)).unwrap_err().to_string();
        assert_eq!(message, format!("out/task.safetensors: unexpected tensor {name}: the model has none of that name"));
    }
}

#[test]
fn a_head_of_another_shape_is_refused_by_the_file_it_is_from() {
    let head = sevens(&[(CLASSIFIER[0], &[3, H]), (CLASSIFIER[1], &[3])]);
    for (initial, file) in [(given(head.clone()), "heads/first.safetensors"), (finished(head), "out/task.safetensors")]
    {
        let message = build(&Tiny::new(), initial).unwrap_err().to_string();
        let reason = "the tensor classifier.weight has shape [3, 8], but the model's has [2, 8]";
        assert_eq!(message, format!("{file}: {reason}"));
    }
}
