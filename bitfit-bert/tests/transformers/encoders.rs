//! Tiny random encoders of every architecture against transformers, through every read-out, those of tokens included,
//! on numbers that `goldens/encoders.py` computed in float64: logits, losses, the gradient of everything that trains,
//! ten AdamW steps. On every instruction set of this CPU, and on a GPU where there is one.

use std::collections::HashMap;

use crate::common::case::{BFLOAT16_SHARE, Case, encodings};
use crate::common::{File, cpus, goldens, gpu};
use bitfit_bert::arch::Architecture;
use bitfit_bert::data::{Kind, Labels};
use bitfit_bert::heads::{PairEncoding, Pooling, SpanSettings, Targets, TaskSpec};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::{Base, InitialValues, Model, ModelOptions, TensorFile};
use bitfit_bert::tokenize::{Encoding, ReadToken, Window};
use bitfit_bert::train::Examples;
use bitfit_bert::{BiasSelection, Method};
use bitfit_core::ops::activation::Activation;
use bitfit_core::{Backend, HostTensor, Precision};

/// Every architecture through every read-out. The base of an architecture is opened once.
fn cases<D: Backend>(device: &D) -> impl Iterator<Item = Case<D>> {
    Architecture::all().flat_map(|architecture| {
        let dir = goldens("encoders").join(architecture.model_type);
        let base = Base::open(device, &dir).unwrap();
        Pooling::ALL.iter().map(move |&pooling| case(&base, pooling))
    })
}

fn case<D: Backend>(base: &Base<D>, pooling: Pooling) -> Case<D> {
    let path = base.checkpoint().dir().join("golden.safetensors");
    let golden = File::read(&path);
    let json = std::fs::read(path.with_extension("json")).unwrap();
    let first = format!("{pooling}.head.");
    let head = |(name, value): (&String, &HostTensor)| Some((name.strip_prefix(&first)?.to_owned(), value.clone()));
    let tensors: HashMap<String, HostTensor> = golden.floats.iter().filter_map(head).collect();
    let kind = match pooling {
        Pooling::Tokens => Kind::Tag,
        Pooling::EveryToken => Kind::Span,
        _ => Kind::Classify,
    };
    let labels = Labels::from_names(["a", "b", "c"].map(str::to_owned).to_vec());
    let options = ModelOptions {
        spec: TaskSpec {
            kind,
            labels: labels.filter(|_| kind != Kind::Span),
            pairs: kind == Kind::Span,
            pair: PairEncoding::Joint,
            span: (kind == Kind::Span).then_some(SpanSettings { stride: 2, unanswerable: true }),
            pooling,
            max_length: 150,
            metrics: vec![Metric::Accuracy],
        },
        method: Method::BitFit(BiasSelection::all()),
        initial: InitialValues::HeadFile { file: TensorFile { path, tensors: tensors.into() }, seed: 0 },
        dropout: Some(0.0),
    };
    let classes = |name| golden.integer(name).iter().map(|&label| label as usize).collect::<Vec<_>>();
    let examples = match kind {
        Kind::Tag => tagged(encodings(&golden), classes("batch.tags")),
        Kind::Span => spans(encodings(&golden), golden.integer("batch.spans")),
        _ => Examples::new(encodings(&golden), Targets::Classes(classes("batch.labels"))),
    };
    Case {
        json: serde_json::from_slice(&json).unwrap(),
        run: pooling.to_string(),
        examples,
        model: Model::new(base, &options).unwrap(),
        golden,
    }
}

/// Every third token of each text with its tag.
fn tagged(mut encodings: Vec<Encoding>, tags: Vec<usize>) -> Examples {
    let mut tags = tags.into_iter();
    let mut targets = Vec::new();
    for encoding in &mut encodings {
        let tokens = (0..encoding.ids.len()).step_by(3);
        encoding.read = tokens.enumerate().map(|(word, token)| ReadToken { token, word }).collect();
        targets.push(tags.by_ref().take(encoding.read.len()).collect());
    }
    Examples::new(encodings, Targets::Tags(targets))
}

/// Texts of which every token is read, with the first and the last token of an answer in each.
fn spans(mut encodings: Vec<Encoding>, spans: &[i64]) -> Examples {
    for encoding in &mut encodings {
        encoding.window = Some(Window { tokens: encoding.ids.len(), ..Window::default() });
    }
    let spans = spans.as_chunks::<2>().0.iter().map(|span| span.map(|token| token as u32));
    Examples::new(encodings, Targets::Spans(spans.collect()))
}

/// By how much of its norm a gradient in bfloat16 may be off. Through a ReLU it jumps where rounding moves an input of
/// the ReLU across zero, which shows in a layer of sixteen.
fn share<D: Backend>(case: &Case<D>) -> f64 {
    let has_relu = case.model.base().architecture().head.activation == Activation::Relu;
    if has_relu && case.model.spec().pooling == Pooling::Pooler { 0.15 } else { BFLOAT16_SHARE }
}

tests_in_f32!(cases);

#[test]
fn in_bfloat16_logits_and_gradients_are_within_its_rounding() {
    cpus(Precision::Bf16).for_each(|cpu| cases(&cpu).for_each(|case| case.check_bfloat16(share(&case))));
}

#[test]
fn on_a_gpu_in_bfloat16_logits_and_gradients_are_within_its_rounding() {
    if let Some(gpu) = gpu(Precision::Bf16) {
        cases(&gpu).for_each(|case| case.check_bfloat16(share(&case)));
    }
}
