//! Several labels a text on tiny random encoders of two architectures, against numbers that `goldens/multi_label.py`
//! computed with transformers in float64: logits, losses, the gradient of everything that trains, ten AdamW steps. On
//! every instruction set of this CPU, and on a GPU where there is one.

use std::collections::HashMap;

use crate::common::case::{BFLOAT16_SHARE, Case, encodings};
use crate::common::{File, cpus, goldens};
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{PairEncoding, Pooling, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use bitfit_bert::train::{self, Examples};
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::{Backend, HostTensor, Precision};
use ndarray::Array2;

const RUN: &str = "multi-label";

fn cases<D: Backend>(device: &D) -> impl Iterator<Item = Case<D>> {
    ["bert", "distilbert"].into_iter().map(|model_type| case(device, model_type))
}

fn case<D: Backend>(device: &D, model_type: &str) -> Case<D> {
    let path = goldens("multi_label").join(format!("{model_type}.safetensors"));
    let golden = File::read(&path);
    let json = std::fs::read(path.with_extension("json")).unwrap();
    let first = format!("{RUN}.head.");
    let head = |(name, value): (&String, &HostTensor)| Some((name.strip_prefix(&first)?.to_owned(), value.clone()));
    let tensors: HashMap<String, HostTensor> = golden.floats.iter().filter_map(head).collect();
    let options = ModelOptions {
        spec: TaskSpec {
            kind: Kind::MultiLabel,
            labels: Labels::from_names(["a", "b", "c", "d"].map(str::to_owned).to_vec()),
            pairs: false,
            pair: PairEncoding::Joint,
            span: None,
            pooling: Pooling::Pooler,
            max_length: 150,
            metrics: vec![Metric::MicroF1],
        },
        method: Method::BitFit(BiasSelection::all()),
        initial: InitialValues::HeadFile { file: TensorFile { path, tensors: tensors.into() }, seed: 0 },
        dropout: Some(0.0),
    };
    let base = Base::open(device, &goldens("encoders").join(model_type)).unwrap();
    let texts = encodings(&golden);
    let indicators = golden.float("batch.indicators").to_vec();
    let targets = Targets::Indicators(Array2::from_shape_vec((texts.len(), 4), indicators).unwrap());
    Case {
        json: serde_json::from_slice(&json).unwrap(),
        run: RUN.into(),
        examples: Examples::new(texts, targets),
        model: Model::new(&base, &options).unwrap(),
        golden,
    }
}

tests_in_f32!(cases);

#[test]
fn in_bfloat16_logits_and_gradients_are_within_its_rounding() {
    // DistilBERT's head has a ReLU, through which a gradient jumps (see encoders.rs).
    cpus(Precision::Bf16).for_each(|cpu| case(&cpu, "bert").check_bfloat16(BFLOAT16_SHARE));
    cpus(Precision::Bf16).for_each(|cpu| case(&cpu, "distilbert").check_bfloat16(0.15));
}

#[test]
fn the_outputs_of_a_text_have_the_same_bits_alone_and_in_a_batch() {
    for cpu in cpus(Precision::F32) {
        for Case { model, examples, .. } in cases(&cpu) {
            let together = train::outputs(&model, &examples.encodings).unwrap();
            for (row, encoding) in examples.encodings.iter().enumerate() {
                let alone = train::outputs(&model, std::slice::from_ref(encoding)).unwrap();
                let bits = |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(alone.row(0)), bits(together.row(row)), "text {row}");
            }
        }
    }
}
