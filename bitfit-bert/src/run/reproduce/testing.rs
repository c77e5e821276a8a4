//! Results and grids for the tests of the other files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::data::{Kind, ReadOptions};
use crate::metrics::Metric;
use crate::run::{FinetuneOptions, RunResult};

use super::findings::{Cell, Findings, RateRuns};
use super::grid::{Grid, GridResult, GridTask, Length, ScoredSet, SetSource};
use super::report::Context;
use super::{PaperTable, PublishedModel};

/// A task that is scored on its development set by accuracy.
pub(super) fn task(name: &str) -> GridTask {
    GridTask {
        name: name.into(),
        kind: Kind::Classify,
        glue: None,
        train: "train.tsv".into(),
        eval: Some("dev.tsv".into()),
        sets: vec![ScoredSet { name: name.into(), title: name.to_uppercase(), source: SetSource::Evaluation }],
        metrics: vec![Metric::Accuracy],
        texts: None,
    }
}

/// The result of a run with this accuracy; without one of a run that diverged.
pub(super) fn result(seed: u64, accuracy: Option<f64>) -> GridResult {
    let run = RunResult {
        seed,
        diverged: accuracy.is_none(),
        epoch: accuracy.map(|_| 1),
        scores: accuracy.map(|accuracy| ("accuracy".into(), accuracy)).into_iter().collect(),
        trainable: 1_100,
        total: 1_000_000,
        seconds: 1.0,
        task_bytes: Some(5_000),
        peak_memory_bytes: None,
        peak_is_of_run: false,
    };
    GridResult { run, encoder: 900, wall_seconds: 2.0, further: BTreeMap::new() }
}

/// BitFit on some tasks, with the accuracy of each seed, of which there are two.
pub(super) fn findings(tasks: &[&str], scores: &[&[f64]]) -> Findings {
    let cell = |scores: &&[f64]| {
        let runs = scores.iter().enumerate().map(|(seed, score)| (PathBuf::new(), result(seed as u64, Some(*score))));
        Cell { rates: vec![RateRuns { rate: 1e-3, runs: runs.collect() }] }
    };
    Findings {
        tasks: tasks.iter().map(|name| task(name)).collect(),
        methods: vec!["bitfit".parse().unwrap()],
        seeds: 2,
        cells: scores.iter().map(cell).collect(),
    }
}

/// What a table of these results is made from.
pub(super) fn context(table: PaperTable, findings: &Findings) -> Context<'_> {
    let published = Some(PublishedModel::BertBase);
    Context { table, findings, published, model: "tiny", settings: "16 epochs, batch 16", left_out: &[] }
}

/// Two tasks, two methods, of which the first has two rates, and two seeds, in `out`.
pub(super) fn grid() -> Grid {
    let choice = |name: &str| name.parse().unwrap();
    Grid {
        tasks: vec![task("rte"), task("cola")],
        methods: vec![choice("bitfit"), choice("bitfit:query+intermediate")],
        rates: vec![vec![1e-4, 1e-3], vec![1e-3]],
        seeds: vec![0, 1],
        length: Length::Epochs(2),
        common: common("out".into()),
    }
}

/// Settings that all runs have in common.
fn common(out: PathBuf) -> FinetuneOptions {
    use crate::heads::{MaskingOptions, PairEncoding};
    use crate::run::{EarlierRun, HeadStart, LossOptions, ProbeUse, SaveEvery};

    FinetuneOptions {
        model: "tiny".into(),
        train: PathBuf::new(),
        eval: None,
        read: ReadOptions::default(),
        kind: Kind::Classify,
        metrics: Vec::new(),
        method: crate::Method::Frozen,
        select: None,
        pair: PairEncoding::Joint,
        stride: None,
        pooling: None,
        masking: MaskingOptions::default(),
        save_base: None,
        loss: LossOptions::default(),
        training: crate::train::TrainOptions::default(),
        device: "cpu".into(),
        precision: "f32".into(),
        max_length: None,
        dropout: None,
        probe: ProbeUse::Off,
        head: HeadStart::Drawn,
        standardize_scores: false,
        log_every: 50,
        tensorboard: false,
        out,
        earlier: EarlierRun::Replace,
        save_every: SaveEvery::Never,
        command: None,
    }
}
