//! The structure of exported models, read back by a small reader of protobuf. What they compute is compared with ONNX
//! Runtime's by `tests/goldens/compare_onnx.py`.

use std::collections::{HashMap, HashSet};
use std::fs;

use bitfit_core::{Cpu, HostTensor};

use super::*;
use crate::arch::{Architecture, Module, Part, Role};
use crate::data::{Kind, Labels};
use crate::fixture::Tiny;
use crate::heads::{PairEncoding, Pooling, SpanSettings, TaskSpec};
use crate::methods::Method;
use crate::metrics::Metric;
use crate::model::{InitialValues, Model, ModelOptions};
use crate::task_file::Hyperparameters;

/// A field of a message.
#[derive(Clone, Debug)]
enum Field {
    Int(i64),
    Fixed(u32),
    Bytes(Vec<u8>),
}

/// A message by the numbers of its fields.
#[derive(Debug, Default)]
struct Fields(HashMap<u64, Vec<Field>>);

impl Fields {
    fn parse(mut bytes: &[u8]) -> Self {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let mut value = 0;
            for shift in (0..).step_by(7) {
                let (&first, rest) = bytes.split_first().expect("a whole varint");
                *bytes = rest;
                value |= u64::from(first & 0x7f) << shift;
                if first < 0x80 {
                    break;
                }
            }
            value
        }
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let field = match key & 7 {
                0 => Field::Int(varint(&mut bytes) as i64),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    let (field, rest) = bytes.split_at(length);
                    bytes = rest;
                    Field::Bytes(field.to_vec())
                }
                5 => {
                    let (field, rest) = bytes.split_first_chunk().expect("four bytes");
                    bytes = rest;
                    Field::Fixed(u32::from_le_bytes(*field))
                }
                other => panic!("wire type {other}"),
            };
            fields.0.entry(key >> 3).or_default().push(field);
        }
        fields
    }

    fn all(&self, field: u64) -> &[Field] {
        self.0.get(&field).map_or(&[], Vec::as_slice)
    }

    fn ints(&self, field: u64) -> Vec<i64> {
        let int = |field: &Field| if let Field::Int(value) = field { *value } else { panic!("{field:?}") };
        self.all(field).iter().map(int).collect()
    }

    fn bytes(&self, field: u64) -> impl Iterator<Item = &[u8]> {
        self.all(field)
            .iter()
            .map(|field| if let Field::Bytes(bytes) = field { bytes } else { panic!("{field:?}") })
            .map(Vec::as_slice)
    }

    fn texts(&self, field: u64) -> Vec<String> {
        self.bytes(field).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap()).collect()
    }

    fn text(&self, field: u64) -> String {
        self.texts(field).concat()
    }

    fn messages(&self, field: u64) -> Vec<Self> {
        self.bytes(field).map(Self::parse).collect()
    }

    /// A list of key and value.
    fn pairs(&self, field: u64) -> HashMap<String, String> {
        self.messages(field).iter().map(|pair| (pair.text(1), pair.text(2))).collect()
    }

    /// The graph of a model.
    fn graph(&self) -> Self {
        self.messages(7).remove(0)
    }

    /// The initializers of a graph by their names.
    fn initializers(&self) -> HashMap<String, Self> {
        self.messages(5).into_iter().map(|tensor| (tensor.text(8), tensor)).collect()
    }

    /// The elements of an initializer of floats.
    fn floats(&self) -> Vec<f32> {
        self.bytes(9).flat_map(bytemuck::allocation::pod_collect_to_vec::<u8, f32>).collect()
    }
}

/// A kind of task with what it reads.
#[derive(Clone, Copy, Debug)]
struct Case {
    kind: Kind,
    pooling: Pooling,
    pair: PairEncoding,
    method: &'static str,
}

impl Case {
    const fn new(kind: Kind, pooling: Pooling) -> Self {
        Self { kind, pooling, pair: PairEncoding::Joint, method: "bitfit" }
    }

    fn spec(self) -> TaskSpec {
        let labels = matches!(self.kind, Kind::Classify | Kind::MultiLabel | Kind::Tag);
        TaskSpec {
            kind: self.kind,
            labels: labels.then(|| Labels::from_names(["no", "yes \"\n", "?"].map(str::to_owned).to_vec()).unwrap()),
            pairs: self.pair == PairEncoding::Separate || self.kind == Kind::Span,
            pair: self.pair,
            span: (self.kind == Kind::Span).then_some(SpanSettings { stride: 2, unanswerable: true }),
            pooling: self.pooling,
            max_length: 5,
            metrics: vec![Metric::Accuracy],
        }
    }
}

/// A task over a base that was not trained yet, as its file would hold it.
fn task(base: &Base<Cpu>, case: Case) -> TaskFile {
    let (spec, method): (_, Method) = (case.spec(), case.method.parse().unwrap());
    let initial = InitialValues::Drawn { seed: 3 };
    let options = ModelOptions { spec: spec.clone(), method: method.clone(), initial, dropout: None };
    let model = Model::new(base, &options).unwrap();
    // Every value that trains has moved.
    let values: Vec<f32> = model.arena().read().unwrap().into_iter().map(|value| value + 0.5).collect();
    let tensors = model.names().apply(&values).unwrap();
    let info = TaskInfo {
        base: "tiny".into(),
        base_path: None,
        base_fingerprint: "ab".into(),
        tokenizer_fingerprint: "cd".into(),
        config: base.config().inference(),
        kind: spec.kind,
        labels: spec.labels,
        pairs: spec.pairs,
        pair: spec.pair,
        span: spec.span,
        pooling: spec.pooling,
        method,
        seed: 3,
        calibration: None,
        hyperparameters: Hyperparameters {
            task: None,
            learning_rate: 0.001,
            learning_rates: HashMap::new().into_iter().collect(),
            layer_decay: None,
            schedule: "constant".into(),
            warmup: 0.0,
            epochs: 1,
            steps: 1,
            batch_size: Some(1),
            batch_tokens: None,
            micro_batch: None,
            shards: None,
            class_weights: None,
            label_smoothing: None,
            focal_gamma: None,
            eval_every: None,
            patience: None,
            group_by_length: false,
            max_length: spec.max_length,
            weight_decay: 0.0,
            max_grad_norm: None,
            dropout: None,
            frozen_dropout: false,
            shuffle: true,
            limit: None,
            masking: None,
            device: "cpu".into(),
            precision: "f32".into(),
            metrics: spec.metrics,
        },
        best: None,
    };
    TaskFile { info, tensors }
}

/// The exported model, what was said of it, and the bytes of the file beside it.
fn exported(base: &Base<Cpu>, task: &TaskFile, longest: u64) -> (Fields, Exported, Option<Vec<u8>>) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model.onnx");
    let exported = write(base, task, &out, longest).unwrap();
    let bytes = fs::read(&out).unwrap();
    assert_eq!(bytes.len() as u64, exported.bytes);
    let beside = exported.weights.as_ref().map(|(path, length)| {
        let bytes = fs::read(path).unwrap();
        assert_eq!((path, bytes.len() as u64), (&dir.path().join("model.onnx.data"), *length));
        bytes
    });
    (Fields::parse(&bytes), exported, beside)
}

/// Names with extents, as inputs and outputs have them.
fn ports(graph: &Fields, field: u64) -> Vec<String> {
    let extent = |dim: Fields| dim.ints(1).first().map_or_else(|| dim.text(2), i64::to_string);
    let port = |port: Fields| {
        let tensor = port.messages(2)[0].messages(1).remove(0);
        let dims = tensor.messages(2)[0].messages(1).into_iter().map(extent).collect::<Vec<_>>().join(",");
        format!("{} {} [{dims}]", port.text(1), ["", "float", "", "", "", "", "", "int64"][tensor.ints(1)[0] as usize])
    };
    graph.messages(field).into_iter().map(port).collect()
}

/// Checks what every graph must be: names used once, inputs of nodes defined before, all that is defined read, and as
/// many bytes for each initializer as its shape says.
fn check(graph: &Fields, what: &str) {
    let mut defined: HashSet<String> = HashSet::new();
    let mut define = |name: String| assert!(defined.insert(name.clone()), "{what}: {name} is defined twice");
    graph.messages(11).iter().for_each(|port| define(port.text(1)));
    for (name, tensor) in graph.initializers() {
        let size = match tensor.ints(2)[..] {
            [1] => 4,
            [7] => 8,
            ref other => panic!("{what}: {name} has type {other:?}"),
        };
        let elements: i64 = tensor.ints(1).iter().product();
        assert_eq!(tensor.bytes(9).map(|bytes| bytes.len() as i64).sum::<i64>(), elements * size, "{what}: {name}");
        define(name);
    }
    let mut read = HashSet::new();
    for node in graph.messages(1) {
        for input in node.texts(1) {
            assert!(defined.contains(&input), "{what}: {} reads {input} before it is defined", node.text(3));
            read.insert(input);
        }
        assert!(defined.insert(node.text(2)), "{what}: {} is defined twice", node.text(2));
    }
    read.extend(graph.messages(12).iter().map(|port| port.text(1)));
    let unread: Vec<_> = defined.difference(&read).collect();
    assert!(unread.is_empty(), "{what}: {unread:?} is not read");
}

#[test]
fn every_encoder_and_head_is_a_sound_graph() {
    let mut cases = Vec::new();
    for &pooling in Pooling::ALL.iter().filter(|pooling| pooling.suits(Kind::Classify)) {
        cases.push((Case::new(Kind::Classify, pooling), "logits float [batch,3]"));
    }
    cases.extend([
        (Case { method: "full", ..Case::new(Kind::Classify, Pooling::Mean) }, "logits float [batch,3]"),
        (Case::new(Kind::MultiLabel, Pooling::Cls), "logits float [batch,3]"),
        (Case::new(Kind::Regress, Pooling::Pooler), "logits float [batch,1]"),
        (
            Case { pair: PairEncoding::Separate, ..Case::new(Kind::Regress, Pooling::MeanNormalized) },
            "logits float [batch,1]",
        ),
        (Case::new(Kind::Tag, Pooling::Tokens), "logits float [batch,sequence,3]"),
        (
            Case::new(Kind::Span, Pooling::EveryToken),
            "start_logits float [batch,sequence], end_logits float [batch,sequence]",
        ),
        (Case::new(Kind::MaskedLm, Pooling::Tokens), "logits float [batch,sequence,11]"),
        (Case { method: "full", ..Case::new(Kind::MaskedLm, Pooling::Tokens) }, "logits float [batch,sequence,11]"),
    ]);
    for architecture in Architecture::all() {
        let tiny = Tiny::new().in_words_of(architecture);
        let base = if architecture.masked_lm.is_some() { tiny.with_masked_lm().base() } else { tiny.base() };
        for &(case, outputs) in &cases {
            if case.kind == Kind::MaskedLm && architecture.masked_lm.is_none() {
                continue;
            }
            let what = format!("{architecture}: {case:?}");
            let (model, exported, beside) = exported(&base, &task(&base, case), u64::MAX);
            let graph = model.graph();
            check(&graph, &what);
            assert_eq!(model.ints(1), [8], "{what}: the version of the format");
            assert_eq!(model.messages(8)[0].ints(2), [17], "{what}");
            assert_eq!((graph.messages(1).len(), beside), (exported.nodes, None), "{what}");
            let mut inputs = vec!["input_ids int64 [batch,sequence]", "attention_mask int64 [batch,sequence]"];
            if architecture.has(Module::TokenTypeEmbeddings) {
                inputs.push("token_type_ids int64 [batch,sequence]");
            }
            let second: Vec<_> = inputs
                .iter()
                .map(|input| input.replace(" int64", "_pair int64").replace("sequence", "sequence_pair"))
                .filter(|_| case.pair == PairEncoding::Separate)
                .collect();
            inputs.extend(second.iter().map(String::as_str));
            assert_eq!((ports(&graph, 11), ports(&graph, 12).join(", ")), (own(&inputs), outputs.to_owned()), "{what}");
        }
    }
}

fn own(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

#[test]
fn what_the_task_trained_is_in_the_place_of_the_bases() {
    let base = Tiny::new().base();
    let case = Case { method: "columns:2", ..Case::new(Kind::Classify, Pooling::Pooler) };
    let task = task(&base, case);
    let (name, partial) = task.tensors.partial.iter().min_by_key(|(name, _)| *name).unwrap();
    let role = base.architecture().role(name).unwrap();
    let matrix = partial.fill(&base.checkpoint().tensor(role).unwrap()).unwrap();
    assert_ne!(matrix.data(), base.checkpoint().tensor(role).unwrap().data());
    let (model, ..) = exported(&base, &task, u64::MAX);
    let initializers = model.graph().initializers();
    assert_eq!(initializers[&format!("{name}.transposed")].floats(), transposed(&matrix));
    let classifier = &task.tensors.whole["classifier.weight"];
    assert_eq!(initializers["classifier.weight.transposed"].ints(1), [8, 3]);
    assert_eq!(initializers["classifier.weight.transposed"].floats(), transposed(classifier));
    // What did not train is the base's.
    let words = Role::weight(Module::WordEmbeddings, 0);
    let name = base.architecture().parameter_name(words);
    assert_eq!(initializers[&name].floats(), base.checkpoint().tensor(words).unwrap().data());
}

/// The elements of a matrix column by column.
fn transposed(matrix: &HostTensor) -> Vec<f32> {
    let &[rows, cols] = matrix.shape() else { panic!("not a matrix") };
    (0..cols).flat_map(|col| (0..rows).map(move |row| matrix.data()[row * cols + col])).collect()
}

#[test]
fn a_wide_matrix_is_transposed_in_blocks() {
    let mut tiny = Tiny::new();
    tiny.config["intermediate_size"] = 37.into();
    let base = Tiny::of(tiny.config).base();
    let (model, ..) = exported(&base, &task(&base, Case::new(Kind::Classify, Pooling::Cls)), u64::MAX);
    let role = Role::weight(Module::Output, 1);
    let tensor = &model.graph().initializers()[&format!("{}.transposed", base.architecture().parameter_name(role))];
    assert_eq!(tensor.ints(1), [37, 8]);
    assert_eq!(tensor.floats(), transposed(&base.checkpoint().tensor(role).unwrap()));
}

#[test]
fn a_pooler_that_the_base_lacks_is_the_tasks() {
    let mut tiny = Tiny::new();
    tiny.tensors.retain(|name, _| !name.starts_with("pooler"));
    let base = tiny.base();
    let task = task(&base, Case::new(Kind::Classify, Pooling::Pooler));
    let (model, ..) = exported(&base, &task, u64::MAX);
    let graph = model.graph();
    check(&graph, "without a pooler");
    let name = base.architecture().parameter_name(Role { layer: 0, module: Module::Pooler, part: Part::Bias });
    assert_eq!(graph.initializers()[&name].floats(), task.tensors.whole[&name].data());
}

#[test]
fn a_model_that_is_too_long_for_one_file_has_its_weights_in_another() {
    let base = Tiny::new().base();
    let task = task(&base, Case::new(Kind::Classify, Pooling::Mean));
    let (one, length) = {
        let (model, exported, _) = exported(&base, &task, u64::MAX);
        (model.graph().initializers(), exported.bytes)
    };
    let (model, exported, beside) = exported(&base, &task, length - 1);
    let beside = beside.expect("a second file");
    assert!(exported.bytes < length);
    let two = model.graph().initializers();
    assert_eq!(two.len(), one.len());
    let mut weights = 0;
    for (name, tensor) in &two {
        assert_eq!((tensor.ints(1), tensor.ints(2)), (one[name].ints(1), one[name].ints(2)), "{name}");
        if name.starts_with("constant/") {
            assert_eq!(tensor.data_bytes(), one[name].data_bytes(), "{name}");
            continue;
        }
        let place = tensor.pairs(13);
        assert_eq!((tensor.ints(14), &*place["location"]), (vec![1], "model.onnx.data"), "{name}");
        let [offset, length] = ["offset", "length"].map(|key| place[key].parse::<usize>().unwrap());
        assert_eq!(offset % 4096, 0, "{name}");
        assert_eq!(beside[offset..offset + length], one[name].data_bytes(), "{name}");
        weights += 1;
    }
    assert!(weights > 30, "{weights}");
}

impl Fields {
    /// The bytes of an initializer's elements.
    fn data_bytes(&self) -> Vec<u8> {
        self.bytes(9).flatten().copied().collect()
    }
}

#[test]
fn the_facts_of_the_task_are_in_the_metadata() {
    let base = Tiny::new().base();
    let (model, ..) = exported(&base, &task(&base, Case::new(Kind::Classify, Pooling::ClsNormalized)), u64::MAX);
    assert_eq!((model.text(2), model.text(3)), ("bitfit".into(), env!("CARGO_PKG_VERSION").into()));
    let facts = model.pairs(14);
    for (key, value) in [
        ("bitfit.kind", "classify"),
        ("bitfit.pooling", "cls-normalized"),
        ("bitfit.pairs", "false"),
        ("bitfit.max_length", "5"),
        ("bitfit.base", "tiny"),
        ("id2label", r#"{"0":"no","1":"yes \"\n","2":"?"}"#),
    ] {
        assert_eq!(facts[key], value, "{key}");
    }
    let span = exported(&base, &task(&base, Case::new(Kind::Span, Pooling::EveryToken)), u64::MAX).0.pairs(14);
    assert_eq!(span["bitfit.span"], r#"{"stride":2,"unanswerable":true}"#);
    assert!(!span.contains_key("id2label"));
}

#[test]
fn attributes_are_as_their_operators_take_them() {
    let base = Tiny::new().base();
    let (model, ..) = exported(&base, &task(&base, Case::new(Kind::Classify, Pooling::Mean)), u64::MAX);
    let nodes = model.graph().messages(1);
    let of = |operator: &'static str| nodes.iter().filter(move |node| node.text(4) == operator);
    // One over the embeddings and two in each layer.
    assert_eq!(of("LayerNormalization").count(), 5);
    for norm in of("LayerNormalization") {
        let epsilon = norm.messages(5).into_iter().find(|attribute| attribute.text(1) == "epsilon").unwrap();
        assert!(matches!(epsilon.all(2), [Field::Fixed(bits)] if f32::from_bits(*bits) == 1e-12), "{epsilon:?}");
        assert_eq!(epsilon.ints(20), [1]);
    }
    let axes = of("Transpose").map(|node| node.messages(5)[0].ints(8)).collect::<HashSet<_>>();
    assert_eq!(axes, HashSet::from([vec![0, 2, 1, 3], vec![0, 2, 3, 1]]));
    assert!(of("Softmax").all(|node| node.messages(5)[0].ints(3) == [-1]));
}
