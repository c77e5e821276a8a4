//! Thirty steps with all-MiniLM-L6-v2's real weights compared with PyTorch and transformers
//! (`goldens/trajectories.py`): dropout 0, file order, batch 16; classification, regression and a subset of the biases.
//! The tests run on the CPU, and on a GPU if there is one.
//!
//! The tests need the weights: `BITFIT_MINILM` names the model's directory (`scripts/fetch-minilm.sh` creates it). If
//! it is not set, they are skipped and print a line that says so, unless `BITFIT_REQUIRE` names MINILM.

use std::path::{Path, PathBuf};

use crate::common::{goldens, gpu, minilm};
use bitfit_bert::data::{Columns, Kind, ReadOptions};
use bitfit_bert::heads::{MaskingOptions, PairEncoding, Pooling};
use bitfit_bert::metrics::Metric;
use bitfit_bert::model::Base;
use bitfit_bert::run::{EarlierRun, Finetune, FinetuneOptions, HeadStart, LossOptions, ProbeUse, SaveEvery};
use bitfit_bert::train::{Events, StepReport, TrainOptions};
use bitfit_bert::{BiasKind, BiasSelection, Method};
use bitfit_core::{Backend, Cpu, Precision};

/// Collects losses, and ends the run after as many as PyTorch's run has.
struct Losses {
    losses: Vec<f32>,
    tokens: usize,
    steps: usize,
}

impl Events for Losses {
    fn step(&mut self, report: &StepReport) -> bitfit_bert::Result<()> {
        self.losses.push(report.loss);
        self.tokens += report.tokens;
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.losses.len() == self.steps
    }
}

/// A run with recorded losses of PyTorch.
struct Run {
    golden: PathBuf,
    head: PathBuf,
    data: PathBuf,
    columns: Columns,
    selection: BiasSelection,
}

fn follows<D: Backend>(device: &D, model: &Path, run: Run) {
    let Run { golden, head, data, columns, selection } = run;
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let expected: Vec<f64> = golden["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
    let kind = if golden["config"]["kind"] == "regress" { Kind::Regress } else { Kind::Classify };
    let out = tempfile::tempdir().unwrap();
    let options = FinetuneOptions {
        model: "all-MiniLM-L6-v2".into(),
        train: data.clone(),
        eval: None,
        read: ReadOptions { columns, ..ReadOptions::default() },
        kind,
        metrics: vec![if kind == Kind::Regress { Metric::Spearman } else { Metric::Accuracy }],
        method: Method::BitFit(selection),
        select: None,
        pair: PairEncoding::Joint,
        stride: None,
        pooling: Some(Pooling::Pooler),
        masking: MaskingOptions::default(),
        save_base: None,
        loss: LossOptions::default(),
        training: TrainOptions { epochs: 1, shuffle: false, ..TrainOptions::default() },
        device: device.name(),
        precision: "f32".into(),
        max_length: Some(128),
        dropout: Some(0.0),
        probe: ProbeUse::Off,
        head: HeadStart::File(head),
        standardize_scores: false,
        log_every: 1,
        tensorboard: false,
        earlier: EarlierRun::Refuse,
        save_every: SaveEvery::default(),
        command: None,
        out: out.path().into(),
    };
    let mut events = Losses { losses: Vec::new(), tokens: 0, steps: expected.len() };
    Finetune::prepare(&Base::open(device, model).unwrap(), options).unwrap().run(&mut events).unwrap();
    assert_eq!(events.losses.len(), expected.len());
    assert_eq!(events.tokens as u64, golden["tokens"].as_u64().unwrap(), "real tokens");
    let mut greatest: f64 = 0.0;
    for (step, (&found, expected)) in events.losses.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs() / expected;
        // Rounding changes these losses by 1e-6; a missing kind of bias would change them by at least 2e-4.
        assert!(error < 2e-5, "step {}: loss {found} instead of {expected}", step + 1);
        greatest = greatest.max(error);
    }
    println!("{} on {}: losses within {greatest:.1e} of PyTorch's", data.display(), device.name());
}

fn support_desk() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/support-desk/train.tsv")
}

fn columns(text: &[&str], label: &str) -> Columns {
    Columns { text: text.iter().map(|&name| name.into()).collect(), label: Some(label.into()), ..Columns::default() }
}

fn classification() -> Run {
    let [golden, head] = ["minilm/classify.json", "minilm/head_classify.safetensors"].map(goldens);
    Run { golden, head, data: support_desk(), columns: columns(&["text"], "label"), selection: BiasSelection::all() }
}

fn subset() -> Run {
    let selection = BiasSelection::of([BiasKind::Query, BiasKind::Intermediate]);
    Run { golden: goldens("minilm/classify_subset.json"), selection, ..classification() }
}

fn regression() -> Run {
    let [golden, head, data] =
        ["minilm/regress.json", "minilm/head_regress.safetensors", "minilm/pairs.tsv"].map(goldens);
    let columns = columns(&["sentence1", "sentence2"], "score");
    Run { golden, head, data, columns, selection: BiasSelection::all() }
}

#[test]
fn classification_follows_pytorch() {
    let Some(model) = minilm() else { return };
    follows(&Cpu::default(), &model, classification());
}

#[test]
fn a_subset_of_the_biases_follows_pytorch() {
    let Some(model) = minilm() else { return };
    follows(&Cpu::default(), &model, subset());
}

#[test]
fn regression_follows_pytorch() {
    let Some(model) = minilm() else { return };
    follows(&Cpu::default(), &model, regression());
}

fn on_a_gpu(run: Run) {
    let Some(gpu) = gpu(Precision::F32) else { return };
    let Some(model) = minilm() else { return };
    follows(&gpu, &model, run);
}

#[test]
fn classification_follows_pytorch_on_a_gpu() {
    on_a_gpu(classification());
}

#[test]
fn a_subset_of_the_biases_follows_pytorch_on_a_gpu() {
    on_a_gpu(subset());
}

#[test]
fn regression_follows_pytorch_on_a_gpu() {
    on_a_gpu(regression());
}
