//! A small run: a model of two random layers with its tokenizer, and two sets of twelve labelled texts.

use std::fs;
use std::path::Path;

use bitfit_bert::Method;
use bitfit_bert::data::{Kind, ReadOptions};
use bitfit_bert::fixture::Tiny;
use bitfit_bert::heads::{MaskingOptions, PairEncoding, Pooling};
use bitfit_bert::metrics::Metric;
use bitfit_bert::run::{EarlierRun, FinetuneOptions, HeadStart, LossOptions, ProbeUse, SaveEvery};
use bitfit_bert::train::{BatchSize, TrainOptions};

/// The number of layers.
pub const LAYERS: usize = 2;
const WORDS: [&str; 8] = ["good", "bad", "warm", "cold", "the", "day", "is", "so"];

/// Writes the files of a model of this hidden size, `train.tsv` and `eval.tsv`.
pub fn write(dir: &Path, hidden: usize) {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let mut model = Tiny::of(serde_json::json!({
        "model_type": "bert", "vocab_size": special.len() + WORDS.len(), "hidden_size": hidden,
        "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 2 * hidden,
        "max_position_embeddings": 16, "type_vocab_size": 2,
    }));
    // As they are, they saturate the softmax of attention.
    model.tensors.values_mut().flat_map(|tensor| &mut tensor.data).for_each(|value| *value *= 0.1);
    model.write(dir);
    fs::write(dir.join("vocab.txt"), [&special[..], &WORDS].concat().join("\n")).unwrap();
    for (name, first) in [("train.tsv", 0), ("eval.tsv", 3)] {
        // Some texts have both labels, so that no head fits them perfectly, which would leave gradients of zero.
        let row = |i: usize| {
            let words = [i, i * 3, i / 2, i * 5].map(|word| WORDS[word % 8 * (i % 8 + 1) % 8]);
            format!("{}\t{}\n", words.join(" "), (i + i / 8) % 2)
        };
        let rows: String = (first..first + 12).map(row).collect();
        fs::write(dir.join(name), format!("text\tlabel\n{rows}")).unwrap();
    }
}

/// Three steps of four texts in each of two epochs, into `out` in the directory.
pub fn options(dir: &Path, method: Method, training: TrainOptions) -> FinetuneOptions {
    FinetuneOptions {
        model: "model".into(),
        train: dir.join("train.tsv"),
        eval: Some(dir.join("eval.tsv")),
        read: ReadOptions::default(),
        kind: Kind::Classify,
        metrics: vec![Metric::Accuracy],
        method,
        select: None,
        pair: PairEncoding::Joint,
        stride: None,
        pooling: Some(Pooling::Mean),
        masking: MaskingOptions::default(),
        save_base: None,
        loss: LossOptions::default(),
        training: TrainOptions { batch_size: BatchSize::Sequences(4), epochs: 2, ..training },
        device: "cpu".into(),
        precision: "f32".into(),
        max_length: None,
        dropout: Some(0.2),
        probe: ProbeUse::Baseline,
        head: HeadStart::Auto,
        standardize_scores: false,
        log_every: 1,
        tensorboard: false,
        out: dir.join("out"),
        earlier: EarlierRun::Replace,
        save_every: SaveEvery::default(),
        command: None,
    }
}
