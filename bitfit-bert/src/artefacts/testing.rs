//! A small base in a directory with a tokenizer, and a task over it whose tensors differ from the base's.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::PathBuf;

use bitfit_core::{Cpu, HostTensor, Mask};
use tempfile::TempDir;

use crate::arch::{Architecture, BERT, MaskedLmTensor};
use crate::data::{Kind, Labels};
use crate::fixture::Tiny;
use crate::heads::{MaskingOptions, PairEncoding, Pooling, SpanSettings, default_metrics};
use crate::methods::{Masks, Method};
use crate::model::{Base, PartialTensor, TrainedTensors, head_names};
use crate::task_file::{Best, Hyperparameters, TaskInfo};
use crate::{TaskFile, Tokenizer};

/// The vocabulary of [`Tiny`].
const VOCABULARY: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\nd\ne\nf";

/// A base and a task over it.
pub(super) struct Trained {
    pub(super) root: TempDir,
    pub(super) base: Base<Cpu>,
    pub(super) task: TaskFile,
}

impl Trained {
    /// A BERT and a task of this kind and method, which reads what is usual for its kind.
    pub(super) fn new(kind: &str, method: &str) -> Self {
        Self::of(&BERT, kind, method, None)
    }

    /// A task over this architecture and this read-out.
    pub(super) fn of(architecture: &Architecture, kind: &str, method: &str, pooling: Option<Pooling>) -> Self {
        let mut tiny = Tiny::new().in_words_of(architecture).with_masked_lm();
        // Every fixture has a tokenizer of BERT's class.
        tiny.config["pad_token_id"] = 0.into();
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("base");
        fs::create_dir(&dir).unwrap();
        tiny.write(&dir);
        fs::write(dir.join("vocab.txt"), VOCABULARY).unwrap();
        fs::write(dir.join("tokenizer_config.json"), r#"{"tokenizer_class": "BertTokenizer"}"#).unwrap();
        let base = Base::open(&Cpu::default(), &dir).unwrap();
        let (kind, method): (Kind, Method) = (kind.parse().unwrap(), method.parse().unwrap());
        let pooling = pooling.or(Pooling::of_kind(kind)).unwrap_or(Pooling::Pooler);
        let info = info(&base, kind, method, pooling, dir);
        let tensors = tensors(&base, &info);
        Self { root, base, task: TaskFile { info, tensors } }
    }

    /// A path that is not taken.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The bytes of the task file.
    pub(super) fn bytes(&self, task: &TaskFile) -> Vec<u8> {
        let path = self.path("written.safetensors");
        task.write(&path).unwrap();
        fs::read(path).unwrap()
    }
}

fn info(base: &Base<Cpu>, kind: Kind, method: Method, pooling: Pooling, dir: PathBuf) -> TaskInfo {
    let has_labels = matches!(kind, Kind::Classify | Kind::MultiLabel | Kind::Tag);
    let labels = has_labels.then(|| Labels::from_names(vec!["no".into(), "yes".into()]).unwrap());
    let tokenizer = Tokenizer::open(&dir, base.config()).unwrap();
    let metrics = default_metrics(kind, labels.as_ref());
    let scores = BTreeMap::from([(metrics[0].name().to_owned(), 0.75)]);
    TaskInfo {
        base: dir.display().to_string(),
        base_path: Some(dir),
        base_fingerprint: base.fingerprint_for(kind).unwrap().to_owned(),
        tokenizer_fingerprint: tokenizer.fingerprint(),
        config: base.config().inference(),
        kind,
        labels,
        pairs: kind == Kind::Span,
        pair: PairEncoding::Joint,
        span: (kind == Kind::Span).then_some(SpanSettings { stride: 1, unanswerable: true }),
        pooling,
        method,
        seed: 3,
        calibration: None,
        hyperparameters: Hyperparameters {
            task: None,
            learning_rate: 1e-3,
            learning_rates: BTreeMap::from([("head".into(), 3e-3)]),
            layer_decay: None,
            schedule: "linear".into(),
            warmup: 0.1,
            epochs: 3,
            steps: 12,
            batch_size: Some(16),
            batch_tokens: None,
            micro_batch: None,
            shards: None,
            class_weights: None,
            label_smoothing: None,
            focal_gamma: None,
            eval_every: None,
            patience: None,
            group_by_length: false,
            max_length: 7,
            weight_decay: 0.01,
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
        best: Some(Best { epoch: 2, step: None, scores }),
    }
}

/// Values for everything that the method and the head train, each different from the base's and from each other.
fn tensors(base: &Base<Cpu>, info: &TaskInfo) -> TrainedTensors {
    let (architecture, config) = (base.architecture(), base.config());
    let masks = Masks::new(&info.method, base.tensors(info.pooling)).unwrap();
    let mut tensors = TrainedTensors::default();
    let mut next = 0.1f32;
    let mut moved = |tensor: &HostTensor| {
        let data = tensor.data().iter().map(|value| {
            next += 0.01;
            value + next.sin() * 0.1
        });
        HostTensor::new(tensor.shape(), data.collect()).unwrap()
    };
    for role in base.tensors(info.pooling).roles() {
        let own = base.checkpoint().tensor(role).unwrap();
        let value = if architecture.is_inert(role, info.pooling, config) { own } else { moved(&own) };
        let name = architecture.parameter_name(role);
        match masks.of(role) {
            Mask::None => {}
            Mask::All => _ = tensors.whole.insert(name, value),
            mask => _ = tensors.partial.insert(name, PartialTensor::of(mask, &value).unwrap()),
        }
    }
    let outputs = info.spec().head::<Cpu>().outputs();
    let hidden = config.hidden_size;
    let mut shapes: HashMap<String, Vec<usize>> = HashMap::new();
    if let (Kind::MaskedLm, Some(names)) = (info.kind, &architecture.masked_lm) {
        shapes.extend(MaskedLmTensor::ALL.map(|tensor| (names.name(tensor), tensor.shape(config))));
    }
    let mut names = head_names(architecture, &info.spec(), &info.method);
    names.sort_unstable();
    for name in names {
        let is_last = name == architecture.classifier_name(info.pooling, crate::arch::Part::Weight)
            || name == architecture.classifier_name(info.pooling, crate::arch::Part::Bias);
        let rows = if is_last { outputs } else { hidden };
        let usual = if name.ends_with("weight") { vec![rows, hidden] } else { vec![rows] };
        let shape = shapes.remove(&name).unwrap_or(usual);
        let zeros = HostTensor::new(shape.clone(), vec![0.0; shape.iter().product()]).unwrap();
        tensors.whole.insert(name, moved(&zeros));
    }
    tensors
}
