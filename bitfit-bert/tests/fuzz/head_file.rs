//! The file of `--init-head` and the `config.json` beside it, as a fine-tuning run reads them.

use std::fs;

use bitfit_bert::data::{Kind, ReadOptions};
use bitfit_bert::fixture::Tiny;
use bitfit_bert::heads::{MaskingOptions, PairEncoding, Pooling};
use bitfit_bert::metrics::Metric;
use bitfit_bert::run::{
    EarlierRun, Finetune, FinetuneOptions, HeadStart, InitialHead, LossOptions, ProbeUse, SaveEvery,
};
use bitfit_bert::train::TrainOptions;
use bitfit_bert::{BiasSelection, Method};
use safetensors::Dtype;
use serde_json::json;

use crate::runner::{Target, check_error, run};
use crate::task_file;

const FILE: &str = "head.safetensors";

#[test]
fn fuzz() {
    let with_pooler = Tiny::new();
    let mut without_pooler = Tiny::new();
    without_pooler.tensors.retain(|name, _| !name.starts_with("pooler"));
    let bases = [task_file::base(&with_pooler), task_file::base(&without_pooler)];
    // A fine-tuned model as transformers writes it, in two types.
    let head = |dtype: Dtype| {
        let mut head = Tiny { tensors: Default::default(), ..Tiny::new() };
        for (name, shape) in [
            ("classifier.weight", &[2, 8][..]),
            ("classifier.bias", &[2]),
            ("bert.pooler.dense.weight", &[8, 8]),
            ("bert.pooler.dense.bias", &[8]),
            ("bert.encoder.layer.0.output.dense.bias", &[8]),
        ] {
            head.add(name, shape, dtype);
        }
        head.bytes()
    };
    let config =
        |labels: serde_json::Value| ("config.json".into(), json!({"id2label": labels}).to_string().into_bytes());
    let seeds = vec![
        vec![(FILE.into(), head(Dtype::F32)), config(json!({"0": "yes", "1": "no"}))],
        vec![(FILE.into(), head(Dtype::BF16)), config(json!({"0": "LABEL_0", "1": "LABEL_1"}))],
        vec![(FILE.into(), task_file::seed(&bases[0], Kind::Classify, false))],
    ];
    let train = tempfile::tempdir().unwrap();
    let path = train.path().join("train.tsv");
    fs::write(&path, "text\tlabel\na good\tyes\na bad\tno\n").unwrap();
    run(Target {
        name: "head_file",
        memory: 96 << 20,
        seeds,
        fixed: Vec::new(),
        check: Box::new(move |dir, random| {
            _ = &train;
            let options = FinetuneOptions {
                model: "model".into(),
                train: path.clone(),
                eval: None,
                read: ReadOptions::default(),
                kind: Kind::Classify,
                metrics: vec![Metric::Accuracy],
                method: Method::BitFit(BiasSelection::all()),
                select: None,
                pair: PairEncoding::Joint,
                stride: None,
                pooling: Some(Pooling::Pooler),
                masking: MaskingOptions::default(),
                save_base: None,
                loss: LossOptions::default(),
                training: TrainOptions::default(),
                device: "cpu".into(),
                precision: "f32".into(),
                max_length: Some(7),
                dropout: None,
                probe: ProbeUse::Off,
                head: HeadStart::File(dir.join(FILE)),
                standardize_scores: false,
                log_every: 1,
                tensorboard: false,
                out: dir.join("out"),
                earlier: EarlierRun::Replace,
                save_every: SaveEvery::default(),
                command: None,
            };
            match Finetune::prepare(&bases[random.below(2) as usize], options) {
                Ok(finetune) => {
                    assert!(matches!(finetune.plan().initial_head, InitialHead::File { .. }));
                    true
                }
                Err(error) => {
                    check_error(&error, &[FILE, "config.json"]);
                    false
                }
            }
        }),
    });
}
