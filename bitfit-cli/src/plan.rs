//! The plan of a run as text, shown before the run starts.

use std::fmt::Write as _;

use bitfit_bert::BiasKind;
use bitfit_bert::model::TrainableKind;
use bitfit_bert::run::Plan;
use bitfit_bert::train::BatchSize;
use indicatif::{DecimalBytes, HumanCount};

/// What will happen, in a few lines.
pub fn plan_text(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    _ = write_plan(&mut text, plan);
    text
}

/// A number with its thousands apart: 109482240 as 109,482,240.
pub fn grouped(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

fn write_plan(f: &mut String, plan: &Plan) -> std::fmt::Result {
    let config = &plan.config;
    writeln!(
        f,
        "model     {} ({}, {} layers, hidden {}, {} heads)",
        plan.model, config.architecture, config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    )?;
    let eval = plan.eval_rows.map_or("no evaluation set".into(), |rows| format!("{} to evaluate", grouped(rows)));
    let kind = plan.labels.as_ref().map_or("regression".into(), |labels| format!("{} classes", labels.len()));
    let (rows, tokens) = (grouped(plan.rows), grouped(plan.tokens));
    writeln!(f, "data      {rows} rows ({tokens} tokens) to train, {eval}; {kind}")?;
    for (file, lines) in &plan.skipped {
        writeln!(f, "          {file}: {lines} lines left out: broken, or labelled with no class")?;
    }
    let percent = 100.0 * plan.trainable as f64 / plan.total as f64;
    let (trainable, total) = (grouped(plan.trainable), grouped(plan.total));
    writeln!(f, "trains    {trainable} of {total} parameters ({percent:.3} %), biases: {}", plan.biases)?;
    for part in &plan.parts {
        let (name, note) = match part.kind {
            TrainableKind::Bias(BiasKind::Key) => {
                ("key bias".into(), "  (counted; its gradient is exactly zero, so it never moves)")
            }
            TrainableKind::Bias(kind) => (format!("{kind} bias"), ""),
            TrainableKind::FreshPooler => ("fresh pooler".into(), ""),
            TrainableKind::Head => ("task head".into(), ""),
        };
        writeln!(f, "          {name:<27} {:>3} tensors {:>10} scalars{note}", part.tensors, grouped(part.scalars))?;
    }
    if plan.has_fresh_pooler() {
        writeln!(f, "          the checkpoint has no pooler: a fresh one trains whole, weights included")?;
    }
    if let Some(head) = &plan.initial_head {
        let order = match (head.has_labels, &plan.labels) {
            (false, Some(labels)) => {
                format!("; nothing says which class each row is for, so they are taken as {}", labels.join(", "))
            }
            _ => String::new(),
        };
        writeln!(f, "head      first values from {}{order}", head.path.display())?;
    }
    let training = &plan.training;
    let epochs = if training.epochs == 1 { "epoch" } else { "epochs" };
    writeln!(f, "schedule  {} {epochs}, {} steps; {}", training.epochs, grouped(plan.steps), settings(plan))?;
    if let Some(prefix) = &plan.cached_prefix {
        let what = match prefix.layers {
            1 => "the embeddings and layer 0".into(),
            layers => format!("the embeddings and layers 0-{}", layers - 1),
        };
        let (needed, budget) = (DecimalBytes(prefix.needed as u64), DecimalBytes(prefix.budget as u64));
        let cached =
            if prefix.needed > prefix.budget { format!("{budget} of {needed} fit") } else { needed.to_string() };
        writeln!(f, "caches    {what}, frozen and without dropout: computed once for each row, {cached}")?;
    }
    write!(f, "device    {}", plan.device)
}

/// Batch, rate and the rest.
fn settings(plan: &Plan) -> String {
    let training = &plan.training;
    let similar = if training.group_by_length { " of similar lengths" } else { "" };
    let batch = match training.batch_size {
        BatchSize::Sequences(size) => format!("{size}{similar}"),
        BatchSize::Tokens(size) => format!("of {size} tokens{similar}"),
    };
    let warmup = match training.warmup {
        warmup if warmup > 0.0 => format!(" after {} % warm-up", warmup * 100.0),
        _ => String::new(),
    };
    format!(
        "batch {batch}, learning rate {} {}{warmup}, dropout {}, at most {} tokens a row, seed {}",
        training.learning_rate, training.schedule, plan.dropout, plan.max_length, training.seed
    )
}
